"""Delays and data: the statements that keep them, and their queries."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, StoredData, delay_key
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import map_text, read_map
from stepflow.drivers.postgres.arrays import flags, numbers, restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.journal import JOURNALED
from stepflow.drivers.postgres.lookup import by_id, found, located
from stepflow.drivers.postgres.rows import QUEUE, STATE, Shards, partition, read_queue, read_record, read_state
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all

LARGEST = 1_000_000_000  # bytes of a blob: a field of PostgreSQL has less than 1 GiB, with its frame

OPEN = "insert into stepflow.counters (shard, name) values ($1, 'data'), ($1, 'delays') on conflict do nothing"
LAST = "select name, last from stepflow.counters where shard = $1 order by name for update"
COUNT = "update stepflow.counters set last = $3 where shard = $1 and name = $2 and last <> $3"
STORE = "insert into stepflow.data (shard, rev, run_id, token, annotations, blob) values ($1, $2, $3, $4, $5, $6)"
DELAY = """
with u as materialized (
    select nextval('stepflow.epochs') as epoch, t.* from unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[],
        $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::boolean[], $13::text[], $14::bigint[])
        as t (number, key, run_id, rev, transition, labels, annotations, committed_at, due, binding, flow, partition)
), d as (
    insert into stepflow.delays (shard, number, run_id, rev, token, transition, labels, annotations, committed_at, due, binding)
    select $1, number, run_id, rev, $2::bigint, transition, labels, annotations, committed_at, due, binding from u
), s as (
    insert into stepflow.states (shard, id, rev, epoch, flow, input_hash, created_at, transition, labels, annotations,
        status, waiting, committed_at, exchange_rev, delay)
    select $1, key, rev, epoch, flow, '', 0, transition, '{}', '{}', '', '', committed_at,
        coalesce((select r.exchange_rev from stepflow.states r where r.shard = $1 and r.id = run_id), 0), number from u
)
insert into stepflow.queue (shard, id, flow, due, partition) select $1, key, flow, due, partition from u
"""
# The same on Citus, with epochs that were drawn before.
DELAY_APART = (
    """
insert into stepflow.delays (shard, number, run_id, rev, token, transition, labels, annotations, committed_at, due, binding)
select $1, number, run_id, rev, $2::bigint, transition, labels, annotations, committed_at, due, binding
from unnest($3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::boolean[])
    as u (number, run_id, rev, transition, labels, annotations, committed_at, due, binding)
""",
    """
insert into stepflow.states (shard, id, rev, epoch, flow, input_hash, created_at, transition, labels, annotations,
    status, waiting, committed_at, exchange_rev, delay)
select $1, u.key, u.rev, u.epoch, u.flow, '', 0, u.transition, '{}', '{}', '', '', u.committed_at, coalesce(r.exchange_rev, 0),
    u.number
from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::bigint[])
    as u (key, run_id, rev, epoch, flow, transition, committed_at, number)
left join stepflow.states r on r.shard = $1 and r.id = u.run_id
""",
    """
insert into stepflow.queue (shard, id, flow, due, partition)
select $1, u.* from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) as u (id, flow, due, partition)
""",
)
_GIVEN = "unnest($2::text[]) as u (id)"
FIRE = f"""
with q as (
    delete from stepflow.queue t using {_GIVEN} {located("queue")}
), s as (
    delete from stepflow.states t using {_GIVEN} {located("states")}
)
update stepflow.delays t set fired = true from unnest($3::bigint[]) as u (number)
    {located("delays", "x.shard = $1 and x.number = u.number")}
