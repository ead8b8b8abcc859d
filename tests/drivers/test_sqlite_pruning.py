"""Pruning on SQLite of runs whose last revisions left the exchange as it was, in pieces that end at any revision."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stepflow import Engine, named
from stepflow.drivers.port import pruning
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.engine.clock import VirtualClock

FOR_EVER = 2**62


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_pieces_may_end_at_any_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    flow = named("f.v1", dict).do("a", lambda d: d.update(n=1)).do("b", lambda _d: None).do("c", lambda _d: None)
    done = flow.compile()
    with Engine(f"sqlite:///{tmp_path}/s.db", clock=VirtualClock(), keep=None) as engine:
        engine.register(done)
        engine.start_many(done, [(f"r{n}", {}) for n in range(4)])
        engine.run_until_idle()
        monkeypatch.setattr(pruning, "ROWS", rows)
        maintenance = SqliteDriver(tmp_path / "s.db").maintenance("")
        assert sum(piece.runs for piece in maintenance.pruning(FOR_EVER, 100)) == 4
        assert maintenance.check() == []
        engine.start(done, {}, id="r0")
        engine.run_until_idle()
        assert engine.get("r0").status() == "completed"
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        assert connection.execute("SELECT count(*), count(DISTINCT id) FROM stepflow_history").fetchone() == (4, 1)


def test_what_a_version_before_left_in_the_history_is_deleted(tmp_path: Path) -> None:
    flow = named("f.v1", dict).do("a", lambda _d: None).compile()
    with Engine(f"sqlite:///{tmp_path}/s.db", clock=VirtualClock(), keep=None) as engine:
        engine.register(flow)
        engine.start(flow, {}, id="r0")
        engine.run_until_idle()
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        connection.execute("UPDATE stepflow_history SET rev = -2 WHERE prev = 0")
    maintenance = SqliteDriver(tmp_path / "s.db").maintenance("")
    assert sum(piece.runs for piece in maintenance.pruning(FOR_EVER, 100)) == 1
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        assert connection.execute("SELECT count(*) FROM stepflow_history").fetchone() == (0,)
