"""Finds revisions: all of a namespace or those of one run, filtered by labels, time, newest only.

The newest revisions of runs that have labels are found from these runs, if they are few; others by a scan in order.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from attrs import define, field

from stepflow.drivers.port.deltas import BEGINNING, length_of
from stepflow.drivers.port.queries import HistoriesQuery, HistoryQuery, Revision
from stepflow.drivers.postgres.arrays import restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.exchanges import stored_texts, whole_texts
from stepflow.drivers.postgres.lookup import by_id, found
from stepflow.drivers.postgres.rows import Shards, label_key, read_state
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.model.state import State

REVISION = "h.id, h.rev, h.transition, h.labels, h.annotations, h.committed_at"
TEXT = f", h.exchange_rev, coalesce(octet_length(h.exchange), 0), left(h.exchange, {BEGINNING})"
# Asked of one shard at a time: its index has the order.
FEED = (
    f"select {REVISION}{{text}} from stepflow.history h where h.shard = $1"
    " and h.rev > $2 and h.rev <= $3{more} order by h.rev {order} limit $4"
)
# A run's history is a chain from its State backwards; $2 is the revision after which to stop, $3 the last one that is wanted. The
# chain begins behind the revision after $3 if that is one of the run, as it is for the next page; `wanted` counts up to the limit $4.
CHAIN = f"""
with recursive chain (rev, wanted) as (
    select b.rev, (b.rev <= $3)::int from (
        select coalesce(
            (select h.prev from {found("history", "x.shard = $1 and x.rev = $3 + 1", "x.prev, x.id")} h where h.id = $5),
            (select s.rev from stepflow.states s where s.shard = $1 and s.id = $5)
        ) as rev
    ) b where b.rev > $2
    union all
    select h.prev, c.wanted + (h.prev <= $3)::int
    from chain c cross join {found("history", "x.shard = $1 and x.rev = c.rev", "x.prev")} h where h.prev > $2{{limit}}
)
"""
# `offset 0` keeps the chain in front: else the whole history might be read just because its index has the order.
OF_RUN = (
    f"select {REVISION}{{text}} from chain c cross join lateral"
    " (select * from stepflow.history i where i.shard = $1 and i.rev = c.rev offset 0) h"
    " where h.rev <= $3{more} order by h.rev {order} limit $4"
)
HISTORIES = f"""
with recursive chain (rev, number) as (
    select s.rev, 1 from unnest($2::text[]) as u (id) cross join {by_id("states", "x.rev")} s where s.rev > 0 and $3 > 0
    union all
    select h.prev, c.number + 1
    from chain c cross join {found("history", "x.shard = $1 and x.rev = c.rev", "x.prev")} h where h.prev > 0 and c.number < $3
)
select {REVISION} from chain c cross join lateral
    (select * from stepflow.history i where i.shard = $1 and i.rev = c.rev offset 0) h