"""
KEPT = tuple(
    f"select 1 from stepflow.{table} where shard = any($1::text[]) and {key} = any($2::bigint[]) and token = $3 limit 1"
    for table, key in (("data", "rev"), ("delays", "number"))
)

DELAYS = (
    "select d.run_id, d.rev, d.transition, d.labels, d.annotations, d.committed_at, d.due, d.binding, d.number, d.fired"
    " from stepflow.delays d where {where} order by d.due, d.number limit {limit}"
)
# A delay has the creation data of its run.
LOAD = (
    f"select {STATE.replace('s.', 'd.').replace('d.id', 'd.run_id')}, coalesce(r.flow, s.flow), coalesce(r.input_hash, ''),"
    f" coalesce(r.created_at, d.due), {QUEUE}, s.id, d.due, d.binding, d.number, d.fired, coalesce(h.exchange, 'null'),"
    f" {JOURNALED}, s.exchange_rev from {_GIVEN} cross join {by_id('states', 'x.*')} s"
    f" cross join {found('delays', 'x.shard = $1 and x.number = s.delay', 'x.*')} d"
    f" left join {found('states', 'x.shard = $1 and x.id = d.run_id', 'x.*')} r on true"
    f" left join {by_id('queue', 'x.*')} q on true"
    f" left join {found('history', 'x.shard = $1 and x.rev = s.exchange_rev', 'x.exchange')} h on true"
)
DATA = "select rev, blob, annotations from stepflow.data where shard = any($1::text[]) and rev = $2"


def last_numbers(runner: TransactionRunner, connection: Connection, shards: Shards) -> Mapping[str, int]:
    """The numbers that data and delays were given last, in a transaction that keeps others from giving more."""
    key = (shards.all[0],)
    _opened, rows = fetch_all(connection, (runner.sql(OPEN), key), (runner.sql(LAST), key))
    return {name: int(last) for name, last in rows}


def data_statements(shards: Shards, data: Mapping[int, DataWrite], token: int) -> list[Statement]:
    """Store blobs under their revisions."""
    found: list[Statement] = [
        (
            STORE,
            (shards.of(one.run_id), rev, stored(one.run_id), token, stored(map_text(one.annotations)), bytes(one.blob)),
        )
        for rev, one in data.items()
    ]
    return found + ([(COUNT, (shards.all[0], "data", max(data)))] if data else [])


def delay_statements(
    shards: Shards, delays: Mapping[int, Delay], now: int, token: int, epochs: Iterator[int] | None
) -> list[Statement]:
    """Keep delays under their offsets, and queue them with `epochs`; None if these are drawn here."""
    parts: dict[str, dict[int, Delay]] = {}
    for offset, delay in delays.items():
        parts.setdefault(shards.of(delay.state.id), {})[offset] = delay
    found = [one for shard, part in sorted(parts.items()) for one in _delay(shard, part, now, token, epochs)]
    return found + ([(COUNT, (shards.all[0], "delays", max(delays)))] if delays else [])


def _delay(
    shard: str, delays: Mapping[int, Delay], now: int, token: int, epochs: Iterator[int] | None
) -> list[Statement]:
    states = [delay.state for delay in delays.values()]
    due_times = [delay.due for delay in delays.values()]
    offsets, revs = numbers(delays), numbers([state.rev for state in states])
    keys = texts([delay_key(state.id, offset) for offset, state in zip(delays, states, strict=True)])
    ids, transitions = texts([state.id for state in states]), texts([state.transition.text for state in states])
    labels = texts([map_text(state.labels) for state in states])
    annotations = texts([map_text(state.annotations) for state in states])
    times, dues = numbers([state.committed_at for state in states]), numbers(due_times)
    binding = flags([delay.commit for delay in delays.values()])
    flows = texts([state.transition.to for state in states])
    where = numbers([partition(due, now) for due in due_times])
    if epochs is None:
        all_of_it = (offsets, keys, ids, revs, transitions, labels, annotations, times, dues, binding, flows, where)
        return [(DELAY, (shard, token, *all_of_it))]
    delay, state, row = DELAY_APART
    given = numbers(islice(epochs, len(states)))
    return [
        (delay, (shard, token, offsets, ids, revs, transitions, labels, annotations, times, dues, binding)),
        (state, (shard, keys, ids, revs, given, flows, transitions, times, offsets)),
        (row, (shard, keys, flows, dues, where)),
    ]


def fire_statements(shards: Shards, runs: Mapping[str, RunSnapshot]) -> list[Statement]:
    """Delays that are over: they leave the queue and stay listed."""
    return [
        (FIRE, (shard, texts(keys), numbers([runs[key].delay for key in keys])))
        for shard, keys in shards.split(key for key, run in runs.items() if run.fired).items()
    ]


def read_delays(runner: TransactionRunner, connection: Connection, shards: Shards, query: DelayQuery) -> list[Delay]:
    """The delays that the query asks for, by due time and offset."""
    where, limit = "d.shard = $1 and d.due > $2 and d.due <= $3 and d.number > $4", max(query.limit, 0)
    values: list[object] = [query.since, query.until, query.after, limit]
    if query.run_id is not None:
        where += " and d.run_id = $6"
        values.append(stored(query.run_id))
    if query.pending:
        where += " and not d.fired"
    text = runner.sql(DELAYS.format(where=where, limit="$5"))
    # One shard at a time: its index has the order.
    some = shards.all if query.run_id is None else (shards.of(query.run_id),)
    parts = fetch_all(connection, *((text, (shard, *values)) for shard in some))
    found = [_read_delay(row) for rows in parts for row in rows]
    found.sort(key=lambda delay: (delay.due, delay.offset))
    return found[:limit]


def read_data(runner: TransactionRunner, connection: Connection, shards: Shards, query: DataQuery) -> list[StoredData]:
    """The data of one revision, if it is there."""
    rows = connection.execute(runner.sql(DATA), (texts(shards.all), query.rev), binary=True)
    return [StoredData(rev, blob, read_map(restored(annotations))) for rev, blob, annotations in rows]


def _read_delay(row: tuple[Any, ...]) -> Delay:
    due, commit, number, fired = row[6:10]
    return Delay(read_state(row[:6]), due, commit, number, fired)


def read_delayed(row: tuple[Any, ...]) -> tuple[str, Record, int]:
    """The key and record of a pending delay, from a row of `LOAD`, and the revision that holds its exchange, which is as stored."""
    key, *rest, exchange, journaled, rev = row[22:]
    delay = _read_delay((*row[:6], *rest))
    record = read_record(row, read_queue(row[9:22]), restored(exchange), delay=delay, journaled=journaled)
    return restored(key), record, rev
