"""The command as a real process: signals, pipes and terminals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from stepflow import Engine, RunExists, named
from tests.house.pages import ROOT
from tests.processes.harness import eventually

pytestmark = pytest.mark.usefixtures("forking")

SPIN = """
from stepflow import Steps, named

def turn() -> None:
    print("turn", flush=True)

spin = named("spin.v1").loop_until("forever", lambda: False, Steps().do("turn", turn)).compile()
"""


@pytest.fixture
def spawn(tmp_path, stepflow):
    """Start `python -m stepflow ...` in a folder with a flow that never ends, where `stepflow` runs commands without a process."""
    (tmp_path / "spin.py").write_text(SPIN)
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}

    def start(*args: str, **options) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env} | options
        process = subprocess.Popen([sys.executable, "-m", "stepflow", *args], cwd=tmp_path, **options)
        started.append(process)
        return process

    started: list[subprocess.Popen[str]] = []
    yield start
    for process in started:
        with process:  # closes its pipes
            process.kill()


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_releases_its_run(spawn, stepflow, signum):
    stepflow("start", "spin", "--id", "run-1")
    worker = spawn("worker", "spin")
    assert worker.stdout.readline() == "worker on sqlite:///shop.db: spin.v1\n"
    assert worker.stdout.readline() == "turn\n"
    worker.send_signal(signum)
    output(worker)
    info = stepflow.json("show", "run-1")["info"]
    assert (info["status"], info["owner"], info["crashes"]) == ("queued", "", 0)


@pytest.mark.parametrize("verb", [("worker", "spin", "--until-idle"), ("run", "spin:spin", "--id", "run-1")])
def test_a_job_that_is_stopped_releases_its_run(spawn, stepflow, verb):
    """A scheduler of jobs stops them with SIGTERM, too: that is no death of a process that held the run."""
    stepflow("start", "spin", "--id", "run-1")
    for _stop in range(2):
        worker = spawn(*verb)
        assert "turn\n" in (worker.stdout.readline(), worker.stdout.readline())
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=100)
        assert worker.returncode == 130
    info = stepflow.json("show", "run-1")["info"]
    assert (info["status"], info["owner"], info["crashes"]) == ("queued", "", 0)


def test_a_worker_prunes_what_ended_and_keeps_the_ids(spawn, tmp_path):
    (tmp_path / "short.py").write_text(
        "from stepflow import named\nshort = named('short.v1', dict).do('a', lambda given: None).compile()\n"
    )
    flow = named("short.v1", dict).do("a", lambda given: None).compile()
    with Engine(f"sqlite:///{tmp_path / 'shop.db'}") as engine:
        engine.start(flow, {"number": 1}, id="run-1")
        worker = spawn("worker", "short", "--keep", "0s", "--keep-ids", "365d")
        eventually(lambda: engine.runs() == [])
        with pytest.raises(RunExists, match="keep_ids"):
            engine.start(flow, {"number": 1}, id="run-1")
    worker.terminate()
    output(worker)


def test_tail_follows_until_the_run_ends(spawn, stepflow):
    stepflow("start", "spin", "--id", "run-1")
    tail = spawn("tail", "run-1", "--every", "0.05", "--json")
    assert json.loads(tail.stdout.readline())["position"] == ["start:spin.v1"]
    stepflow("cancel", "run-1")
    out, _ = tail.communicate(timeout=100)
    assert (json.loads(out.splitlines()[-1])["status"], tail.returncode) == ("cancelled", 3)


PAY = """
from stepflow import Context, RetryPolicy, workflow

failures = [ValueError("no bank")]

def charge() -> int:
    if failures:
        raise failures.pop()
    return 900

@workflow("pay")
def pay(wf: Context) -> int:
    cents = wf.execute("charge", charge, retry=RetryPolicy(2, delay=0.001))
    wf.wait_for_event("shipped", "shipped", str)
    return cents
"""


def test_tail_prints_the_calls_of_a_workflow_while_it_waits(spawn, stepflow, tmp_path):
    (tmp_path / "pay.py").write_text(PAY)
    stepflow("start", "pay", "--id", "run-1")
    eventually(lambda: stepflow("worker", "pay", "--until-idle") and stepflow.json("show", "run-1")["info"]["awaits"])
    tail = spawn("tail", "run-1", "--every", "0.05", "--json")
    lines = [json.loads(tail.stdout.readline())]
    while lines[-1].get("where") != "shipped":
        lines.append(json.loads(tail.stdout.readline()))
    calls = [(line["where"], line["kind"], line["text"]) for line in lines if "seq" in line]
    assert ("charge", "step", "900") in calls
    stepflow("publish", "run-1", "shipped", '"DHL"')
    stepflow("worker", "pay", "--until-idle")
    rest = [json.loads(line) for line in output(tail).splitlines()]
    assert [(line["where"], line["text"]) for line in rest if "seq" in line] == [("shipped", '"DHL"')]
    assert rest[-1]["status"] == "completed"
    again = output(spawn("tail", "run-1", "--json")).splitlines()
    assert {json.loads(line).get("where") for line in again} >= {"charge", "shipped"}
    assert "  step charge  900\n" in output(spawn("tail", "run-1"))


def test_an_interrupted_tail_ends_with_130(spawn, stepflow):
    stepflow("start", "spin", "--id", "run-1")
    tail = spawn("tail", "run-1")
    tail.stdout.readline()
    tail.send_signal(signal.SIGINT)
    _, err = tail.communicate(timeout=100)
    assert (tail.returncode, err.strip()) == (130, "")


def test_a_reader_that_closes_the_pipe_is_not_an_error(spawn, stepflow):
    stepflow("start", "spin", "--id", "run-1")
    reader, writer = os.pipe()
    os.close(reader)
    process = spawn("list", stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")


def test_on_a_terminal_there_is_a_table(spawn, stepflow):
    stepflow("start", "spin", "--id", "run-1")
    ours, theirs = pty.openpty()
    process = spawn("list", stdout=theirs)
    process.wait(60)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\t" not in text
    assert "run-1" in text


def test_a_terminal_gets_the_beginning_of_a_long_value(spawn, stepflow):
    stepflow("start", "spin", "--id", "run-1", "--label", f"note={'x' * 10_000}")
    ours, theirs = pty.openpty()
    spawn("show", "run-1", stdout=theirs)
    os.close(theirs)
    raw = b""
    with suppress(OSError):  # the end
        while part := os.read(ours, 65536):
            raw += part
    os.close(ours)
    text = raw.decode()
    assert "… (10,005 characters: --json has all of them)" in text
    assert text.count("x") < 5_000
    assert output(spawn("show", "run-1")).count("x") == 10_000


def test_a_narrow_terminal_cuts_no_id(spawn):
    long = "order-" + "x" * 70
    output(spawn("start", "spin", "--id", long))
    ours, theirs = pty.openpty()
    process = spawn(
        "list",
        stdout=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT), "STEPFLOW_STORE": "sqlite:///shop.db", "COLUMNS": "40"},
    )
    process.wait(60)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert long in text
    assert "queued" in text


def test_the_worker_shares_the_interpreter_fairly(spawn, tmp_path):
    (tmp_path / "fair.py").write_text(
        SPIN.replace('print("turn", flush=True)', "import sys; print(sys.getswitchinterval(), flush=True)")
    )
    output(spawn("start", "fair", "--id", "run-1"))
    worker = spawn("worker", "fair")
    worker.stdout.readline()
    assert worker.stdout.readline() == "0.0005\n"
    worker.terminate()
    output(worker)
