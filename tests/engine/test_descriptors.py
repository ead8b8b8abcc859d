"""Code that closes file descriptors that are not its own: the calls of a blocking engine end, and say why."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engine.test_cancel import WAIT_S

pytestmark = pytest.mark.usefixtures("forking")
PROGRAM = """
import os, select, sys, logging
from stepflow import Engine, StepflowError, named

kind, work, what, url = sys.argv[1:]
logging.basicConfig(level=logging.ERROR)

def close():
    for number in range(3, 256):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if what == "all" or ("socket" if what == "sockets" else "eventpoll") in target:
            os.close(number)

async def aclose():
    close()

async def anop():
    pass

steps = (lambda: None, close) if kind == "sync" else (anop, aclose)
flow = named("f").do("a", steps[0]).do("b", steps[1]).do("c", steps[0]).compile()
try:
    with Engine(url) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        if work == "worker":
            with engine.worker():
                run.result()
        else:
            getattr(engine, work)()
except StepflowError as error:
    print(f"{type(error).__name__}: {error}")
os._exit(0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/runs.db"], ids=["memory", "sqlite"])
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("work", ["run_until_idle", "worker", "run_forever"])
@pytest.mark.parametrize("what", ["all", "selector", "sockets"])
def test_no_call_hangs(tmp_path, url, kind, work, what):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, work, what, url.format(tmp_path)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    woken = what != "sockets" or work != "run_until_idle"  # else nothing has to wake the loop
    assert ended.stdout.startswith("StepflowError: the file descriptors of this engine were closed" * woken), (
        ended.stderr
    )
    assert len(ended.stderr) < 20_000
