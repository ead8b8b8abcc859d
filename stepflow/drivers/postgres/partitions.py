"""The partitions of due rows without limits: how they are made ready, looked at and taken.

A promoter moves rows that became due to the partition of those that are ready, whose index has the order of claims. So
neither sleeping nor finished runs cost a claim anything. Blocked and suspect rows are few and have a partition of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen

from stepflow.drivers.postgres.arrays import stored, texts
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner
from stepflow.model.lifecycle import SUSPECT

PROMOTED = 5_000  # rows that one claim makes ready at most: a bound for its time

PROMOTE = """
with c as materialized (
    select id from stepflow.queue where shard = $1 and partition = 0 and flow = any($2::text[]) and due <= $3
    order by due limit $4 for update skip locked
)
update stepflow.queue q set partition = case when q.limits = '' then 1 else 4 end from c where q.shard = $1 and q.id = c.id
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
TAKE = """
with c as materialized (
    select q.id from stepflow.queue q join stepflow.states s on s.shard = $1 and s.id = q.id
    where {due}{kind} order by q.priority, q.due, q.id limit $5 for no key update of q, s skip locked
), s as (
    update stepflow.states t set epoch = nextval('stepflow.epochs') from c where t.shard = $1 and t.id = c.id
    returning t.id, t.rev, t.epoch
)
update stepflow.queue q set partition = 3, owner = $8, claim_rev = s.rev, blocked = '', blocked_by = ''
from s where q.shard = $1 and q.id = s.id
returning q.id, s.epoch, q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits
"""


def _texts(special: bool) -> tuple[str, str]:
    kind = (SPECIAL if special else PLAIN).format(q="q")
    due = DUE.format(q="q")
    return CANDIDATES.format(due=due, kind=kind), TAKE.format(due=due, kind=kind)


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
