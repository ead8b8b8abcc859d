"""The main job survives SIGKILL anywhere: the real process is killed again and again and must end as if never disturbed."""

from __future__ import annotations

import csv
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stepflow import Engine
from tests.house.pages import ROOT

STEPS = ["reserve", "paymentRetry/charge", "ship", "mail"]
FINISHED = {  # position -> how many of the steps above are behind it
    "start:orders.v1": 0,
    "completed:orders.v1/reserve": 1,
    "start:orders.v1/paymentRetry": 1,
    "completed:orders.v1/paymentRetry/charge": 2,
    "start:orders.v1/largeCase/steps": 2,
    "completed:orders.v1/largeCase": 2,
    "completed:orders.v1/ship": 3,
    "completed:orders.v1": 4,
}
SUMMARY = [("completed", 1146), ("failed", 12), ("failed", 26), ("waiting", 16)]
CONCURRENCY = 64


def demo(folder: Path, **options) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "examples" / "orders_demo.py")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "100"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, cwd=folder, env=env, **options)


def kill_at(folder: Path, pattern: str) -> str:
    """Run the demo until a line fits `pattern`, then SIGKILL it; what it printed."""
    process, seen = demo(folder), ""
    for line in process.stdout:
        seen += line
        if re.search(pattern, line):
            process.kill()
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL, seen
    return seen


def ledger(folder: Path) -> dict[str, int]:
    """Key of every effect -> how often it was asked for."""
    with closing(sqlite3.connect(folder / "demo-ledger.db")) as db:
        exists = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ledger'").fetchone()[0]
        return dict(db.execute("SELECT key, times FROM ledger")) if exists else {}


def finished_keys(folder: Path) -> set[str]:
    """Keys of all steps that the store holds as finished."""
    with Engine(f"sqlite:///{folder}/demo.db") as engine:
        runs = engine.runs(flow="orders.v1", limit=10_000)
    return {f"orders.v1/{run.id}/{step}" for run in runs for step in STEPS[: FINISHED[run.position[0]]]}


def summary_of(output: str) -> list[tuple[str, int]]:
    return [(m[1], int(m[2])) for m in re.finditer(r"│ (\w+) +│ (\d+) +│", output)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder in which the demo was killed while it started runs and while it advanced them, and then ended."""
    folder = tmp_path_factory.mktemp("demo")
    repeated: list[set[str]] = []
    for pattern in ("rows refused", "one durable run each", r"^2\d\d of 1200", r"^[67]\d\d of 1200", "of 1200 orders"):
        kill_at(folder, pattern)
        before, finished = ledger(folder), finished_keys(folder)
        assert finished <= set(before), "a step is finished in the store and had no effect"
        repeated.append({key: before[key] for key in finished})
    started = time.time()
    process = demo(folder)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return folder, repeated, started, output


@pytest.mark.timeout(300)
class TestKilled:
    def test_it_ends_as_if_it_had_never_been_killed(self, killed):
        assert summary_of(killed[3]) == SUMMARY

    def test_no_finished_step_was_done_again(self, killed):
        after = ledger(killed[0])
        assert [{k: t for k, t in before.items() if after[k] != t} for before in killed[1]] == [{}] * 5

    def test_every_effect_happened_once_for_every_step_that_is_behind_a_run(self, killed):
        assert set(ledger(killed[0])) == finished_keys(killed[0])

    def test_only_steps_that_a_kill_interrupted_were_asked_for_again(self, killed):
        again = sum(times - 1 for times in ledger(killed[0]).values())
        assert again <= 5 * CONCURRENCY

    def test_it_goes_on_within_seconds(self, killed):
        started = datetime.fromtimestamp(killed[2], UTC)
        with Engine(f"sqlite:///{killed[0]}/demo.db") as engine:
            moved = [run.id for run in engine.runs(limit=10_000) if run.updated_at > started]
            first = min(entry.at for name in moved for entry in engine.get(name).history() if entry.at > started)
        assert (first - started).total_seconds() < 5  # 2 s, and the start of a process on a busy machine

    def test_another_start_finds_everything_done_and_draws_a_bar_on_a_terminal(self, killed):
        before = ledger(killed[0])
        ours, theirs = pty.openpty()
        process = demo(killed[0], stdout=theirs, stderr=theirs, stdin=theirs)
        os.close(theirs)
        output = read_all(ours)
        assert process.wait(30) == 0
        assert "1200/1200" in output
        assert ledger(killed[0]) == before

    def test_an_approval_lets_a_waiting_order_go_on(self, killed):
        with Engine(f"sqlite:///{killed[0]}/demo.db") as engine:
            waiting = engine.runs(status="waiting", limit=100)[0].id
            engine.get(waiting).publish("order.approved", "Ada")
        output, _ = demo(killed[0]).communicate(timeout=60)
        assert ("completed", 1147) in summary_of(output)
        with Engine(f"sqlite:///{killed[0]}/demo.db") as engine:
            assert engine.get(waiting).exchange()["approved_by"] == "Ada"


def read_all(terminal: int) -> str:
    """What arrives at a terminal until the other side is closed."""
    found = b""
    try:
        while chunk := os.read(terminal, 65536):
            found += chunk
    except OSError:  # how Linux reports that the other side is closed
        pass
    os.close(terminal)
    return found.decode()


def test_refused_rows_are_named_with_line_and_reason(tmp_path):
    output = kill_at(tmp_path, "one durable run each")
    lines = (ROOT / "examples" / "orders.csv").read_text().splitlines()
    refused = dict(re.findall(r"^  line (\d+): (.*)$", output, re.M))
    assert len(refused) == 10
    assert lines[int(next(n for n, why in refused.items() if "-129.00" in why)) - 1].startswith("1250,")
    assert refused["19"] == "order 17 is there already, in line 18"
    assert {why for why in refused.values() if "missing" in why} == {
        "customer is missing",
        "amount is missing",
        "order is missing",
        "quantity is missing",
    }


def test_the_input_is_as_awkward_as_promised():
    with (ROOT / "examples" / "orders.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) > 1000
    assert any("山" in cell for row in rows for cell in row)
    assert len({row[0] for row in rows}) < len(rows)
    assert {len(row) for row in rows} == {3, 5}


def test_interrupted_by_hand_it_says_how_to_go_on(tmp_path):
    process = demo(tmp_path)
    while not process.stdout.readline().startswith("2"):
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "Interrupted. Start it again, and it goes on where it was.\n")


def test_a_damaged_store_is_told_in_one_line(tmp_path):
    (tmp_path / "demo.db").write_bytes(b"no database at all, but long enough to be looked at closely" * 99)
    process = demo(tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
