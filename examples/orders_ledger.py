"""The ledger of effects: one row per effect, recorded once because its key is unique."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path


class Ledger:
    """A SQLite table of effects. Recording the same key again only counts the repetition."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS ledger (key TEXT PRIMARY KEY, effect TEXT, times INTEGER) STRICT")

    def record(self, key: str, effect: str) -> None:
        """Record the effect durably. `key` is the idempotency key of its step."""
        with self._lock:
            self._db.execute(
                "INSERT INTO ledger VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET times = times + 1", (key, effect)
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def summary(self) -> tuple[int, int]:
        """The number of effects, and the number of repetitions after crashes."""
        with self._lock:
            effects, again = self._db.execute("SELECT count(*), coalesce(sum(times - 1), 0) FROM ledger").fetchone()
            return effects, again
