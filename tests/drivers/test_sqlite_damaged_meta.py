"""A damaged number of the table `stepflow_meta`: the error names it with the remedy, nothing is written, and the remedy works."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stepflow import Corrupt, Engine, Status, named
from stepflow.testing import VirtualClock

ORDER = named("order.v1", dict).do("bill", lambda order: order.update(billed=True)).compile()


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as program, program:
        return program.execute(statement, values).fetchall()


def start_two(engine: Engine) -> object:
    return engine.start(ORDER, {}, id="two")


def refusal(path: Path, clock: VirtualClock, verb: Callable[[Engine], object]) -> str:
    """What is told by an engine that is asked to do this."""
    try:
        with Engine(f"sqlite:///{path}", clock=clock) as engine:
            engine.register(ORDER)
            verb(engine)
    except Corrupt as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", ["garbage", b"\xff", 1.5, None])
@pytest.mark.parametrize("name", ["schema", "shards", "rev_floor", "epoch"])
def test_a_damaged_number_is_named_with_the_remedy(tmp_path: Path, name: str, value: object):
    path, clock = tmp_path / "runs.db", VirtualClock()
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        engine.start(ORDER, {}, id="one")
    if value is None:
        execute(path, "DELETE FROM stepflow_meta WHERE name = ?", name)
    else:
        execute(path, "UPDATE stepflow_meta SET value = ? WHERE name = ?", value, name)
    before = execute(path, "SELECT * FROM stepflow_meta"), execute(path, "SELECT * FROM stepflow_queue")
    for verb in (start_two, Engine.run_until_idle):
        told = refusal(path, clock, verb)
        assert re.search(rf"runs.db: its table stepflow_meta has .* for '{name}' .*: restore a backup", told)
    assert (execute(path, "SELECT * FROM stepflow_meta"), execute(path, "SELECT * FROM stepflow_queue")) == before
    if name == "schema":
        return
    found = re.search(r'sqlite3 FILE "(.*)"', told)
    assert found is not None
    execute(path, found[1])
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        engine.register(ORDER)
        engine.start(ORDER, {}, id="two")
        engine.run_until_idle()
        assert {run.id: run.status for run in engine.runs()} == dict.fromkeys(("one", "two"), Status.COMPLETED)
