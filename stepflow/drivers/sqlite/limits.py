"""limits: flow control in the SQLite tables: the usage of limits, start times of runs, and deduplication keys."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from attrs import define

from stepflow.drivers.port.commit import DedupKey
from stepflow.model.limits import Limit, LimitUsage, rated

HELD = (
    "SELECT limits, id FROM stepflow_queue INDEXED BY stepflow_queue_limited"
    " WHERE shard = ? AND owner <> '' AND limits <> ''"
)
BEGUN = "SELECT at, runs FROM stepflow_begun WHERE shard = ? AND key = ? AND at > ? ORDER BY at DESC LIMIT ?"
RESERVED = (
    "SELECT o.run_id FROM stepflow_dedup_keys AS o JOIN stepflow_states AS s ON s.shard = o.shard AND s.id = o.run_id"
    " WHERE o.shard = ? AND o.key = ? AND o.until > ? AND s.rev > 0"
)
RESERVE = (
    "INSERT INTO stepflow_dedup_keys (shard, key, run_id, until) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (shard, key) DO UPDATE SET run_id = excluded.run_id, until = excluded.until"
)

# Start times and reservations that ended before a time: a page of keys behind the last one, and the deletion of one.
OVER = (
    (
        "SELECT rowid FROM stepflow_begun WHERE shard = ?1 AND at < ?2 AND rowid > ifnull(?3, 0) ORDER BY rowid LIMIT ?4",
        "DELETE FROM stepflow_begun WHERE shard = ?1 AND at < ?2 AND rowid = ?3",
    ),
    (
        "SELECT key FROM stepflow_dedup_keys WHERE shard = ?1 AND until < ?2 AND key > ifnull(?3, '') ORDER BY key LIMIT ?4",
        "DELETE FROM stepflow_dedup_keys WHERE shard = ?1 AND until < ?2 AND key = ?3",
    ),
)


@define
class SqliteLimits:
    """The flow control of one shard within one transaction at `now`."""

    connection: sqlite3.Connection
    shard: str
    now: int

    def limit_usage(self, texts: Iterable[str]) -> LimitUsage:
        """The usage of these limits."""
        found = LimitUsage()
        for limits, run_id in self.connection.execute(HELD, (self.shard,)):
            found.holds(limits, run_id)
        wanted: dict[str, Limit] = {}
        for limit in (limit for text in texts for limit in rated(text)):
            wanted[limit.key] = limit.wider(wanted.get(limit.key))
        for key, limit in wanted.items():
            since = self.now - limit.per_us
            rows = self.connection.execute(BEGUN, (self.shard, key, since, limit.rate)).fetchall()
            found.begun[key] = [at for at, runs in reversed(rows) for _run in range(runs)]
        return found

    def begins(self, limits: Iterable[str]) -> None:
        """Record that runs with these limits were claimed, and delete start times that no period includes."""
        started = Counter[str]()
        for limit in (limit for text in limits for limit in rated(text)):
            if not started[limit.key]:
                old = (self.shard, limit.key, self.now - limit.per_us)
                self.connection.execute("DELETE FROM stepflow_begun WHERE shard = ? AND key = ? AND at <= ?", old)
            started[limit.key] += 1
        values = [(self.shard, key, self.now, runs) for key, runs in started.items()]
        self.connection.executemany("INSERT INTO stepflow_begun (shard, key, at, runs) VALUES (?, ?, ?, ?)", values)

    def reserved(self, dedup: DedupKey) -> dict[str, str]:
        """The run that was started with this key, by the key, if the key holds."""
        row = self.connection.execute(RESERVED, (self.shard, dedup.key, self.now)).fetchone()
        return {} if row is None else {dedup.key: row[0]}

    def reserve(self, dedup: DedupKey) -> None:
        """Reserve the key until the end of its window."""
        self.connection.execute(RESERVE, (self.shard, dedup.key, dedup.run_id, dedup.until))
