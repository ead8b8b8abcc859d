"""revisions: finds revisions by labels, time, newest only, or up to a revision, without an index that slows down every step.

Near its start a query scans the history; what lies further away is found from the runs that have, or once had, the labels.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field

from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.stored import read_map

WINDOW = 5_000  # revisions that are scanned before the runs are searched
LABELLED = "SELECT id FROM stepflow_labels WHERE shard = :shard AND name = :name{n} AND value = :value{n}"
ONCE = " UNION ALL SELECT id FROM stepflow_past_labels WHERE shard = :shard AND name = :name{n} AND value = :value{n}"
WALK = (
    "WITH RECURSIVE chain(rev) AS ({heads} UNION ALL SELECT h.prev FROM chain CROSS JOIN stepflow_history AS h"
    " ON h.rev = chain.rev WHERE h.prev > :low) SELECT h.rev, h.labels FROM chain CROSS JOIN stepflow_history AS h"
    " ON h.rev = chain.rev WHERE h.rev <= :high AND h.committed_at >= :since ORDER BY h.rev {order}"
)
NEWEST = " AND (SELECT rev FROM stepflow_states AS s WHERE s.shard = h.shard AND s.id = h.id) = h.rev"


def is_plain(query: HistoryQuery) -> bool:
    """Whether the query filters only by the run and by revisions."""
    return not query.labels and not query.since and not query.latest_only


@define
class SqliteRevisionSearch:
    """One query on one connection; `head` is the newest revision of the store."""

    connection: sqlite3.Connection
    shard: str
    query: HistoryQuery
    head: int
    window: int = WINDOW
    _fits: dict[str, bool] = field(factory=dict)

    def revs(self) -> list[int]:
        """The revisions that match the query, ascending."""
        query = self.query
        low, high = query.since_rev, self.head if query.until_rev is None else min(query.until_rev, self.head)
        near, far = (low, min(high, low + self.window)), (low + self.window, high)
        if query.last:
            near, far = (max(low, high - self.window), high), (low, high - self.window)
        found = self._take(self._scan(*near), query.limit)
        if len(found) < query.limit and far[0] < far[1]:
            found += self._take(self._far(*far), query.limit - len(found))
        return sorted(found)

    def _take(self, rows: Iterable[tuple[int, str]], limit: int) -> list[int]:
        found: list[int] = []
        for rev, labels in rows:
            if len(found) >= limit:
                break
            if self._matches(labels):
                found.append(rev)
        return found

    def _matches(self, text: str) -> bool:
        if not self.query.labels:
            return True
        if text not in self._fits:
            labels = read_map(text)
            self._fits[text] = any(group.items() <= labels.items() for group in self.query.labels)
        return self._fits[text]

    @property
    def _order(self) -> str:
        return "DESC" if self.query.last else "ASC"

    def _values(self, low: int, high: int) -> dict[str, Any]:
        query = self.query
        return {"shard": self.shard, "low": low, "high": high, "since": query.since, "id": query.id}

    def _scan(self, low: int, high: int) -> Iterator[tuple[int, str]]:
        query = self.query
        text = (
            "SELECT h.rev, h.labels FROM stepflow_history AS h WHERE h.shard = :shard AND h.rev > :low AND h.rev <= :high"
            f" AND h.committed_at >= :since{' AND h.id = :id' if query.id is not None else ''}"
            f"{NEWEST if query.latest_only else ''} ORDER BY h.rev {self._order}"
        )
        return self.connection.execute(text, self._values(low, high))

    def _far(self, low: int, high: int) -> Iterator[tuple[int, str]]:
        """Search by the runs; the whole history if no run can be excluded."""
        query = self.query
        every = not query.labels or not all(query.labels)
        if every and query.id is None and not query.latest_only:
            return self._scan(low, high)
        values = self._values(low, high)
        where = "s.shard = :shard AND s.rev > :low"
        if query.id is not None:
            where += " AND s.id = :id"
        if not every:
            where += f" AND ({self._labelled(values)})"
        if query.latest_only:
            text = (
                f"SELECT s.rev, s.labels FROM stepflow_states AS s WHERE {where} AND s.rev <= :high"
                f" AND s.committed_at >= :since ORDER BY s.rev {self._order}"
            )
        else:
            text = WALK.format(heads=f"SELECT s.rev FROM stepflow_states AS s WHERE {where}", order=self._order)
        return self.connection.execute(text, values)

    def _labelled(self, values: dict[str, Any]) -> str:
        """Runs that may match: those that have, or had, every label of a group."""
        source = LABELLED if self.query.latest_only else LABELLED + ONCE
        groups = []
        for group in self.query.labels:
            terms = []
            for name, value in group.items():
                number = len(values)
                values |= {f"name{number}": name, f"value{number}": value}
                terms.append(f"s.id IN ({source.format(n=number)})")
            groups.append(" AND ".join(terms))
        return " OR ".join(f"({terms})" for terms in groups)
