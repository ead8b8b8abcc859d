"""The partitions of due rows without limits: how they are made ready, looked at and taken.

A promoter moves rows that became due to the partition of those that are ready, whose index has the order of claims. So
neither sleeping nor finished runs cost a claim anything. Blocked and suspect rows are few and have a partition of their own.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import field, frozen

from stepflow.drivers.postgres.arrays import stored, texts
from stepflow.drivers.postgres.claim_start import BEHIND, WHOLE, Ranges
from stepflow.drivers.postgres.lookup import by_id
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner
from stepflow.model.lifecycle import SUSPECT

PROMOTED = 5_000  # rows that one claim makes ready at most: a bound for its time

PROMOTE = """
with c as materialized (
    select s.at from unnest($2::text[], $5::bigint[]) as u (flow, since) cross join lateral (
        select x.ctid as at from stepflow.queue x where x.shard = $1 and x.partition = 0 and x.flow = u.flow and x.due <= $3
        and x.due >= u.since order by x.due limit $4 for update skip locked) s
), p as (
    update stepflow.queue q set partition = case when q.limits = '' then 1 else 4 end from c where q.ctid = c.at returning 1
)
select count(*) from p
"""

# $2 flow, $3 now, $4 ids to be left, $5 limit, $6 the claimer's definition, $7 suspects or not, $8 owner.
PLAIN = "{q}.partition = 1 and $6::text is not null and $7::boolean is not null"
MET = (
    "{q}.partition = 2 and ({q}.blocked_by < $6::text or {q}.blocked_by > $6::text)"
    f" and ({{q}}.crashes >= {SUSPECT}) = $7::boolean"
)
SPECIAL = MET + " and {q}.limits = ''"
DUE = "{q}.shard = $1 and {q}.flow = $2 and {q}.due <= $3 and {q}.id <> all($4::text[]) and "
# What is done with the locked queue rows `u` (id, at): their States are locked, too, and both get the marks of the claim.
TAKEN = f"""c as materialized (
    select u.at, s.at as state from u cross join {by_id("states", more=" for no key update skip locked")} s
), s as (
    update stepflow.states t set epoch = nextval('stepflow.epochs') from c where t.ctid = c.state returning c.at, t.rev, t.epoch
), taken as (
    update stepflow.queue q set partition = 3, owner = $8, claim_rev = s.rev, blocked = '', blocked_by = ''
    from s where q.ctid = s.at
    returning q.id, s.epoch, q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits
)"""
_TAKE = "with u as materialized ({rows}), {taken} select * from taken"
_SPECIAL = "select {columns} from stepflow.queue q where {where} order by q.priority, q.due, q.id limit {number}{lock}"
_LOOK = {"columns": "q.priority, q.due, q.id", "number": "$5", "lock": ""}
_LOCK = {"columns": "q.id, q.ctid as at", "number": "$5", "lock": " for no key update skip locked"}


def ready_rows(where: str, first: int, shape: Mapping[str, str] = _LOCK) -> str:
    """The first ready rows, behind the starts of the four parameters from number `first` on."""
    return BEHIND.format(m=[f"${first + number}" for number in range(4)], where=where, **shape)


def _texts(special: bool) -> tuple[str, str]:
    where = DUE.format(q="q") + (SPECIAL if special else PLAIN).format(q="q")
    if special:
        look, lock = _SPECIAL.format(where=where, **_LOOK), _SPECIAL.format(where=where, **_LOCK)
    else:
        look, lock = ready_rows(where, 8, _LOOK), ready_rows(where, 9)
    return look, _TAKE.format(rows=lock, taken=TAKEN)


READY_TEXTS, SPECIAL_TEXTS = _texts(special=False), _texts(special=True)


@frozen
class Request:
    """What is to be claimed."""

    flows: Mapping[str, str]
    now: int
    limit: int
    suspects: bool
    skip: Collection[str]


@frozen
class PostgresPartition:
    """Rows that are claimed in one order: of one shard and flow, the ready ones, behind some starts, or the special ones."""

    shard: str
    flow: str
    special: bool
    ranges: Ranges = field(default=WHOLE, eq=False)


def values(partition: PostgresPartition, request: Request, limit: int) -> tuple[object, ...]:
    """The values of a statement over a partition."""
    definition, skip = request.flows[partition.flow], texts(sorted(request.skip))
    return partition.shard, stored(partition.flow), request.now, skip, limit, stored(definition), request.suspects


def look_at(runner: TransactionRunner, partition: PostgresPartition, request: Request) -> Statement:
    """The statement for the first rows of a partition."""
    rows = values(partition, request, request.limit)
    if partition.special:
        return runner.sql(SPECIAL_TEXTS[0]), rows
    return runner.sql(READY_TEXTS[0]), (*rows, *partition.ranges)


def take_of(
    runner: TransactionRunner, partition: PostgresPartition, request: Request, number: int, owner: str
) -> Statement:
    """The statement that takes so many of them."""
    rows = (*values(partition, request, number), stored(owner))
    if partition.special:
        return runner.sql(SPECIAL_TEXTS[1]), rows
    return runner.sql(READY_TEXTS[1]), (*rows, *partition.ranges)
