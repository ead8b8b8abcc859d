"""The statements that write what was decided: queue rows, marks, labels and events, one statement per table and shard."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepflow.drivers.port.commit import Event, Write
from stepflow.drivers.port.rules import Changes
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.postgres.arrays import flags, numbers, texts
from stepflow.drivers.postgres.change_judge import MOVE
from stepflow.drivers.postgres.lookup import by_id, either, located
from stepflow.drivers.postgres.rows import LABEL_KEY, OWNED, Shards, label_key, partition
from stepflow.drivers.postgres.transactions import Statement
from stepflow.model.lifecycle import QueueRow

PLACE = f"""
with u as materialized (
    select coalesce(t.given, nextval('stepflow.epochs')) as epoch, t.* from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::boolean[], $10::text[], $11::text[], $12::bigint[],
        $13::text[], $14::bigint[], $15::text[], $16::text[], $17::bigint[], $18::boolean[])
        as t (id, flow, due, partition, claim_rev, priority, crashes, cancel, blocked, blocked_by, kept, owner, given, limits,
            kept_limits, unfinished, paused)
), s as (
    update stepflow.states t set epoch = u.epoch, priority = u.kept, limits = u.kept_limits
    from u {located("states")}
)
insert into stepflow.queue (shard, id, flow, due, partition, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by,
    limits, unfinished, paused)
select $1, id, flow, due, partition, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished, paused from u
on conflict (shard, id) do update set flow = excluded.flow, due = excluded.due, partition = excluded.partition,
    owner = excluded.owner, claim_rev = excluded.claim_rev, priority = excluded.priority, crashes = excluded.crashes,
    cancel = excluded.cancel, blocked = excluded.blocked, blocked_by = excluded.blocked_by, limits = excluded.limits,
    epoch = excluded.epoch, unfinished = excluded.unfinished, paused = excluded.paused, holding = null
"""
# The same on Citus, with epochs that were drawn before.
PLACE_STATES = """
update stepflow.states t set epoch = u.epoch, priority = u.kept, limits = u.kept_limits
from unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[]) as u (id, epoch, kept, kept_limits)
where t.shard = $1 and t.id = u.id
"""
_PLACED = "id, flow, due, partition, claim_rev, priority, crashes, cancel, blocked, blocked_by, owner, limits, unfinished, paused"
PLACE_ROWS = f"""
insert into stepflow.queue (shard, {_PLACED})
select $1, u.* from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::boolean[]) as u ({_PLACED})
on conflict (shard, id) do update set flow = excluded.flow, due = excluded.due, partition = excluded.partition,
    owner = excluded.owner, claim_rev = excluded.claim_rev, priority = excluded.priority, crashes = excluded.crashes,
    cancel = excluded.cancel, blocked = excluded.blocked, blocked_by = excluded.blocked_by, limits = excluded.limits,
    epoch = excluded.epoch, unfinished = excluded.unfinished, paused = excluded.paused, holding = null
"""
# The same for rows that had an epoch of their own: those of the States are not that of a claim, and stay.
RELEASE = f"""
update stepflow.queue t set flow = u.flow, due = u.due, partition = u.partition, owner = '', claim_rev = u.claim_rev,
    priority = u.priority, crashes = u.crashes, cancel = u.cancel, blocked = u.blocked, blocked_by = u.blocked_by,
    limits = u.limits, epoch = null, unfinished = u.unfinished, paused = u.paused
from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::boolean[],
    $10::text[], $11::text[], $12::text[], $13::bigint[], $14::boolean[])
    as u (id, flow, due, partition, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished, paused)
    {located("queue")}
