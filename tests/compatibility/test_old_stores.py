"""A store that an older version wrote is opened, shows what it showed then, and all of its runs come to their ends."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine, GetData, GetDelayedStates, RunExists, StateCtx, Status, StoreData, commit, delay, park
from stepflow.cli.app import run as command
from tests.compatibility import flows
from tests.compatibility.finish import AT, NAMESPACES, SILENCE_S, finish, publish
from tests.compatibility.flows import Address, Order
from tests.compatibility.record import END, everything, outcome, plain
from tests.compatibility.stores import SOURCE, Stored, recorded, unpack

# What has become of the runs of chains: the log of the completed ones, the status or the error of the others.
SIGNED = ["Ada at 2025-01-06T08:30:00+00:00", "Bob at 2025-01-06T08:30:00+00:00"]
RESULTS: dict[str, dict[str, Any]] = {
    "": {
        "completed": ["charge", "ship"],
        "a/b c?d%e#ü": ["charge", "ship"],
        "failed": ["first", "address", "last"],
        "cancelled": "cancelled",
        "calling": ["call"],
        "retrying": ["open", "login", "login", "upload", "close"],
        "exhausted": "ConnectionError",
        "server": ["server 0 is down", "server 1", "work"],
        "polling": ["install"],
        "never": "TimedOut",
        "approval": ["ask", "by Ada", "ship"],
        "unapproved": ["ask", "posted", "ship"],
        "expired": "TimedOut",
        "unsigned": SIGNED,
        "half-signed": SIGNED,
        "priced": ["price 10", "price 30"],
        "looping": ["go on", "end"],
        "blocked": ["cut", "go", "sand"],
        "queued": ["charge", "ship"],
        "urgent": ["charge", "ship"],
        "later": ["charge", "ship"],
        "alarm": ["charge", "ship"],
        "api-0": ["charge", "ship"],
        "api-1": ["charge", "ship"],
        "api-2": ["charge", "ship"],
        "posted": ["charge", "ship"],
        "killed-in-one": ["one", "two", "three"],
        "killed-in-two": ["one", "two", "three"],
        "killed-printing": ["one", "two", "three"],
        "behind-printing": ["one", "two", "three"],
        "killed-cancelled": "cancelled",
    },
    "tenant-b": {
        "completed": ["charge", "ship"],
        "queued": ["charge", "ship"],
        "unsigned": [SIGNED[1], SIGNED[1]],
    },
    "crashes": {"suspect": ["one", "two", "three"]},
}

# The notes of the last transitions of the States: all of them are parked.
STATES: dict[str, dict[str, dict[str, str]]] = {
    "": {
        "letter": {"state": "corrected"},
        "fired": {"state": "executed", "labelled": "1"},
        "delayed": {"state": "executed", "labelled": "1"},
        "void": {"state": "moved on"},
        "snapshot": {"text": "now"},
        "reminder of snapshot": {"text": "then", "seen": "snapshot"},
        "offer": {"state": "expired"},
        "question": {"state": "answered"},
        "question-data": {"state": "answered"},
        "caller of question": {"got": "yes"},
        "caller of question-data": {"got": "yes"},
        "mail": {"state": "sent"},
        "mail-later": {"state": "sent"},
        "mail-failed": {"state": "sent"},
        "mail-alone": {},
        "moved": {"state": "executed", "labelled": "2"},
        "kept": {"state": "executed", "labelled": "1"},
        "hand": {"state": "executed", "late": "False"},
        "hand-delayed": {"state": "executed", "late": "True"},
        "hand-snapshot": {"state": "executed", "late": "True"},
    },
    "tenant-b": {"letter": {"state": "executed", "labelled": "1"}},
    "crashes": {},
}


def results(found: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same two tables of what `outcome` found."""
    runs = {id_: run for id_, run in found["runs"].items() if run["exchange"] is not None}
    ends = {
        id_: run["exchange"]["log"] if run["status"] == "completed" else run["error"] or run["status"]
        for id_, run in runs.items()
    }
    states = {id_: run for id_, run in found["runs"].items() if id_ not in runs}
    assert {run["status"] for run in states.values()} <= {"parked"}
    return ends, {id_: {k: v for k, v in run["notes"].items() if k != "why"} for id_, run in states.items()}


def test_everything_is_found_as_it_was_left(stored: Stored) -> None:
    assert stored.problems() == []
    for name in NAMESPACES:
        with stored.engine(name) as engine:
            assert everything(engine) == stored.opened(name)
    assert stored.problems() == []


def test_every_run_goes_on_to_its_end(stored: Stored, capsys: pytest.CaptureFixture[str]) -> None:
    left_at = stored.clock().datetime()
    assert doctor(stored, capsys) == ["blocked runs: 1: see stepflow list --status blocked"]
    for name in NAMESPACES:
        clock = stored.clock()
        with stored.engine(name, clock) as engine:
            finish(engine, clock, name)
            found = outcome(engine, left_at, left_at + timedelta(seconds=SILENCE_S))
            if not name:
                assert stacked(engine) == {"kind": "caller", "since": "then", "form": b"\x00\xff", "binary": True}
        assert results(found) == (RESULTS[name], STATES[name])
        assert found == stored.record["namespaces"][name]["ended"]
    assert stored.problems() == []
    assert doctor(stored, capsys) == []


