"""The partitions of due rows without limits: how they are made ready, looked at and taken.

A promoter moves rows that became due to the partition of those that are ready, whose index has the order of claims. So
neither sleeping nor finished runs cost a claim anything. Blocked and suspect rows are few and have a partition of their own.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen

from stepflow.drivers.postgres.arrays import stored, texts
from stepflow.drivers.postgres.lookup import by_id
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner
from stepflow.model.lifecycle import SUSPECT

PROMOTED = 5_000  # rows that one claim makes ready at most: a bound for its time

PROMOTE = """
with c as materialized (
    select s.at from unnest($2::text[]) as u (flow) cross join lateral (
        select x.ctid as at from stepflow.queue x where x.shard = $1 and x.partition = 0 and x.flow = u.flow and x.due <= $3
        order by x.due limit $4 for update skip locked) s
)
update stepflow.queue q set partition = case when q.limits = '' then 1 else 4 end from c where q.ctid = c.at
"""

# $2 flow, $3 now, $4 ids to be left, $5 limit, $6 the claimer's definition, $7 suspects or not, $8 owner.
PLAIN = "{q}.partition = 1 and $6::text is not null and $7::boolean is not null"
MET = (
    "{q}.partition = 2 and ({q}.blocked_by < $6::text or {q}.blocked_by > $6::text)"
    f" and ({{q}}.crashes >= {SUSPECT}) = $7::boolean"
)
SPECIAL = MET + " and {q}.limits = ''"
DUE = "{q}.shard = $1 and {q}.flow = $2 and {q}.due <= $3 and {q}.id <> all($4::text[]) and "
CANDIDATES = (
    "select q.priority, q.due, q.id from stepflow.queue q where {due}{kind} order by q.priority, q.due, q.id limit $5"
)
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
TAKE = """
with u as materialized (
    select q.id, q.ctid as at from stepflow.queue q
    where {due}{kind} order by q.priority, q.due, q.id limit $5 for no key update skip locked
), {taken}
select * from taken
"""


def _texts(special: bool) -> tuple[str, str]:
    kind = (SPECIAL if special else PLAIN).format(q="q")
    due = DUE.format(q="q")
    return CANDIDATES.format(due=due, kind=kind), TAKE.format(due=due, kind=kind, taken=TAKEN)


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
    """Rows that are claimed in one order: of one shard and flow, the ready ones or the special ones."""

    shard: str
    flow: str
    special: bool


def values(partition: PostgresPartition, request: Request, limit: int) -> tuple[object, ...]:
    """The values of a statement over a partition."""
    definition, skip = request.flows[partition.flow], texts(sorted(request.skip))
    return partition.shard, stored(partition.flow), request.now, skip, limit, stored(definition), request.suspects


def look_at(runner: TransactionRunner, partition: PostgresPartition, request: Request) -> Statement:
    """The statement for the first rows of a partition."""
    text = (SPECIAL_TEXTS if partition.special else READY_TEXTS)[0]
    return runner.sql(text), values(partition, request, request.limit)


def take_of(
    runner: TransactionRunner, partition: PostgresPartition, request: Request, number: int, owner: str
) -> Statement:
    """The statement that takes so many of them."""
    text = (SPECIAL_TEXTS if partition.special else READY_TEXTS)[1]
    return runner.sql(text), (*values(partition, request, number), stored(owner))
