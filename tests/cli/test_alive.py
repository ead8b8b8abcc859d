"""Whether a worker is alive: real workers that renew their file, hang, are killed and stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from stepflow.cli.alive import worker_alive
from stepflow.cli.values import duration

pytestmark = pytest.mark.usefixtures("forking")

STEPFLOW = [sys.executable, "-m", "stepflow"]
LIMIT_S = 60
FLOWS = """
from stepflow import named


async def hang(order: dict[str, str]) -> None:
    with open(order["began"], "w") as began:
        began.write("!")
    with open(order["go_on"]) as go_on:  # a pipe: the event loop waits for a writer
        go_on.read()


hangs = named("hangs.v1", dict[str, str]).do("hang", hang).compile()
"""


def check(tmp_path, within):
    command = [*STEPFLOW, "doctor", "--alive-file", "w.alive", "--within", within, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    (found,) = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0), done.stderr
    return done.returncode, found["found"]


@contextmanager
def working(tmp_path):
    (tmp_path / "hang_flows.py").write_text(FLOWS)
    for name in ("began", "go_on"):
        os.mkfifo(tmp_path / name)
    command = [*STEPFLOW, "worker", "hang_flows", "--store", "sqlite:///w.db", "--alive-file", "w.alive"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("worker on")  # it prints that behind its first renewal
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_whose_loop_hangs_is_found_and_one_that_stops_takes_its_file_along(tmp_path):
    with working(tmp_path) as process:
        code, found = check(tmp_path, "10m")
        assert (code, found.startswith(f"process {process.pid} renewed w.alive ")) == (0, True)
        order = {name: str(tmp_path / name) for name in ("began", "go_on")}
        start = [*STEPFLOW, "start", "hang_flows", json.dumps(order), "--store", "sqlite:///w.db"]
        subprocess.run(start, cwd=tmp_path, check=True, timeout=LIMIT_S, capture_output=True)
        (tmp_path / "began").read_text()  # as soon as the step has begun
        while check(tmp_path, "1s")[0] == 0:  # the file gets older now: each check takes a part of a second
            pass
        assert "a step keeps its event loop" in check(tmp_path, "1s")[1]
        (tmp_path / "go_on").write_text("!")
        while check(tmp_path, "5s")[0] != 0:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert check(tmp_path, "10m") == (
            3,
            "there is no w.alive: no worker with this --alive-file runs, or it has ended",
        )


def test_a_worker_that_was_killed_is_found(tmp_path):
    with working(tmp_path) as process:
        process.kill()
        process.wait(LIMIT_S)
        while check(tmp_path, "1s")[0] == 0:
            pass
        assert check(tmp_path, "10m")[0] == 0  # nothing else tells: see to it that --within is short


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1, "at": "now", "failing": []}'])
def test_another_file_is_told(tmp_path, text):
    (tmp_path / "f").write_text(text)
    found = worker_alive(tmp_path / "f", duration("30s"))
    assert (found.ok, "is no file of a worker" in found.found) == (False, True)


def test_what_fails_in_a_worker_is_told_and_does_not_make_it_dead(tmp_path):
    (tmp_path / "f").write_text(json.dumps({"pid": 7, "at": 1 << 62, "failing": ["writer: Unavailable: away"]}))
    found = worker_alive(tmp_path / "f", duration("30s"))
    assert (found.ok, found.found) == (True, f"process 7 renewed {tmp_path / 'f'} 0 s ago; writer: Unavailable: away")


def test_a_file_that_cannot_be_written_is_an_error_at_once(stepflow):
    stepflow("start", "shop", '{"number": 1}')
    stepflow("worker", "shop", "--until-idle", "--alive-file", "no/such/folder/w.alive")
    assert (stepflow.code, "--alive-file no/such/folder/w.alive: No such file or directory" in stepflow.err) == (
        1,
        True,
    )
    stepflow("worker", "shop", "--until-idle", "--alive-file", "w.alive")
    assert stepflow.code == 0
