"""SIGTERM while a verb still starts: it ends as it would later, whatever it is doing; in processes that are held up there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from tests.house.pages import ROOT

HELD = """
import os, sys
from stepflow import StateCtx, flow, named, park

sys.stdout.write("held\\n")
sys.stdout.flush()
open(os.environ["GATE"]).read()  # blocks until somebody writes: nobody does

order = named("order.v1", dict).do("check", lambda order: None).compile()

@flow
def mail(ctx: StateCtx[dict]):
    return park(ctx)
"""
UNHEARD = """
import os, signal, weakref
from stepflow import named

class Thing: ...

def callback(_):  # Python only prints what is raised here, as in the callbacks of its own imports
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000): ...

thing = Thing()
reference = weakref.ref(thing, callback)
del thing
print("heard nothing", flush=True)
order = named("order.v1", dict).do("check", lambda order: None).compile()
"""
CASES = {
    "worker": (["worker", "held"], 0),
    "job": (["worker", "held", "--until-idle"], 130),
    "run": (["run", "held:order", "{}"], 130),
    "serve": (["serve", "--port", "0", "--flows", "held"], 0),
    "host": (["host", "held", "--url", "http://127.0.0.1:9", "--secret-file", "secret"], 0),
}


@pytest.fixture
def spawn(tmp_path):
    """Start the command in a folder with modules; its environment has GATE, a pipe that nobody writes to."""
    (tmp_path / "held.py").write_text(HELD)
    (tmp_path / "unheard.py").write_text(UNHEARD)
    (tmp_path / "secret").write_text("x" * 40)
    os.mkfifo(tmp_path / "gate")
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, store: str = "sqlite:///shop.db") -> subprocess.Popen[str]:
        env = os.environ | {"PYTHONPATH": str(ROOT), "GATE": "gate", "STEPFLOW_STORE": store}
        command = [sys.executable, "-m", "stepflow", *args]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=100)
    return process.returncode, err.strip()


@pytest.mark.parametrize("case", CASES)
def test_a_verb_that_is_stopped_while_it_imports_ends_as_it_does_later(spawn, case):
    args, code = CASES[case]
    process = spawn(*args)
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (code, "")


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--until-idle",), 130)])
def test_a_signal_of_which_python_drops_the_exception_stops_a_worker_before_it_begins(spawn, options, code):
    process = spawn("worker", "unheard", *options)
    found, err = ended(process)
    assert found == code
    assert "Exception ignored" in err


@pytest.mark.parametrize("args", [("worker", "unheld"), ("serve", "--port", "0")])
def test_a_verb_that_is_stopped_while_its_store_does_not_answer_ends_cleanly(spawn, tmp_path, args):
    (tmp_path / "unheld.py").write_text(
        "from stepflow import named\no = named('o').do('a', lambda o: None).compile()\n"
    )
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        process = spawn(*args, store=f"postgresql://127.0.0.1:{silent.getsockname()[1]}/shop?connect_timeout=3")
        with closing(silent.accept()[0]):
            process.send_signal(signal.SIGTERM)
            assert ended(process) == (0, "")
