"""The demo survives SIGKILL at any time: the real process is killed repeatedly and must end with the same result."""

from __future__ import annotations

import csv
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen

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
BEGIN = "one durable run each"


DEMO = str(ROOT / "examples" / "orders_demo.py")
# The same program where no silence of another process counts as its death: then only a free lock proves it.
BY_LOCK = (
    "import runpy, sys; from stepflow.engine.membership import failure_detector; failure_detector.SILENCE_S = 3600.0;"
    f"sys.path.insert(0, {str(ROOT / 'examples')!r});"
    f"runpy.run_path({DEMO!r}, run_name='__main__')"
)


def demo(folder: Path, *argv: str, **options) -> subprocess.Popen[str]:
    command = [sys.executable, *(argv or (DEMO,))]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "100"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, cwd=folder, env=env, **options)


def says(text: str) -> Callable[[str], bool]:
    return lambda line: text in line


def processed(at_least: int) -> Callable[[str], bool]:
    """A progress line with at least this number of orders; the distance between lines depends on the machine."""

    def fits(line: str) -> bool:
        told = re.match(r"(\d+) of 1200 orders processed", line)
        return told is not None and int(told[1]) >= at_least

    return fits


@frozen
class Told:
    """The output of a demo, and whether it was killed."""

    output: str
    killed: bool


def kill_at(folder: Path, fits: Callable[[str], bool]) -> Told:
    """SIGKILL the demo at the first matching line. It may also end before the signal arrives, but in no other way."""
    process = demo(folder, "-c", BY_LOCK)
    output = read_until(process, fits)
    if any(map(fits, output.splitlines())):
        process.kill()
    _, errors = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), errors
    return Told(output, process.returncode != 0)


def read_until(process: subprocess.Popen[str], fits: Callable[[str], bool]) -> str:
    """Read the output of the demo until a line matches or it ends."""
    output = ""
    for line in process.stdout:
        output += line
        if fits(line):
            break
    return output


def ledger(folder: Path) -> dict[str, int]:
    """Key of every effect -> how often it was recorded."""
    with closing(sqlite3.connect(folder / "demo-ledger.db")) as db:
        exists = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ledger'").fetchone()[0]
        return dict(db.execute("SELECT key, times FROM ledger")) if exists else {}


def finished_keys(folder: Path) -> set[str]:
    """Keys of all steps that are finished in the store."""
    with Engine(f"sqlite:///{folder}/demo.db") as engine:
        runs = engine.runs(flow="orders.v1", limit=10_000)
    return {f"orders.v1/{run.id}/{step}" for run in runs for step in STEPS[: FINISHED[run.position[0]]]}


def summary_of(output: str) -> list[tuple[str, int]]:
    return [(m[1], int(m[2])) for m in re.finditer(r"│ (\w+) +│ (\d+) +│", output)]


MOMENTS = (says("rows refused"), says(BEGIN), processed(100), processed(500), processed(800))


@frozen
class Killed:
    """A folder in which the demo was killed at each of the moments above and then ended; its content after each kill."""

    folder: Path
    told: list[Told]
    finished: list[set[str]]
    asked: list[dict[str, int]]
    output: str

    @property
    def hits(self) -> list[bool]:
        return [told.killed for told in self.told[:-1]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    told, finished, asked = [], [], []
    for moment in MOMENTS:
        told.append(kill_at(folder, moment))
        asked.append(ledger(folder))
        finished.append(finished_keys(folder))
    told.append(kill_at(folder, lambda _line: False))
    assert not told[-1].killed
    return Killed(folder, told, finished, asked, told[-1].output)


@pytest.mark.timeout(300)
class TestKilled:
    def test_it_was_killed_while_it_advanced_runs(self, killed):
        done = [len(keys) for hit, keys in zip(killed.hits, killed.finished, strict=True) if hit]
        assert any(0 < n < len(finished_keys(killed.folder)) for n in done)

    def test_it_ends_as_if_it_had_never_been_killed(self, killed):
        assert summary_of(killed.output) == SUMMARY

    def test_a_step_that_is_finished_in_the_store_had_its_effect(self, killed):
        assert [done - set(asked) for done, asked in zip(killed.finished, killed.asked, strict=True)] == [set()] * 5

    def test_no_finished_step_was_done_again(self, killed):
        after = ledger(killed.folder)
        moments = zip(killed.finished, killed.asked, strict=True)
        assert [{key for key in done if after[key] != asked[key]} for done, asked in moments] == [set()] * 5

    def test_every_effect_happened_once_for_every_step_that_is_behind_a_run(self, killed):
        assert set(ledger(killed.folder)) == finished_keys(killed.folder)

    def test_only_steps_that_a_kill_interrupted_were_asked_for_again(self, killed):
        again = sum(times - 1 for times in ledger(killed.folder).values())
        assert again <= sum(killed.hits) * CONCURRENCY

    def test_another_start_finds_everything_done_and_draws_a_bar_on_a_terminal(self, killed):
        before = ledger(killed.folder)
        ours, theirs = pty.openpty()
        process = demo(killed.folder, stdout=theirs, stderr=theirs, stdin=theirs)
        os.close(theirs)
        output = read_all(ours)
        assert process.wait(60) == 0
        assert "1200/1200" in output
        assert ledger(killed.folder) == before

    def test_an_approval_lets_a_waiting_order_go_on(self, killed):
        with Engine(f"sqlite:///{killed.folder}/demo.db") as engine:
            waiting = engine.runs(status="waiting", limit=100)[0].id
            engine.get(waiting).publish("order.approved", "Ada")
        output, _ = demo(killed.folder).communicate(timeout=100)
        assert ("completed", 1147) in summary_of(output)
        with Engine(f"sqlite:///{killed.folder}/demo.db") as engine:
            assert engine.get(waiting).exchange()["approved_by"] == "Ada"


def read_all(terminal: int) -> str:
    """The output at a terminal until the other side is closed."""
    found = b""
    try:
        while chunk := os.read(terminal, 65536):
            found += chunk
    except OSError:  # how Linux reports that the other side is closed
        pass
    os.close(terminal)
    return found.decode()


def test_refused_rows_are_named_with_line_and_reason(tmp_path):
    output = kill_at(tmp_path, says(BEGIN)).output
    lines = (ROOT / "examples" / "orders.csv").read_text().splitlines()
    refused = dict(re.findall(r"^  line (\d+): (.*)$", output, re.M))
    assert len(refused) == 10
    assert lines[int(next(n for n, why in refused.items() if "-129.00" in why)) - 1].startswith("1250,")
    assert refused["19"] == "order 17 exists already, in line 18"
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
    read_until(process, processed(1))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (1, "Interrupted. Start it again to resume.\n")


def test_a_damaged_store_is_told_in_one_line(tmp_path):
    (tmp_path / "demo.db").write_bytes(b"no database at all, but long enough to be looked at closely" * 99)
    process = demo(tmp_path)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
