"""Answers the queries of the port from the tables."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Event, Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.deltas import is_delta, parts_of
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pauses import PausedFlowsQuery
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import (
    EndedQuery,
    HistoriesQuery,
    HistoryQuery,
    LimitUsageQuery,
    NotDueQuery,
    PrunedQuery,
    Revision,
    RunQuery,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.store import Answer, TableQuery
from stepflow.drivers.port.stored import without_exchange
from stepflow.drivers.postgres import delays as attached
from stepflow.drivers.postgres.arrays import restored, texts
from stepflow.drivers.postgres.claim_starts import ClaimStarts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.exchanges import whole_texts
from stepflow.drivers.postgres.held_limits import HeldLimits
from stepflow.drivers.postgres.journal import JOURNALED, read_journals
from stepflow.drivers.postgres.limits import limit_usage
from stepflow.drivers.postgres.lists import Lists
from stepflow.drivers.postgres.lock_and_read import POSTED, InboxNotEmpty
from stepflow.drivers.postgres.lookup import by_id, found
from stepflow.drivers.postgres.pauses import read_paused
from stepflow.drivers.postgres.revisions import PostgresRevisionSearch, read_histories
from stepflow.drivers.postgres.rows import (
    CREATED,
    QUEUE,
    STATE,
    Shards,
    read_queue,
    read_record,
    run_of,
)
from stepflow.drivers.postgres.schedules import read_schedules
from stepflow.drivers.postgres.tally import PostgresTally
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.model.lifecycle import QueueRow

TEXT = (
    """s.exchange_rev, h.exchange, (select json_agg(json_build_array(e.name, e.id, e.payload, e.published_at, e.seq, e.traceparent) order by e.seq)
    from stepflow.events e where e.shard = $1 and e.run_id = s.id and not e.taken)::text, """
    + JOURNALED
)
LOAD = (
    f"select {STATE}, {CREATED}, {QUEUE}, {TEXT} from unnest($2::text[]) as u (id) cross join {by_id('states', 'x.*')} s"
    f" left join {found('queue', 'x.shard = $1 and x.id = s.id', 'x.*')} q on true left join {found('history', 'x.shard = $1 and x.rev = s.exchange_rev', 'x.exchange')} h on true"
    " where s.delay is null and s.rev > 0"
)
PRUNED_IDS = (
    "select s.* from unnest($2::text[]) as u (id) cross join"
    f" {found('states', 'x.shard = $1 and x.id = u.id and x.delay is null and x.rev < 0', 'x.id, x.input_hash, x.created_at')} s"
)

_ROWS = "(select count(*) from stepflow.queue q where q.shard = $1 and q.flow = any($2::text[]) and q.partition ="
# The same of ready rows behind the starts of claims, which begin with parameter `n`.
_BEHIND = (
    "(select count(*) from unnest(${n[0]}::text[], ${n[1]}::text[], ${n[2]}::bigint[], ${n[3]}::bigint[], ${n[4]}::text[],"
    " ${n[5]}::bigint[]) as m (shard, flow, priority, due, id, below) cross join lateral (select 1 from stepflow.queue q"
    " where q.shard = m.shard and q.flow = m.flow and (q.priority, q.due, q.id) > (m.priority, m.due, m.id)"
    " and q.priority < m.below and q.partition ="
)
_BEHIND_ORDER = " order by q.priority, q.due, q.id offset 0) r)"


def _not_due(behind: bool) -> str:
    ready, limited = (_BEHIND.format(n=range(first, first + 6)) if behind else _ROWS for first in (4, 10))
    end = _BEHIND_ORDER if behind else ")"
    places = ((ready, 1, end), (_ROWS, 2, ")"), (limited, 4, end))
    return (
        "select "
        + " + ".join(f"{rows} {partition} and q.blocked <> ''{end}" for rows, partition, end in places)
        + f", {_ROWS} 0 and q.due > $3)"
        + "".join(f" + {rows} {partition} and q.due > $3 and q.blocked = ''{end}" for rows, partition, end in places)
        + " + (select count(*) from stepflow.states s where s.shard = $1 and s.flow = any($2::text[])"
        " and s.waiting like 'event:_%' and s.delay is null"
        " and not exists (select 1 from stepflow.queue q where q.shard = $1 and q.id = s.id))"
    )


NOT_DUE, NOT_DUE_BEHIND = _not_due(behind=False), _not_due(behind=True)
ENDED = (
    f"select u.id from unnest($2::text[]) as u (id) left join {by_id('states', 'x.status')} s on true"
    " where s.status is distinct from ''"
)


@define
class PostgresReader:
    """The queries of one namespace on one connection."""

    runner: TransactionRunner
    shards: Shards
    head: VisibleRev
    starts: ClaimStarts
    connection: Connection

    def answer(self, query: TableQuery) -> Answer:
        """The rows that the query asks for."""
        match query:
            case HistoryQuery():
                return self._history(query)
            case HistoriesQuery():
                return read_histories(self.runner, self.connection, self.shards, query)
            case RunQuery():
                return Lists(self.runner, self.shards, self.connection).runs(query)
            case TallyQuery():
                return PostgresTally(self.runner, self.shards, self.head, self.connection).read(query.now)
            case NotDueQuery():
                return self.not_due(query)
            case JournalQuery():
                return read_journals(self.runner, self.connection, self.shards, query)
            case EndedQuery():
                return self._ended(query)
            case PausedFlowsQuery():
                return read_paused(self.runner, self.connection, self.shards)
            case LimitUsageQuery():
                reading = HeldLimits(self.runner, self.shards).reading(many_dead=False)
                return [limit_usage(self.runner, self.connection, self.shards, [query.limits], query.now, reading)]
            case PrunedQuery():
                parts = self.shards.split(query.ids).items()
                rows = [row for shard, ids in parts for row in self._rows(PRUNED_IDS, shard, texts(ids))]
                return [PrunedId(restored(run_id), digest, until) for run_id, digest, until in rows]
            case ScheduleQuery():
                return read_schedules(self.runner, self.connection, self.shards, query)
            case DelayQuery():
                return attached.read_delays(self.runner, self.connection, self.shards, query)
            case DataQuery():
                return attached.read_data(self.runner, self.connection, self.shards, query)

    def not_due(self, query: NotDueQuery) -> list[int]:
        """The two numbers, in one round trip. Raises InboxNotEmpty when the inbox is to be applied first."""
        starts, rest = self.starts, (texts(list(query.flows)), query.now)
        text = self.runner.sql(NOT_DUE_BEHIND if starts.used else NOT_DUE)
        more = [starts.behind(shard, query.flows, query.now) if starts.used else () for shard in self.shards.all]
        looks = [(text, (shard, *rest, *behind)) for shard, behind in zip(self.shards.all, more, strict=True)]
        posted, *found = fetch_all(self.connection, (self.runner.sql(POSTED), (texts(self.shards.all),)), *looks)
        if posted:
            raise InboxNotEmpty
        return [sum(int(row[column]) for (row,) in found) for column in (1, 0)]

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """Full records in the order of `ids`, each as of one moment. Raises InboxNotEmpty when the inbox is to be applied first."""
        kinds = [
            (self.runner.sql(text), shard, wanted)
            for text, some in ((LOAD, ids), (attached.LOAD, [key for key in ids if run_of(key)]))
            for shard, wanted in self.shards.split(some).items()
        ]
        statements = [(text, (shard, texts(wanted))) for text, shard, wanted in kinds]
        posted, *found = fetch_all(self.connection, (self.runner.sql(POSTED), (texts(self.shards.all),)), *statements)
        if posted:
            raise InboxNotEmpty
        number = len(self.shards.split(ids))
        records = dict(read_run(row) for rows in found[:number] for row in rows)
        holders = {restored(row[0]): row[-4] for rows in found[:number] for row in rows}
        delayed = [attached.read_delayed(row) for rows in found[number:] for row in rows]
        records |= {key: record for key, record, _rev in delayed}
        holders |= {key: rev for key, _record, rev in delayed}
        return self._whole(records, holders, ids)

    def _whole(self, records: dict[str, Record], holders: Mapping[str, int], ids: Sequence[str]) -> list[Record | None]:
        """The records in the order of `ids`, with whole exchanges; `holders` are the revisions that hold them."""
        deltas = {key: holders[key] for key, record in records.items() if is_delta(record.exchange)}
        if deltas:
            forms = {rev: (self.shards.of(key), records[key].exchange) for key, rev in deltas.items()}
            whole = whole_texts(self.runner, self.connection, forms)
            records |= {key: records[key]._replace(exchange=whole[rev]) for key, rev in deltas.items()}
        return [records.get(run_id) for run_id in ids]

    def _ended(self, query: EndedQuery) -> list[str]:
        text = self.runner.sql(ENDED)
        statements = [(text, (shard, texts(wanted))) for shard, wanted in self.shards.split(query.ids).items()]
        return [restored(run_id) for rows in fetch_all(self.connection, *statements) for (run_id,) in rows]

    def _history(self, query: HistoryQuery) -> list[Revision]:
        """Of all runs only revisions before which none can appear any more."""
        if query.id is not None:
            return PostgresRevisionSearch(self.runner, self.shards, self.connection, query).revisions()
        head = self.head.covering(self.connection)
        return PostgresRevisionSearch(self.runner, self.shards, self.connection, query, head).revisions()

    def _rows(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(self.runner.sql(text), values).fetchall()


def _events(run_id: str, text: str | None) -> tuple[Event, ...]:
    """Unconsumed events, from the JSON text of their lists."""
    if text is None:
        return ()
    return tuple(
        Event(run_id, restored(name), restored(event_id), restored(payload), published_at, seq, traceparent or "")
        for name, event_id, payload, published_at, seq, traceparent in json.loads(text)
    )


def read_run(row: Sequence[Any], queued: QueueRow | None = None) -> tuple[str, Record]:
    """The id and record of a run, from a row of `LOAD`, or one without the columns `QUEUE` and its `queued` row.

    Its exchange is as it is stored.
    """
    *columns, rev, exchange, events, journaled = row
    run_id, queued = restored(row[0]), queued or read_queue(columns[9:22])
    found = _events(run_id, events)
    if exchange is None:
        record = read_record(columns, queued, "", found, journaled=journaled)
        return run_id, record._replace(state=without_exchange(record.state))
    exchange = restored(exchange)
    parts = parts_of(rev, exchange)
    return run_id, read_record(columns, queued, exchange, found, journaled=journaled, parts=parts)
