"""ChangeDetector: detects that another session changed the file."""

from __future__ import annotations

import sqlite3
from threading import Event, Lock

from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.errors import translated
from stepflow.drivers.sqlite.file_events import FileEvents

POLL_S = 0.02  # between two looks at a file that is written all the time, or whose writes are not reported
REPORTED_POLL_S = 0.25  # where writes are reported: one report may be lost
FIRST_PAUSE_S, CHANGED_PAUSE_S = 0.000_5, 0.005  # after a report, and at most after a change


class ChangeDetector:
    """Counts the changes of other sessions: it looks at `data_version` on a connection of its own.

    It looks as soon as the system reports a write to the log, and again after FIRST_PAUSE_S, twice that, ... up to REPORTED_POLL_S: the
    report comes before the sync, the commit is visible after it, and a busy disk takes long. While reports go on, it looks every
    POLL_S, or after CHANGED_PAUSE_S when there was a change: this session's own writes are reported, too. Without reports it polls.
    `data_version` also changes with the commits of this session; only then it reads the number of the writer, which does not.
    The first look opens the connection: a session that never waits needs none.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._looking, self._closed = Lock(), Event()
        self._connection: sqlite3.Connection | None = None
        self._events: FileEvents | None = None
        self._first = self._version = database.version()
        self._seen = -1
        self._pause_s = 0.0

    def wait(self, token: int, timeout_s: float) -> int:
        """Return when the counter is not `token`, after `timeout_s` at most, or when the session closes."""
        left = timeout_s
        while (now := self._look()) == token and left > 0 and self._events is not None and not self._closed.is_set():
            left -= self._sleep(self._events, left)
        return now

    def _sleep(self, events: FileEvents, timeout_s: float) -> float:
        """Wait until there may be a change; how long that took at most."""
        pause_s = self._pause_s
        if 0.0 < pause_s <= POLL_S:
            took = min(pause_s, timeout_s)
            self._closed.wait(took)
            if pause_s < POLL_S:
                self._pause_s = min(2 * pause_s, POLL_S)
            elif not events.wait(0):
                self._pause_s = 2 * pause_s
        else:
            took = min(pause_s or (REPORTED_POLL_S if events.works else POLL_S), timeout_s)
            if events.wait(took):
                self._pause_s = FIRST_PAUSE_S
            else:
                self._pause_s = 2 * pause_s if 2 * pause_s < REPORTED_POLL_S else 0.0
        return took

    def _look(self) -> int:
        with self._looking:
            if not self._closed.is_set():
                self._database.check_identity()
                with translated(self._database.path):
                    seen = self._open().execute("PRAGMA data_version").fetchone()[0]
                if seen != self._seen:
                    before, self._seen, self._version = self._version, seen, self._database.version()
                    if self._version != before:
                        self._pause_s = min(self._pause_s, CHANGED_PAUSE_S)
            return self._version - self._first

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._database.connect()
            self._events = FileEvents(self._database.log)
        return self._connection

    def close(self) -> None:
        """Wake all waiting threads and stop looking."""
        self._closed.set()
        with self._looking:
            if self._connection is not None and self._events is not None:
                self._connection.close()
                self._events.close()