def stacked(engine: Engine) -> dict[str, Any]:
    """A State that was stacked with its data, after it came back."""
    caller = engine.get_state("caller of question-data")
    engine.do(GetData(caller, "form"))
    data = caller.data("form")
    return caller.labels | {"since": caller.annotations["since"], "form": data.blob, "binary": data.binary}


def test_the_more_urgent_ones_go_first(stored: Stored) -> None:
    with stored.engine() as engine:
        engine.register(flows.order_flow)
        engine.run_until_idle()
        revs = [engine.get(run).info().rev for run in ("urgent", "alarm", "queued")]
    assert revs == sorted(revs)


def test_the_runs_of_dead_owners_are_taken_over_by_a_worker_of_today(stored: Stored) -> None:
    with Engine(stored.url, retention=None) as engine:
        engine.register(*flows.KILLED)
        assert engine.get("killed-in-two").status() is Status.RUNNING
        engine.run_until_idle()
        assert engine.get(flows.killed_flow, "killed-in-two").result().log == ["one", "two", "three"]
        assert engine.get("killed-cancelled").status() is Status.CANCELLED
        assert engine.get_state("hand").annotation("state") == "executed"


@pytest.mark.parametrize("stored", ["sqlite", "rocksdb"], indirect=True)
def test_a_free_lock_tells_at_once_that_an_owner_died(stored: Stored) -> None:
    with stored.engine() as engine:
        engine.register(*flows.KILLED)
        engine.run_until_idle()
        assert engine.get("killed-in-two").status() is Status.COMPLETED


def test_a_database_that_was_copied_without_its_locks_is_taken_over_after_ten_silent_seconds(tmp_path: Path) -> None:
    stored = Stored("sqlite", unpack("sqlite", SOURCE, tmp_path), recorded(SOURCE))
    shutil.rmtree(tmp_path / "runs.db-locks")
    clock = stored.clock()
    with stored.engine(clock=clock) as engine:
        engine.register(*flows.KILLED)
        for seconds in (0, 5, 4.9):
            clock.advance(seconds)
            engine.run_until_idle()
            assert engine.get("killed-in-two").status() is Status.RUNNING
        clock.advance(0.2)
        engine.run_until_idle()
        assert engine.get("killed-in-two").status() is Status.COMPLETED


def test_what_was_started_and_published_then_is_recognised(stored: Stored) -> None:
    with stored.engine() as engine:
        order = Order(1, address=Address("Straße 1", 8001), placed=AT)
        run = engine.start(flows.order_flow, order, id="completed")
        assert run.result() == Order(1, ["charge", "ship"], address=order.address, placed=AT)
        with pytest.raises(RunExists):
            engine.start(flows.order_flow, Order(2), id="completed")
        again = engine.start(flows.order_flow, Order(99), dedup_key="alarm", dedup_window=timedelta(days=30))
        assert again.id == "alarm"
        assert plain(engine.tally()) == stored.opened("")["tally"]

        engine.register(*flows.ALL)
        for _ in range(2):
            publish(engine, "")
        engine.run_until_idle()
        assert engine.get(flows.signature_flow, "half-signed").result().log == SIGNED


def test_numbers_go_on_where_they_were(stored: Stored) -> None:
    for name in ("", "tenant-b"):
        with stored.engine(name) as engine:
            before = everything(engine)
            new = StateCtx("new")
            new.set_data("blob", "blob")
            engine.do(commit(StoreData(new, "blob"), park(new)), commit(delay(new, "later", 60)))
            highest = max(max(state["rev"] for state in stored.opened(n)["states"]) for n in NAMESPACES)
            assert new.rev > highest
            assert new.data("blob").rev == 1 + max(data["rev"] for data in before["data"].values())
            offsets = [d.offset for d in engine.do(GetDelayedStates(until=END))]
            assert sorted(offsets) == list(range(1, len(before["delays"]) + 2))


def test_a_watch_from_the_beginning_sees_every_revision(stored: Stored) -> None:
    revisions = [state["rev"] for state in stored.opened("")["states"]]
    with Engine(stored.url) as engine:
        watch = engine.watch()
        assert [next(watch).rev for _ in revisions] == revisions


def doctor(stored: Stored, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What needs care, as the command line says it."""
    code = command(["doctor", "--store", stored.url, "--json"])
    findings = [f"{f['what']}: {f['found']}" for f in json.loads(capsys.readouterr().out) if not f["ok"]]
    assert code == (3 if findings else 0)
    return findings


def test_the_stored_stores_hold_runs_of_every_status() -> None:
    runs = recorded(SOURCE)["namespaces"][""]["opened"]["runs"]
    assert {run["status"] for run in runs.values()} == {
        "queued", "running", "sleeping", "waiting", "parked", "blocked", "completed", "failed", "cancelled"
    }  # fmt: skip
    assert runs["retrying"]["position"] == ["start:upload.v1/netRetry", "attempt:2:upload.v1/netRetry"]
    assert runs["failed"]["error"]["traceback"].startswith("Traceback (most recent call last):")
    assert {runs[id_]["owner"] for id_ in ("killed-in-two", "hand", "kept")} == {"the worker", "the client"}
    assert datetime.fromisoformat(runs["expired"]["deadline"]) - datetime.fromisoformat(
        runs["expired"]["created_at"]
    ) == (timedelta(days=3))
