"""A table of the user's beside the runs, and functions that write to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from stepflow.drivers.port.store import Driver
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.sqlite import SqliteDriver
from tests.postgres.server import Server


class Bank:
    """A store with a table of the user's, as others see it."""

    def __init__(self, driver: Driver, connect: Callable[[], Any]) -> None:
        self.driver, self.connect = driver, connect
        with closing(connect()) as connection:
            connection.execute("drop table if exists bank")
            connection.execute("create table bank (name text primary key)")
            connection.commit()

    def names(self) -> list[str]:
        """What is committed."""
        with closing(self.connect()) as connection:
            return [name for (name,) in connection.execute("select name from bank order by name").fetchall()]


def postgres_bank(server: Server) -> Bank:
    """One on PostgreSQL."""
    return Bank(PostgresDriver(server.empty()), lambda: psycopg.connect(server.uri))


def sqlite_bank(path: Path) -> Bank:
    """One in a file of SQLite."""
    return Bank(SqliteDriver(path), lambda: sqlite3.connect(path))


def insert(connection: Any, name: str) -> str:
    connection.execute(f"insert into bank values ('{name}')")
    return name


async def ainsert(connection: psycopg.AsyncConnection[Any], name: str) -> str:
    await connection.execute(f"insert into bank values ('{name}')")
    return name
