"""A mark of a cancel or of a pause that is no number: nothing takes it for one that was never set, and it stays as it is."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stepflow import Engine, Limit, Status, named
from stepflow.testing import VirtualClock

ORDER = named("order.v1", dict).do("bill", lambda order: order.update(billed=True)).compile()
NAMES = ("woken", "cancelled", "limited", "held", "good")


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as program, program:
        return program.execute(statement, values).fetchall()


@pytest.mark.parametrize("mark", ["garbage", "", b"\xff", 1.5])
def test_a_damaged_cancel_mark_blocks_its_run_and_stays(tmp_path: Path, mark: object):
    path, clock = tmp_path / "runs.db", VirtualClock()
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        for name in NAMES:
            engine.start(ORDER, {}, id=name, limits=[Limit("shop", 1)] if name == "limited" else [])
    execute(path, "UPDATE stepflow_queue SET cancel = ? WHERE id <> 'good'", mark)
    (shard,) = execute(path, "SELECT shard FROM stepflow_queue LIMIT 1")[0]
    execute(path, "UPDATE stepflow_queue SET owner = 'gone', partition = 1 WHERE id = 'held'")
    execute(
        path, "INSERT INTO stepflow_owners (shard, id, host, pid, beat) VALUES (?, 'gone', 'elsewhere', 1, 1)", shard
    )
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        engine.register(ORDER)
        for _time in range(3):
            engine.run_until_idle()
            clock.advance(120)
        statuses = {run.id: run.status for run in engine.runs()}
        assert statuses == dict.fromkeys(NAMES, Status.BLOCKED) | {"good": Status.COMPLETED}
        assert engine.tally() == {"order.v1": {"blocked": 4, "completed": 1}}
        assert {run.id for run in engine.runs(status=["blocked"])} == {"woken", "cancelled", "limited", "held"}
        told = engine.get("woken").explain()
        assert re.search(r"no worker takes it: its row of the queue .*its cancel mark .*: stepflow wake 'woken' ", told)
        assert "next try" not in told
        assert dict(execute(path, "SELECT id, cancel FROM stepflow_queue")) == dict.fromkeys(NAMES[:-1], mark)
        for name in ("woken", "limited", "held"):
            engine.get(name).wake()
        engine.get("cancelled").cancel()
        engine.run_until_idle()
        ends = dict.fromkeys(NAMES, Status.COMPLETED) | {"cancelled": Status.CANCELLED}
        assert {run.id: run.status for run in engine.runs()} == ends


def test_a_damaged_mark_of_a_pause_is_one(tmp_path: Path):
    path, clock = tmp_path / "runs.db", VirtualClock()
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        engine.start(ORDER, {}, id="paused")
        engine.get("paused").pause()
    execute(path, "UPDATE stepflow_queue SET paused = 'garbage'")
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        engine.register(ORDER)
        engine.run_until_idle()
        assert (engine.get("paused").status(), engine.tally()) == (Status.PAUSED, {"order.v1": {"paused": 1}})
        assert [run.id for run in engine.runs(status=["paused"])] == ["paused"]
        engine.get("paused").resume()
        engine.run_until_idle()
        assert engine.get("paused").status() is Status.COMPLETED
