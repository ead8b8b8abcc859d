"""Numbers by which a session recognises its own writes after a connection broke."""

from __future__ import annotations

from threading import Lock

from stepflow.drivers.postgres.transactions import TransactionRunner

DRAW = "select nextval('stepflow.sessions')"


class Tokens:
    """Gives each call of `commit` a number of its own; `newest` is the largest revision that the session made."""

    def __init__(self, runner: TransactionRunner) -> None:
        self._runner = runner
        self._guard = Lock()
        self._session: int | None = None
        self._count = 0
        self.newest = 0

    def next(self) -> int:
        """A new number; the first call asks the store for the session's."""
        with self._guard:
            if self._session is None:
                row = self._runner.run(lambda connection: connection.execute(self._runner.sql(DRAW)).fetchone())
                assert row is not None
                self._session = int(row[0]) & 0x7FFFFFFF
            self._count = (self._count + 1) & 0xFFFFFFFF
            return self._session << 32 | self._count