"""
# Their index has no order: all of them are looked at, and then the revisions of the first ones read.
OF_LABELLED = (
    f"select {REVISION}{{text}} from (select s.rev from ({{ids}}) l cross join {found('states', 'x.shard = $1 and x.id = l.id', 'x.*')} s"
    " where s.rev > $2 and s.rev <= $3{more} order by s.rev {order} limit $4) c"
    f" cross join {found('history', 'x.shard = $1 and x.rev = c.rev', 'x.*')} h order by h.rev {{order}}"
)
LABELLED_IDS = "select id from stepflow.labels where shard = $1 and label = {}"
MANY_HAVE = "select count(*) from (select 1 from stepflow.labels where shard = $1 and label = $2 limit $3) l"
FEW = 5_000  # runs that have the labels, all of which are looked at: fewer revisions than would have to be searched for them
NEAR = 5_000  # revisions that are scanned rather than to ask which runs have the labels
NEWEST = " and exists (select 1 from stepflow.states s where s.shard = $1 and s.id = h.id and s.rev = h.rev)"
ENDLESS = 2**63 - 2

Row = tuple[Any, ...]
"""The columns `REVISION`, and if exchanges are asked for the revision that holds it, and the size and beginning of the one set here."""


@define
class PostgresRevisionSearch:
    """One query on one connection, up to the revision `head`."""

    runner: TransactionRunner
    shards: Shards
    connection: Connection
    query: HistoryQuery
    head: int = ENDLESS
    _values: list[object] = field(factory=list)

    def revisions(self) -> list[Revision]:
        """The revisions that the query asks for, ascending."""
        query, limit = self.query, max(self.query.limit, 0)
        shards = self.shards.all if query.id is None else (self.shards.of(query.id),)
        low, high = query.since_rev, self.head if query.until_rev is None else min(query.until_rev, self.head)
        self._values = [low, high, limit]
        if query.id is not None:
            self._values.append(stored(query.id))
        few = self._few(shards) if high - low > NEAR else []
        text = self.runner.sql(self._labelled(few) if few else self._text())
        firsts = fetch_all(self.connection, *((text, (shard, *self._values)) for shard in shards))
        found = [
            (shard, state, row)
            for shard, rows in zip(shards, firsts, strict=True)
            for state, row in self._of(text, shard, rows, limit)
        ]
        found.sort(key=lambda one: one[1].rev)
        return self._whole(found[-limit:] if query.last and limit else found[:limit])

    def _whole(self, found: Sequence[tuple[str, State, Row]]) -> list[Revision]:
        """The revisions with their exchanges, if these were asked for."""
        if not self.query.exchange:
            return [Revision(state, "") for _shard, state, _row in found]
        found = self._bounded(found)
        holders: dict[str, set[int]] = {}
        for shard, _state, row in found:
            holders.setdefault(shard, set()).add(row[6])
        forms = stored_texts(self.runner, self.connection, holders)
        whole = whole_texts(self.runner, self.connection, forms)
        return [Revision(state, whole[row[6]]) for _shard, state, row in found if row[6] in whole]

    def _bounded(self, found: Sequence[tuple[str, State, Row]]) -> Sequence[tuple[str, State, Row]]:
        """Those whose exchanges have at most the size that the query allows, beginning at the end that it asks for; one at least."""
        size, back = 0, self.query.last
        for number, (_shard, _state, row) in enumerate(reversed(found) if back else found):
            size += length_of(restored(row[8]), row[7]) if row[7] else 0
            if number and size > self.query.max_size:
                return found[-number:] if back else found[:number]
        return found

    def _of(self, text: str, shard: str, rows: list[Row], limit: int) -> list[tuple[State, Row]]:
        """Those of one shard, whose first `rows` are known."""
        values, found = [shard, *self._values], list[tuple[State, Row]]()
        while True:
            found += [(s, row) for row in rows if self._fits(s := read_state(row[:6]))][: limit - len(found)]
            if len(found) >= limit or len(rows) < limit:
                return found
            # What is stored looked like the labels and was not: look on behind it.
            values[2 if self.query.last else 1] = rows[-1][1] - self.query.last
            rows = self.connection.execute(text, values).fetchall()

    def _few(self, shards: Sequence[str]) -> list[str]:
        """Of each group of labels the one that the fewest runs have, if all of these runs are few; else none."""
        query = self.query
        if query.id is not None or not query.latest_only or not query.labels or not all(query.labels):
            return []
        groups = [[stored(label_key(*item)) for item in group.items()] for group in query.labels]
        text = self.runner.sql(MANY_HAVE)
        asked = [(text, (shard, label, FEW + 1)) for group in groups for label in group for shard in shards]
        counts = iter([int(rows[0][0]) for rows in fetch_all(self.connection, *asked)])
        fewest = [min((sum(next(counts) for _shard in shards), label) for label in group) for group in groups]
        return [label for _number, label in fewest] if sum(number for number, _label in fewest) <= FEW else []

    def _labelled(self, labels: Sequence[str]) -> str:
        """The statement that begins at the runs which have one of these labels at least."""
        more = self._filters("s")
        ids = " union ".join(LABELLED_IDS.format(self._value(label)) for label in labels)
        return OF_LABELLED.format(ids=ids, more=more, **self._how())

    def _how(self) -> dict[str, str]:
        """In which order, and with which columns."""
        return {"order": "desc" if self.query.last else "asc", "text": TEXT if self.query.exchange else ""}

    def _text(self) -> str:
        query = self.query
        more = (NEWEST if query.latest_only else "") + self._filters("h")
        how = {"more": more, **self._how()}
        if query.id is None:
            return FEED.format(**how)
        return CHAIN.format(limit=" and c.wanted < $4" if query.last and not more else "") + OF_RUN.format(**how)

    def _filters(self, table: str) -> str:
        """The conditions on time and labels, of history `h` or States `s`."""
        query, more = self.query, ""
        if query.since:
            more += f" and {table}.committed_at >= {self._value(query.since)}"
        if query.labels and all(query.labels):
            groups = (
                " and ".join(f"strpos({table}.labels, {self._value(_part(*item))}) > 0" for item in group.items())
                for group in query.labels
            )
            more += f" and ({' or '.join(f'({group})' for group in groups)})"
        return more

    def _value(self, value: object) -> str:
        self._values.append(value)
        return f"${len(self._values) + 1}{'::text' if isinstance(value, str) else '::bigint'}"

    def _fits(self, state: State) -> bool:
        groups = self.query.labels
        return not groups or any(group.items() <= state.labels.items() for group in groups)


def read_histories(
    runner: TransactionRunner, connection: Connection, shards: Shards, query: HistoriesQuery
) -> list[tuple[State, ...]]:
    """The newest revisions of each run, ascending."""
    text, states = runner.sql(HISTORIES), dict[str, list[State]]()
    parts = [(text, (shard, texts(ids), query.limit)) for shard, ids in shards.split(query.ids).items()]
    for rows in fetch_all(connection, *parts):
        for state in map(read_state, rows):
            states.setdefault(state.id, []).append(state)
    return [tuple(sorted(states.get(run_id, ()), key=attrgetter("rev"))) for run_id in query.ids]


def _part(name: str, value: str) -> str:
    """What the stored text of labels holds if this is one of them; it may hold it for another reason."""
    return stored(f"{json.dumps(name, ensure_ascii=False)}:{json.dumps(value, ensure_ascii=False)}")
