"""A transaction that is given up while its function goes on: what the function does then has no effect, and nothing waits for it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from stepflow.drivers.sqlite import SqliteDriver
from stepflow.drivers.sqlite.users_connection import UsersCursor
from stepflow.errors import StepflowError
from stepflow.testing.conformance import Sessions

AGAIN_AND_AGAIN = """
import sqlite3, sys, threading
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.sqlite import SqliteDriver

over = threading.Event()

def compute():  # so that a thread that comes out of SQLite waits for the interpreter
    while not over.is_set():
        sum(range(1000))

def endless(connection, inside):
    connection.create_function("inside", 0, inside.set)
    connection.execute("with recursive n(i) as (select inside() union all select 1 from n) select sum(i) from n")

def many(connection, inside):
    cursor = connection.cursor()
    while True:
        cursor.executemany("insert into bank values (?)", (("lost",) for _ in range(3)))
        connection.executemany("insert into bank values (?)", [("lost",)])
        cursor.execute("insert into bank values (?)", ("lost",))
        assert list(connection.execute("select * from bank where name = ?", ("lost",)))
        connection.create_function("twice", 1, lambda text: text * 2)
        inside.set()

def until_it_ends(work, connection, inside):
    try:
        work(connection, inside)
    except sqlite3.DatabaseError as error:
        print(work.__name__)
    finally:
        inside.set()

store = SqliteDriver(sys.argv[1]).connect("", Owner("a", "host", 1), 0)
made = sqlite3.connect(sys.argv[1])
made.execute("create table bank (name text)")
made.close()
threading.Thread(target=compute).start()
try:
    for turn in range(20):
        opened, inside = store.begin(), threading.Event()
        thread = threading.Thread(target=until_it_ends, args=((endless, many)[turn % 2], opened.connection, inside))
        thread.start()
        inside.wait()
        opened.abandon()
        thread.join()
finally:
    over.set()
store.close()
"""


def test_statements_that_run_are_ended_however_often(tmp_path: Path) -> None:
    """In a process of its own: two threads that wait for each other with the interpreter's lock stop every thread."""
    command = [sys.executable, "-c", AGAIN_AND_AGAIN, str(tmp_path / "runs.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["endless", "many"] * 10


def test_nothing_waits_for_values_that_a_function_makes_for_its_statement(tmp_path: Path) -> None:
    """And the statement that gets them after the end of its transaction writes nothing."""
    path, inside, go_on, raised = tmp_path / "runs.db", threading.Event(), threading.Event(), list[Exception]()

    def values():
        yield ("lost",)
        inside.set()
        assert go_on.wait(60)
        yield ("lost, too",)

    def insert() -> None:
        try:
            opened.connection.cursor().executemany("insert into bank values (?)", values())
        except sqlite3.Error as error:
            raised.append(error)

    with closing(Sessions(SqliteDriver(path))) as sessions, closing(sqlite3.connect(path)) as other:
        store = sessions.session()
        other.execute("create table bank (name text)")
        opened = store.begin()
        thread = threading.Thread(target=insert)
        thread.start()
        assert inside.wait(60)
        opened.abandon()
        store.begin().roll_back()
        go_on.set()
        thread.join()
        assert len(raised) == 1
        assert other.execute("select * from bank").fetchall() == []


def test_every_cursor_of_the_connection_waits_for_the_thread_that_is_at_work(tmp_path: Path) -> None:
    with closing(Sessions(SqliteDriver(tmp_path / "runs.db"))) as sessions:
        connection = (opened := sessions.session().begin()).connection
        cursors = [
            connection.cursor(),
            connection.execute("create table bank (name text)"),
            connection.executemany("insert into bank values (?)", [("a",)]),
            connection.cursor().execute("select 1"),
        ]
        opened.roll_back()
        assert {type(cursor) for cursor in cursors} == {UsersCursor}


def test_a_function_may_have_cursors_of_its_own_kind(tmp_path: Path) -> None:
    class Loud(sqlite3.Cursor):
        def loud(self) -> str:
            return str(self.fetchone()[0]).upper()

    with closing(Sessions(SqliteDriver(tmp_path / "runs.db"))) as sessions:
        opened = sessions.session().begin()
        cursor = opened.connection.cursor(Loud)
        assert isinstance(cursor, Loud)
        assert cursor.execute("select 'a' union all select 'b'").loud() == "A"
        assert list(cursor) == [("b",)]
        with pytest.raises(StepflowError, match=r"give a subclass of sqlite3\.Cursor"):
            opened.connection.cursor(partial(Loud))
        opened.roll_back()


def test_statements_that_are_prepared_already_write_nothing_any_more(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(Sessions(SqliteDriver(path))) as sessions, closing(sqlite3.connect(path)) as other:
        store = sessions.session()
        other.execute("create table bank (name text)")
        opened = store.begin()
        insert = "insert into bank values ('lost')"
        cursor = opened.connection.cursor()
        cursor.execute(insert)
        rows = opened.connection.execute("select name from bank union all select 'next'")
        assert rows.fetchone() == ("lost",)  # a statement that is open, and does not run now
        opened.abandon()
        for execute in (opened.connection.execute, cursor.execute, other_thread(cursor)):
            with pytest.raises(sqlite3.Error):
                execute(insert)
        for statement in ("PRAGMA query_only=OFF", "BEGIN", "COMMIT", "select 1"):
            with pytest.raises(sqlite3.Error):
                opened.connection.execute(statement)
        store.begin().roll_back()
        assert other.execute("select * from bank").fetchall() == []


def other_thread(cursor: sqlite3.Cursor):
    def execute(statement: str) -> None:
        cursor.executemany(statement.replace("'lost'", "?"), [("lost",)])

    return execute
