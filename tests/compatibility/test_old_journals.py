"""A store whose journal rows have no time is opened: they stay as they were, new ones have a time, and all runs come to their ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine, Status
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.compatibility.stores import KINDS, load, unpack
from tests.compatibility.workflows import KEYS, PAUSE, shop

SOURCE = Path(__file__).parent / "written_by_f288651"
LEFT = datetime(2025, 1, 6, 9, tzinfo=UTC) + PAUSE
AT = round(LEFT.timestamp()) * 1_000_000
WRITTEN = {"completed": KEYS, "waiting": KEYS[:5], "sleeping": KEYS[:4], "retrying": KEYS[:3]}


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param != "postgres":
        return unpack(request.param, SOURCE, tmp_path)
    server = request.getfixturevalue("postgres")
    return load(SOURCE, server, server.schema())


def driver_of(url: str) -> Driver:
    path = url.partition("///")[2]
    if url.startswith("postgresql"):
        return PostgresDriver(url)
    return SqliteDriver(path) if url.startswith("sqlite") else RocksdbDriver(path)


def journals(url: str, **part: Any) -> dict[str, tuple[JournalRow, ...]]:
    """The rows of all runs, by run."""
    session = driver_of(url).connect("", Owner("reader", "host", 1), AT)
    try:
        return dict(zip(WRITTEN, session.read(JournalQuery(tuple(WRITTEN), **part)), strict=True))
    finally:
        session.close()


def test_rows_of_an_older_version_have_no_time(url: str) -> None:
    found = journals(url)
    assert {run: [row.key for row in rows] for run, rows in found.items()} == WRITTEN
    assert {row.at for rows in found.values() for row in rows} == {0}
    assert journals(url, limit=1, last=True) == {run: rows[-1:] for run, rows in found.items()}
    assert driver_of(url).maintenance("").check() == []


def test_runs_of_an_older_version_go_on_and_their_new_rows_have_a_time(url: str) -> None:
    before, clock = journals(url), VirtualClock(LEFT + timedelta(minutes=10))
    with Engine(url, clock=clock) as engine:
        engine.register(shop)
        for run_id in WRITTEN:
            if run_id != "completed":
                engine.get(run_id).publish("approved", "Bob", id="1")
        engine.run_until_idle()
        clock.advance(PAUSE)
        engine.run_until_idle()
        assert {run.status for run in engine.runs()} == {Status.COMPLETED}
        assert engine.get(shop, "retrying").result()[1:] == ["reserved 3: “Straße”", 300, "Bob", "shipped 3"]
    after, minutes = journals(url), 60 * 1_000_000
    assert after["completed"] == before["completed"]
    for run_id, rows in after.items():
        assert [row.key for row in rows] == KEYS
        old = {row.key: row for row in before[run_id]}
        assert [row for row in rows if row.at == 0] == [old[row.key] for row in rows if row.at == 0]
    times = {run_id: [(row.at - AT) // minutes if row.at else None for row in rows] for run_id, rows in after.items()}
    assert times["waiting"] == [None] * 4 + [10, 10]
    assert times["sleeping"] == [None] * 4 + [70, 70]
    assert times["retrying"] == [None] * 2 + [10, 10, 70, 70]
    assert driver_of(url).maintenance("").check() == []
