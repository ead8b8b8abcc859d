"""ChangeDetector: detects that another session changed the file."""

from __future__ import annotations

from threading import Event, Lock

from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.errors import translated

POLL_S = 0.02


class ChangeDetector:
    """Counts the changes of other sessions; it polls `data_version` on a connection of its own.

    That number also changes with the commits of this session; only then it reads the number of the writer, which does not.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._polling, self._closed = Lock(), Event()
        with translated(database.path):
            self._connection = database.connect()
        self._first = self._version = database.version()
        self._polled = -1

    def wait(self, token: int, timeout_s: float) -> int:
        """Return when the counter is not `token`, after `timeout_s`, or when the session closes."""
        left = timeout_s
        while (now := self._look()) == token and left > 0 and not self._closed.is_set():
            self._closed.wait(min(POLL_S, left))
            left -= POLL_S
        return now

    def _look(self) -> int:
        with self._polling:
            if not self._closed.is_set():
                with translated(self._database.path):
                    polled = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if polled != self._polled:
                    self._polled, self._version = polled, self._database.version()
            return self._version - self._first

    def close(self) -> None:
        """Wake all waiting threads and stop polling."""
        self._closed.set()
        with self._polling:
            self._connection.close()
