"""Answers the queries of the port from the tables."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Event, Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.queries import (
    AsleepQuery,
    HistoryQuery,
    LimitUsageQuery,
    Revision,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.store import Answer, TableQuery
from stepflow.drivers.postgres import delays as attached
from stepflow.drivers.postgres.arrays import restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.limits import limit_usage
from stepflow.drivers.postgres.lock_and_read import POSTED, InboxNotEmpty
from stepflow.drivers.postgres.revisions import PostgresRevisionSearch
from stepflow.drivers.postgres.rows import (
    CREATED,
    QUEUE,
    STATE,
    Shards,
    label_key,
    read_queue,
    read_record,
    run_of,
)
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.errors import NotFound
from stepflow.model.lifecycle import QueueRow, status_sql, status_terms

RUNS = (
    f"select {STATE}, {CREATED}, {QUEUE}{{more}} from stepflow.states s"
    " left join stepflow.queue q on q.shard = s.shard and q.id = s.id{join}"
)
TEXT = """h.exchange, (select json_agg(json_build_array(e.name, e.id, e.payload, e.published_at, e.seq) order by e.seq)
    from stepflow.events e where e.shard = s.shard and e.run_id = s.id and not e.taken)::text"""
LOAD = (
    RUNS.format(
        more=f", {TEXT}",
        join=" left join stepflow.history h on h.shard = s.shard and h.rev = s.exchange_rev",
    )
    + " where s.shard = $1 and s.id = any($2::text[]) and s.delay is null"
)

STATUS = status_sql(
    {
        "ended": "s.status <> ''",
        "no_row": "q.id is null",
        "awaits_event": "s.waiting like 'event:_%'",
        "owned": "q.owner <> ''",
        "blocked": "q.blocked <> ''",
        "due": "q.due <= $1",
        "polls": "s.waiting not in ('', 'delay')",
    },
    final="s.status",
)
TALLY = (
    "select s.flow, s.status, count(*) from stepflow.states s"
    " where s.shard = any($2::text[]) and s.status <> '' group by 1, 2 union all"
    f" select s.flow, {STATUS}, count(*) from stepflow.states s"
    " left join stepflow.queue q on q.shard = s.shard and q.id = s.id"
    " where s.shard = any($2::text[]) and s.status = '' and s.delay is null group by 1, 2"
)
_LATER = (
    "(select count(*) from stepflow.queue q where q.shard = any($1::text[]) and q.flow = any($2::text[]) and q.due > $3"
)
ASLEEP = (
    f"select {_LATER} and q.partition = 0)"
    + "".join(f" + {_LATER} and q.partition = {partition} and q.blocked = '')" for partition in (1, 2, 4))
    + " + (select count(*) from stepflow.states s where s.shard = any($1::text[]) and s.flow = any($2::text[])"
    " and s.waiting like 'event:_%' and s.delay is null"
    " and not exists (select 1 from stepflow.queue q where q.shard = s.shard and q.id = s.id))"
)


@define
class PostgresReader:
    """The queries of one namespace on one connection."""

    runner: TransactionRunner
    shards: Shards
    head: VisibleRev
    connection: Connection

    def answer(self, query: TableQuery) -> Answer:
        """The rows that the query asks for."""
        match query:
            case HistoryQuery():
                return self._history(query)
            case RunQuery():
                return self._runs(query)
            case TallyQuery():
                return self._tally(query)
            case AsleepQuery():
                rows = self._rows(ASLEEP, texts(self.shards.all), texts(list(query.flows)), query.now)
                return [int(rows[0][0])]
            case LimitUsageQuery():
                return [limit_usage(self.runner, self.connection, self.shards, [query.limits], query.now)]
            case DelayQuery():
                return attached.read_delays(self.runner, self.connection, self.shards, query)
            case DataQuery():
                return attached.read_data(self.runner, self.connection, self.shards, query)

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """Full records in the order of `ids`, each as of one moment. Raises InboxNotEmpty when the inbox is to be applied first."""
        kinds = [
            (self.runner.sql(text), shard, wanted)
            for text, some in ((LOAD, ids), (attached.LOAD, [key for key in ids if run_of(key)]))
            for shard, wanted in self.shards.split(some).items()
        ]
        statements = [(text, (shard, texts(wanted))) for text, shard, wanted in kinds]
        posted, *found = fetch_all(self.connection, (self.runner.sql(POSTED), (texts(self.shards.all),)), *statements)
        if posted[0][0]:
            raise InboxNotEmpty
        number = len(self.shards.split(ids))
        records = dict(read_run(row) for rows in found[:number] for row in rows)
        records |= dict(attached.read_delayed(row) for rows in found[number:] for row in rows)
        return [records.get(run_id) for run_id in ids]

    def _history(self, query: HistoryQuery) -> list[Revision]:
        """Of all runs only revisions before which none can appear any more."""
        if query.id is not None:
            return PostgresRevisionSearch(self.runner, self.shards, self.connection, query).revisions()
        head = self.head.covering(self.connection)
        return PostgresRevisionSearch(self.runner, self.shards, self.connection, query, head).revisions()

    def _rows(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(self.runner.sql(text), values).fetchall()

    def _runs(self, query: RunQuery) -> list[Record]:
        limit = max(query.limit, 0)
        values: list[object] = [query.now, "", limit]
        where = ["s.shard = $2", "s.delay is null", "$1::bigint is not null"]

        def add(term: str, *more: object) -> None:
            numbers = [f"${len(values) + 1 + number}" for number in range(len(more))]
            where.append(term.format(*numbers))
            values.extend(more)

        if query.flow is not None:
            add("s.flow = {}", stored(query.flow))
        if query.status is not None:
            where.extend(status_terms(query.status, "s.status", STATUS))
        for item in (query.labels or {}).items():
            add(
                "exists (select 1 from stepflow.labels l where l.shard = s.shard and l.label = {} and l.id = s.id)",
                stored(label_key(*item)),
            )
        if query.after is not None:
            add("(s.created_at, s.id) < ({}, {})", self._created_at(query.after), stored(query.after))
        order = " order by s.created_at desc, s.id desc limit $3"
        text = self.runner.sql(f"{RUNS.format(more='', join='')} where {' and '.join(where)}{order}")
        # One shard at a time: its index has the order.
        parts = fetch_all(self.connection, *((text, (values[0], shard, *values[2:])) for shard in self.shards.all))
        found = [read_record(row, read_queue(row[9:20])) for rows in parts for row in rows]
        found.sort(key=lambda record: (record.created.created_at, stored(record.state.id)), reverse=True)
        return found[:limit]

    def _created_at(self, run_id: str) -> int:
        query = "select created_at from stepflow.states where shard = $1 and id = $2"
        rows = self._rows(query, self.shards.of(run_id), stored(run_id))
        if not rows:
            raise NotFound(f"after={run_id!r}: there is no such run any more; ask for the first page again")
        return int(rows[0][0])

    def _tally(self, query: TallyQuery) -> list[Tally]:
        rows = self._rows(TALLY, query.now, texts(self.shards.all))
        return [
            Tally(flow, status, count) for flow, status, count in sorted((restored(row[0]), *row[1:]) for row in rows)
        ]


def _events(run_id: str, text: str | None) -> tuple[Event, ...]:
    """Unconsumed events, from the JSON text of their lists."""
    if text is None:
        return ()
    return tuple(
        Event(run_id, restored(name), restored(event_id), restored(payload), published_at, seq)
        for name, event_id, payload, published_at, seq in json.loads(text)
    )


def read_run(row: Sequence[Any], queued: QueueRow | None = None) -> tuple[str, Record]:
    """The id and record of a run, from a row of `LOAD`, or one without the columns `QUEUE` and its `queued` row."""
    *columns, exchange, events = row
    run_id = restored(row[0])
    queued = queued or read_queue(columns[9:20])
    return run_id, read_record(columns, queued, restored(exchange), _events(run_id, events))
