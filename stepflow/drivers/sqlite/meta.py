"""meta: the numbers of the table `stepflow_meta`; a column holds what was written to it, so they are checked where they are used."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3

from stepflow.errors import Corrupt

# The newest revision of the store.
HEAD = (
    "SELECT max(ifnull((SELECT max(rev) FROM stepflow_history), 0),"
    " (SELECT value FROM stepflow_meta WHERE name = 'rev_floor'))"
)
_VALUE = "SELECT value FROM stepflow_meta WHERE name = ?"
_GIVE = "UPDATE stepflow_meta SET value = value + ? WHERE name = 'epoch' AND typeof(value) = 'integer'"
# What a user may write instead of a damaged number, while no program has the file open; epochs are never given twice.
_INSTEAD = {
    "shards": "1",
    "rev_floor": "ifnull((SELECT max(rev) FROM stepflow_history), 0)",
    "epoch": "ifnull((SELECT max(epoch) FROM stepflow_queue), 0) + 1000000000",
}


def number_of(connection: sqlite3.Connection, name: str) -> int:
    """A number of the table. Raises Corrupt if there is none."""
    row = connection.execute(_VALUE, (name,)).fetchone()
    if row is None or not isinstance(row[0], int):
        raise damaged(connection, name)
    found: int = row[0]
    return found


def damages(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the numbers that are used by writers only."""
    found: list[str] = []
    for name in ("rev_floor", "epoch"):
        try:
            number_of(connection, name)
        except Corrupt as error:
            found.append(str(error))
    return found


def damaged(connection: sqlite3.Connection, name: str) -> Corrupt:
    """The error of a number that is missing, or is none."""
    row = connection.execute(_VALUE, (name,)).fetchone()
    found = "no value" if row is None else f"{row[0]!r:.80}"
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    remedy = "restore a backup"
    if name in _INSTEAD:
        statement = f"INSERT OR REPLACE INTO stepflow_meta VALUES ('{name}', {_INSTEAD[name]})"
        remedy += f', or end all programs that use the file and run sqlite3 FILE "{statement}"'
    return Corrupt(
        f"{path}: its table stepflow_meta has {found} for {name!r} where a whole number must be: {remedy}; nothing was written"
    )


def head(connection: sqlite3.Connection) -> int:
    """The newest revision of the store. Raises Corrupt if that cannot be told."""
    return checked_head(connection, connection.execute(HEAD).fetchone()[0])


def checked_head(connection: sqlite3.Connection, rev: object) -> int:
    """What HEAD found. Raises Corrupt if it is no number."""
    if isinstance(rev, int):
        return rev
    raise damaged(connection, "rev_floor")


def epochs(connection: sqlite3.Connection, given: int) -> int:
    """Reserve so many epochs; the result is the first of them. Raises Corrupt if it is not known which were given before."""
    connection.execute(_GIVE, (given,))
    return number_of(connection, "epoch") - given + 1
