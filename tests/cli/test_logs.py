"""The log of the verbs that run until a signal: text, or one JSON object per line with what the library adds to its records."""

from __future__ import annotations

import ast
import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from stepflow.cli.app import app
from stepflow.cli.logs import JsonLines
from tests.house.pages import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("forking")

FLOWS = """
import warnings

from stepflow import Command, StateCtx, commit, flow, named, park


def charge() -> None:
    warnings.warn("the card is old")
    raise ValueError("card expired:\\nNovember")


order_flow = named("order.v1").do("charge", charge).compile()


@flow("mail.send")
def send(ctx: StateCtx) -> Command:
    return commit(park(ctx))
"""
LIMIT_S = 60


@pytest.fixture
def start(stepflow, tmp_path):
    """Starts `python -m stepflow ...` in a folder with two flows, one of which fails."""
    (tmp_path / "logged.py").write_text(FLOWS)
    (tmp_path / "secret").write_text("of the tests, of no use elsewhere\n")
    started: list[subprocess.Popen[str]] = []

    def begin(*args: str, **more: str) -> subprocess.Popen[str]:
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"} | more
        command = [sys.executable, "-m", "stepflow", *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, **pipes))
        return started[-1]

    yield begin
    for process in started:
        with process:
            process.kill()


@pytest.mark.parametrize("more", [("--json-logs",), ()], ids=["option", "environment"])
def test_a_worker_logs_a_failed_run_as_one_line(start, stepflow, more):
    stepflow("start", "logged:order_flow", "--id", "order-1")
    worker = start("worker", "logged", "--until-idle", *more, **({} if more else {"STEPFLOW_JSON_LOGS": "1"}))
    _out, err = worker.communicate(timeout=LIMIT_S)
    lines = [json.loads(line) for line in err.splitlines()]
    (failed,) = (line for line in lines if line.get("event") == "failed")
    assert (failed["level"], failed["run_id"], failed["step"]) == ("ERROR", "order-1", "charge")
    assert failed["traceback"].endswith("ValueError: card expired:\nNovember\nin step order.v1/charge")
    assert failed["logger"].startswith("stepflow")
    assert any("the card is old" in line["message"] for line in lines if line["logger"] == "py.warnings")


def test_a_worker_logs_text_without_the_option(start, stepflow):
    stepflow("start", "logged:order_flow", "--id", "order-1")
    _out, err = start("worker", "logged", "--until-idle").communicate(timeout=LIMIT_S)
    assert "ERROR stepflow: run order-1" in err
    assert "\nValueError: card expired" in err


@pytest.mark.parametrize("verb", ["host", "serve"])
def test_a_server_logs_json_from_its_first_line_to_its_last(start, verb):
    port = str(free_port())
    of_host = ("logged", "--url", f"http://127.0.0.1:{port}", "--secret-file", "secret")
    process = start(verb, *(of_host if verb == "host" else ("--port", port)), "--json-logs")
    assert process.stderr is not None
    lines = []
    for text in process.stderr:
        lines.append(json.loads(text))
        if "running on" in lines[-1]["message"]:
            process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert lines[-1]["message"].startswith("Finished server process")
    assert {line["level"] for line in lines} <= {"INFO", "WARNING"}


def test_every_verb_that_makes_a_log_takes_the_option(stepflow):
    files = {path.stem: path.read_text() for path in (ROOT / "stepflow" / "cli").glob("*.py")}
    logging_verbs = {name for name, text in files.items() if "log_to_stderr" in called(text)}
    assert logging_verbs == {"host", "serve", "worker"}
    assert [name for name, text in files.items() if "basicConfig" in called(text)] == ["logs"]
    for verb in logging_verbs:
        with pytest.raises(SystemExit):
            app.main([verb, "--json-logs", "--help"])


def called(text: str) -> set[str]:
    """The names of the functions and methods that a file calls."""
    functions = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return {getattr(one, "attr", getattr(one, "id", "")) for one in functions}


@pytest.mark.parametrize(
    ("created", "at"), [(0.0, "1970-01-01T00:00:00.000Z"), (1_900_000_000.25, "2030-03-17T17:46:40.250Z")]
)
def test_the_time_of_a_line_of_the_log_is_utc_to_the_millisecond(created, at, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        record = logging.makeLogRecord({"created": created, "msecs": created % 1 * 1000, "msg": "hello"})
        assert json.loads(JsonLines().format(record))["at"] == at
    finally:
        monkeypatch.undo()
        time.tzset()
