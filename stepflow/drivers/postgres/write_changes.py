"""The statements that write what was decided: queue rows, marks, labels and events, one statement per table and shard."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.drivers.port.commit import Event, Write
from stepflow.drivers.port.rules import Changes
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.postgres.arrays import flags, numbers, texts
from stepflow.drivers.postgres.lookup import by_id, found
from stepflow.drivers.postgres.rows import OWNED, Shards, label_key, partition
from stepflow.drivers.postgres.transactions import Statement
from stepflow.model.lifecycle import QueueRow

PLACE = f"""
with u as materialized (
    select coalesce(t.given, nextval('stepflow.epochs')) as epoch, t.* from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::boolean[], $10::text[], $11::text[], $12::bigint[],
        $13::text[], $14::bigint[], $15::text[], $16::text[], $17::bigint[])
        as t (id, flow, due, partition, claim_rev, priority, crashes, cancel, blocked, blocked_by, kept, owner, given, limits,
            kept_limits, unfinished)
), s as (
    update stepflow.states t set epoch = u.epoch, priority = u.kept, limits = u.kept_limits
    from u cross join {by_id("states")} s where t.ctid = s.at
)
insert into stepflow.queue (shard, id, flow, due, partition, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by,
    limits, unfinished)
select $1, id, flow, due, partition, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished from u
on conflict (shard, id) do update set flow = excluded.flow, due = excluded.due, partition = excluded.partition,
    owner = excluded.owner, claim_rev = excluded.claim_rev, priority = excluded.priority, crashes = excluded.crashes,
    cancel = excluded.cancel, blocked = excluded.blocked, blocked_by = excluded.blocked_by, limits = excluded.limits,
    epoch = excluded.epoch, unfinished = excluded.unfinished
"""
# The same for rows that had an epoch of their own: those of the States are not that of a claim, and stay.
RELEASE = f"""
update stepflow.queue t set flow = u.flow, due = u.due, partition = u.partition, owner = '', claim_rev = u.claim_rev,
    priority = u.priority, crashes = u.crashes, cancel = u.cancel, blocked = u.blocked, blocked_by = u.blocked_by,
    limits = u.limits, epoch = null, unfinished = u.unfinished
from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::boolean[],
    $10::text[], $11::text[], $12::text[], $13::bigint[])
    as u (id, flow, due, partition, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished)
    cross join {by_id("queue")} q where t.ctid = q.at
"""
_GIVEN = "unnest($2::text[]) as u (id) cross join"
REMOVE = f"""
with q as (delete from stepflow.queue t using {_GIVEN} {by_id("queue")} q where t.ctid = q.at)
update stepflow.states t set epoch = null from {_GIVEN} {by_id("states")} s where t.ctid = s.at
"""
MARK = f"update stepflow.queue t set cancel = true from {_GIVEN} {by_id('queue')} q where t.ctid = q.at and t.partition = 3"
RELABEL = f"""
delete from stepflow.labels t using unnest($2::text[], $3::text[]) as u (id, label)
    cross join {found("labels", "x.shard = $1 and x.label = u.label and x.id = u.id")} l where t.ctid = l.at
"""
LABEL = "insert into stepflow.labels (shard, id, label) select $1, * from unnest($2::text[], $3::text[])"
CONSUME = f"""
update stepflow.events t set taken = true, payload = '' from unnest($2::text[], $3::bigint[]) as u (run_id, seq)
    cross join {found("events", "x.shard = $1 and x.run_id = u.run_id and x.seq = u.seq and not x.taken")} e where t.ctid = e.at
"""
PUBLISH = """
insert into stepflow.events (shard, seq, run_id, name, id, payload, published_at)
select $1, nextval('stepflow.seqs'), run_id, name, id, payload, published_at from (
    select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[]) with ordinality
        as t (run_id, name, id, payload, published_at, n) order by n) u
"""


def queue_statements(shards: Shards, runs: Mapping[str, RunSnapshot], now: int) -> list[Statement]:
    """The queue rows that were placed, removed or marked."""
    found: list[Statement] = []
    for shard, ids in shards.split(run_id for run_id, run in runs.items() if run.placed or run.marked).items():
        placed = [(run_id, run.row, run) for run_id in ids if (run := runs[run_id]).placed and run.row]
        back = [(run_id, row, run) for run_id, row, run in placed if run.polls and not row.owner]
        placed = [one for one in placed if one not in back]
        removed = [run_id for run_id in ids if (run := runs[run_id]).placed and not run.row and not run.fired]
        marked = [run_id for run_id in ids if runs[run_id].marked and not runs[run_id].placed]
        if placed:
            found.append(_place(shard, placed, now))
        if back:
            found.append(_release(shard, back, now))
        found += [(text, (shard, texts(some))) for text, some in ((REMOVE, removed), (MARK, marked)) if some]
    return found


def _columns(shard: str, placed: Sequence[tuple[str, QueueRow, RunSnapshot]], now: int) -> tuple[object, ...]:
    rows = [row for _id, row, _run in placed]
    return (
        shard,
        texts([run_id for run_id, _row, _run in placed]),
        texts([row.flow for row in rows]),
        numbers([row.due for row in rows]),
        numbers(
            [OWNED if row.owner else partition(row.due, now, row.crashes, row.blocked_by, row.limits) for row in rows]
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
    )


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
    )