"""
_GIVEN = "unnest($2::text[]) as u (id)"
REMOVE = f"""
with q as (delete from stepflow.queue t using {_GIVEN} {located("queue")})
update stepflow.states t set epoch = null from {_GIVEN} {located("states")}
"""
# A claim of a run that is to be paused fences with its queue row alone, like that of a poll: no commit of its holder goes unseen.
MARK = f"""
with c as materialized (
    select u.*, q.row_at, q.was from unnest($2::text[], $3::boolean[], $4::boolean[], $5::bigint[]) as u (id, cancel, paused, epoch)
    cross join {by_id("queue", either("x.ctid as row_at", "x.id as row_at") + ", x.paused as was")} q
), q as (
    update stepflow.queue t set cancel = c.cancel, paused = c.paused,
        epoch = case when c.paused then c.epoch when c.was then null else t.epoch end
    from c where {either("t.ctid = c.row_at", "t.shard = $1 and t.id = c.row_at")} and t.partition = 3
)
update stepflow.states t set epoch = case when u.paused then -u.epoch else u.epoch end
    from c u {located("states")} and (u.paused or u.was)
"""
_CREATED = either(
    f"cross join {by_id('states', 'x.created_at')} s", "join stepflow.states s on s.shard = $1 and s.id = u.id"
)
RELABEL = f"""
delete from stepflow.labels t using unnest($2::text[], $3::text[]) as u (id, label) {_CREATED}
    {located("labels", LABEL_KEY)}
"""
LABEL = f"""
insert into stepflow.labels (shard, id, label, created_at)
select $1, u.id, u.label, s.created_at from unnest($2::text[], $3::text[]) as u (id, label) {_CREATED}
on conflict do nothing
"""
CONSUME = f"""
update stepflow.events t set taken = true, payload = '' from unnest($2::text[], $3::bigint[]) as u (run_id, seq)
    {located("events", "x.shard = $1 and x.run_id = u.run_id and x.seq = u.seq and not x.taken")}
"""
PUBLISH = """
insert into stepflow.events (shard, seq, run_id, name, id, payload, published_at, traceparent)
select $1, nextval('stepflow.seqs'), run_id, name, id, payload, published_at, nullif(traceparent, '') from (
    select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[]) with ordinality
        as t (run_id, name, id, payload, published_at, traceparent, n) order by n) u
