"""tx= on SQLite: connections that make rows, texts and cursors in their own way, cursors and pools, and what cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import create_engine

from stepflow import Engine, RunExists, Status, StoreError
from tests.engine.flows import Order, chain


@pytest.fixture
def engine(sqlite, clock) -> Iterator[Engine]:
    with Engine(sqlite, clock=clock) as engine:
        yield engine


def as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip([one[0] for one in cursor.description], row, strict=True))


class OwnCursors(sqlite3.Connection):
    def cursor(self) -> sqlite3.Cursor:  # type: ignore[override]  # as simple as users write it
        return super().cursor(sqlite3.Cursor)


@pytest.mark.parametrize(
    ("rows", "texts"),
    [(sqlite3.Row, str), (as_dict, str), (lambda _cursor, row: row[0], str), (None, bytes), (as_dict, bytes.hex)],
)
@pytest.mark.parametrize("of", ["a connection", "a cursor", "a pool"])
def test_the_caller_s_connection_may_make_rows_and_texts_in_its_own_way(engine, sqlite, rows, texts, of):
    flow = chain("x", "a")
    database = create_engine("sqlite://", creator=lambda: sqlite3.connect(sqlite.path, factory=OwnCursors))
    with closing(database.raw_connection()) as pooled:
        connection = pooled.driver_connection
        connection.row_factory, connection.text_factory = rows, texts
        tx = {"a connection": connection, "a cursor": connection.cursor(), "a pool": pooled}[of]
        run = engine.start(flow, Order(5), id="one", tx=tx)
        assert run.info(tx=tx).status is Status.QUEUED
        assert (connection.row_factory, connection.text_factory) == (rows, texts)
        connection.commit()
        assert run.status() is Status.QUEUED
        with pytest.raises(RunExists, match="'one'"):
            engine.start(flow, Order(6), id="one", tx=tx)
        run.cancel(tx=tx)
        connection.commit()
    assert run.status() is Status.CANCELLED
    database.dispose()


def test_a_connection_that_cannot_be_used_is_refused(engine, sqlite):
    closed = sqlite3.connect(sqlite.path)
    closed.close()
    with pytest.raises(StoreError, match=r"tx= cannot be used here: .*closed database: give an open connection"):
        engine.start(chain("x", "a"), Order(5), tx=closed)