"""


def epochs_needed(runs: Mapping[str, RunSnapshot]) -> int:
    """How many epochs `queue_statements` draws at most."""
    return sum(run.placed and run.row is not None and not run.row.owner for run in runs.values())


def queue_statements(
    shards: Shards, runs: Mapping[str, RunSnapshot], now: int, epochs: Iterator[int] | None
) -> list[Statement]:
    """The queue rows that were placed, removed or marked; `epochs` for those without an owner, None if they are drawn here."""
    found: list[Statement] = []
    for shard, ids in shards.split(run_id for run_id, run in runs.items() if run.placed or run.marked).items():
        placed = [(run_id, run.row, run) for run_id in ids if (run := runs[run_id]).placed and run.row]
        back = [(run_id, row, run) for run_id, row, run in placed if run.polls and not row.owner]
        placed = [one for one in placed if one not in back]
        removed = [run_id for run_id in ids if (run := runs[run_id]).placed and not run.row and not run.fired]
        marked = [run_id for run_id in ids if runs[run_id].marked and not runs[run_id].placed]
        if placed:
            found += [_place(shard, placed, now)] if epochs is None else _place_apart(shard, placed, now, epochs)
        if back:
            found += [_release(shard, back, now), MOVE]
        found += [(REMOVE, (shard, texts(removed)))] if removed else []
        found += [_mark(shard, marked, runs)] if marked else []
    return found


def _mark(shard: str, ids: Sequence[str], runs: Mapping[str, RunSnapshot]) -> Statement:
    rows = [row for run_id in ids if (row := runs[run_id].row) is not None]
    marks = flags([row.cancel for row in rows]), flags([row.paused for row in rows])
    return MARK, (shard, texts(ids), *marks, numbers([row.epoch for row in rows]))


def _columns(shard: str, placed: Sequence[tuple[str, QueueRow, RunSnapshot]], now: int) -> tuple[object, ...]:
    rows = [row for _id, row, _run in placed]
    return (
        shard,
        texts([run_id for run_id, _row, _run in placed]),
        texts([row.flow for row in rows]),
        numbers([row.due for row in rows]),
        numbers(
            [
                OWNED if row.owner else partition(row.due, now, row.crashes, row.blocked_by, row.limits, row.paused)
                for row in rows
            ]
        ),
        numbers([row.claim_rev for row in rows]),
        numbers([row.priority for row in rows]),
        numbers([row.crashes for row in rows]),
        flags([row.cancel for row in rows]),
        texts([row.blocked for row in rows]),
        texts([row.blocked_by for row in rows]),
    )


def _release(shard: str, placed: Sequence[tuple[str, QueueRow, RunSnapshot]], now: int) -> Statement:
    rows = [row for _id, row, _run in placed]
    return RELEASE, (
        *_columns(shard, placed, now),
        texts([row.limits for row in rows]),
        numbers([row.unfinished for row in rows]),
        flags([row.paused for row in rows]),
    )


def _place(shard: str, placed: Sequence[tuple[str, QueueRow, RunSnapshot]], now: int) -> Statement:
    rows = [row for _id, row, _run in placed]
    return PLACE, (
        *_columns(shard, placed, now),
        numbers([run.priority for _id, _row, run in placed]),
        texts([row.owner for row in rows]),
        numbers([row.epoch if row.owner else None for row in rows]),
        texts([row.limits for row in rows]),
        texts([run.limits for _id, _row, run in placed]),
        numbers([row.unfinished for row in rows]),
        flags([row.paused for row in rows]),
    )


def _place_apart(
    shard: str, placed: Sequence[tuple[str, QueueRow, RunSnapshot]], now: int, epochs: Iterator[int]
) -> list[Statement]:
    rows, columns = [row for _id, row, _run in placed], _columns(shard, placed, now)
    states = (
        *columns[:2],
        numbers([row.epoch if row.owner else next(epochs) for row in rows]),
        numbers([run.priority for _id, _row, run in placed]),
        texts([run.limits for _id, _row, run in placed]),
    )
    more = (
        texts([row.owner for row in rows]),
        texts([row.limits for row in rows]),
        numbers([row.unfinished for row in rows]),
        flags([row.paused for row in rows]),
    )
    return [(PLACE_STATES, states), (PLACE_ROWS, (*columns, *more))]


def label_statements(shards: Shards, writes: Sequence[tuple[Write, Mapping[str, str]]]) -> list[Statement]:
    """Replace the index entries of runs whose labels changed; each write comes with the labels before."""
    changed = {
        write.state.id: (write.state.labels, old)
        for write, old in writes
        if map_text(old) != map_text(write.state.labels)
    }
    found: list[Statement] = []
    for shard, ids in shards.split(changed).items():
        for text, side in ((RELABEL, 1), (LABEL, 0)):
            pairs = [(run_id, label_key(*item)) for run_id in ids for item in changed[run_id][side].items()]
            if pairs:
                found.append((text, (shard, texts([i for i, _label in pairs]), texts([label for _id, label in pairs]))))
    return found


def event_statements(shards: Shards, changes: Changes) -> list[Statement]:
    """Take the consumed events and store the new ones."""
    found: list[Statement] = []
    consumed = shards.split(run_id for run_id, _seq in changes.consumed)
    for shard in consumed:
        mine = [(run_id, seq) for run_id, seq in changes.consumed if shards.of(run_id) == shard]
        found.append((CONSUME, (shard, texts([i for i, _seq in mine]), numbers([seq for _id, seq in mine]))))
    return found + [
        _publish(shard, [event for event in changes.events if shards.of(event.run_id) == shard])
        for shard in shards.split(event.run_id for event in changes.events)
    ]


def _publish(shard: str, events: Sequence[Event]) -> Statement:
    return PUBLISH, (
        shard,
        texts([event.run_id for event in events]),
        texts([event.name for event in events]),
        texts([event.id for event in events]),
        texts([event.payload for event in events]),
        numbers([event.published_at for event in events]),
        texts([event.traceparent for event in events]),
    )
