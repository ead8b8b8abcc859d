"""The partitions of due rows without limits: how they are made ready, looked at and taken.

A promoter moves rows that became due to the partition of those that are ready, whose index has the order of claims, unless they
are few. So neither sleeping nor finished runs cost a claim anything. Blocked and suspect rows are few and have a partition of their own.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import evolve, field, frozen

from stepflow.drivers.port.turns import Candidate
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.claim_starts import ClaimStarts
from stepflow.drivers.postgres.lookup import by_id, either, found
from stepflow.drivers.postgres.query import TEXT
from stepflow.drivers.postgres.ranges import BEHIND, FIRST, WHOLE, Ranges
from stepflow.drivers.postgres.rows import CREATED, STATE
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner
from stepflow.model.lifecycle import SUSPECT

PROMOTED = 5_000  # rows that one claim makes ready at most: a bound for its time

# Of so many rows that became due the first ones are found by sorting, and taken as they are: a number of times the limit of a
# claim. To look at so many costs about what it costs to update one; with a large limit a round of polls is no more than that.
FEW, FEW_TIMES, SORTED = 8, 64, 16_384
FEW_OF_LIMIT = f"greatest({FEW} * $5::bigint, least({FEW_TIMES} * $5::bigint, {SORTED}))"
# Two facts of the rows of a flow that became due: whether they are too many to be sorted, or some have limits; whether there are any.
BECAME_DUE = """(
    select count(*) > {few} or coalesce(bool_or(l.limits <> ''), false) as many, count(*) > 0 as anything from (
        select y.limits from stepflow.queue y where y.shard = $1 and y.flow = {flow} and y.partition = 0 and y.due <= $3
        and y.due >= {since} order by y.due limit {few} + 1) l)"""
# Rows of a flow that are no more than $6 are left: they are claimed as they are, which saves an update of each.
# How the rows of `c` are found again.
AT = either("x.ctid as at", "x.id as at")
QUEUE_ROW = either("q.ctid = c.at", "q.shard = $1 and q.id = c.at")
STATE_ROW = either("t.ctid = c.state", "t.shard = $1 and t.id = c.state")
PROMOTE = f"""
with f as materialized (
    select u.flow, u.since from unnest($2::text[], $5::bigint[]) as u (flow, since)
    cross join lateral {BECAME_DUE.format(flow="u.flow", since="u.since", few="$6::bigint")} n where n.many
), c as materialized (
    select s.at from f as u cross join lateral (
        select {AT} from stepflow.queue x where x.shard = $1 and x.partition = 0 and x.flow = u.flow and x.due <= $3
        and x.due >= u.since order by x.due limit $4 for update skip locked) s
), p as (
    update stepflow.queue q set partition = case when q.limits = '' then 1 else 4 end from c where {QUEUE_ROW} returning 1
)
select count(*) from p
"""

# $2 flow, $3 now, $4 ids to be left, $5 limit, $6 the claimer's definition, $7 suspects or not, $8 owner.
PLAIN = "{q}.partition = 1 and $6::text is not null and $7::boolean is not null"
MET = (
    "{q}.partition = 2 and ({q}.blocked_by < $6::text or {q}.blocked_by > $6::text)"
    f" and ({{q}}.crashes >= {SUSPECT}) = $7::boolean"
)
LATE = (
    "{q}.partition = 0 and {q}.limits = '' and {q}.due >= {since} and $6::text is not null and $7::boolean is not null"
)
SPECIAL = MET + " and {q}.limits = ''"
DUE = "{q}.shard = $1 and {q}.flow = $2 and {q}.due <= $3 and {q}.id <> all($4::text[]) and "
LOCKED_STATE = by_id("states", f"{AT}, x.rev, x.waiting = 'poll' as polls", more=" for no key update skip locked")
# Drawn before on Citus, whose workers have no sequences: a further parameter, whose number `with_epochs` puts in.
NEXT_EPOCH = either("nextval('stepflow.epochs')", "($0::bigint[])[row_number() over ()]")
# What is done with the locked queue rows `u` (id, at): their States are locked, too. Both get the marks of the claim; of a run
# that polls only the queue row, since most polls find nothing and go back as they came.
TAKEN = f"""c as materialized (
    select u.at, s.at as state, s.rev, s.polls, {NEXT_EPOCH} as epoch from u cross join {LOCKED_STATE} s
), s as (
    update stepflow.states t set epoch = c.epoch from c where not c.polls and {STATE_ROW}
), taken as (
    update stepflow.queue q set partition = 3, owner = $8, claim_rev = c.rev, blocked = '', blocked_by = '',
        epoch = case when c.polls then c.epoch end
    from c where {QUEUE_ROW}
    returning q.id, c.epoch, q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits, q.unfinished, c.polls
)"""
# The record comes along unless the State was changed since the statement began: its exchange and events may not be in view.
RECORD = f"""left join lateral (
    select {STATE}, {CREATED}, {TEXT} from stepflow.states s
    cross join {found("history", "x.shard = $1 and x.rev = s.exchange_rev", "x.exchange")} h
    where s.shard = $1 and s.id = taken.id and s.rev = taken.claim_rev and coalesce(s.delay, 0) = 0 limit 1
) r on true"""
_TAKE = "with u as materialized ({rows}), {taken} select * from taken " + either(RECORD, "")
_SORTED = "select {columns} from stepflow.queue q where {where} order by q.priority, q.due, q.id limit {number}{lock}"
_LOOK = {"columns": "q.priority, q.due, q.id, q.partition", "number": "$5", "lock": ""}
_LOCK = {
    "columns": f"q.id, {either('q.ctid as at', 'q.id as at')}",
    "number": "$5",
    "lock": " for no key update skip locked",
}


def ready_rows(where: str, first: int, shape: Mapping[str, str] = _LOCK) -> str:
    """The first ready rows, behind the starts of the four parameters from number `first` on."""
    return BEHIND.format(m=[f"${first + number}" for number in range(4)], where=where, **shape)


def rows_due(kind: str, more: str = "", **names: str) -> str:
    """The condition of the rows `q` of a kind that are due."""
    return (DUE + kind).format(q="q", **names) + more


def late_rows(where: str) -> str:
    """The first of the few rows that became due, in the order of claims: found by sorting."""
    return _SORTED.format(where=where, **_LOCK)


_FEW_LATE = f" and (select not n.many from {BECAME_DUE.format(flow='$2', since='$12', few=FEW_OF_LIMIT)} n)"
LOOK = {
    "ready": f"({ready_rows(rows_due(PLAIN), 8, _LOOK)}) union all"
    f" ({_SORTED.format(where=rows_due(LATE, _FEW_LATE, since='$12'), **_LOOK)})",
    "special": _SORTED.format(where=rows_due(SPECIAL), **_LOOK),
}


def few_of(limit: int) -> int:
    """How many rows that became due a claim of so many sorts: FEW_OF_LIMIT."""
    return max(FEW * limit, min(FEW_TIMES * limit, SORTED))


def with_epochs(text: str, number: int) -> str:
    """A statement that takes rows; parameter `number` has the epochs where they are drawn before."""
    return text.replace("$0", f"${number}")


TAKE = {
    "ready": with_epochs(_TAKE.format(rows=ready_rows(rows_due(PLAIN), 9), taken=TAKEN), 13),
    "late": with_epochs(_TAKE.format(rows=late_rows(rows_due(LATE, since="$9")), taken=TAKEN), 10),
    "special": with_epochs(_TAKE.format(rows=_SORTED.format(where=rows_due(SPECIAL), **_LOCK), taken=TAKEN), 9),
}


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
    """Rows that are claimed in one order, of one shard and flow: `ready` ones, `special` ones, or few that became due (`late`).

    Ready ones are looked for behind the starts in `ranges`, others that became due from `since` on.
    """

    shard: str
    flow: str
    kind: str = "ready"
    ranges: Ranges = field(default=WHOLE, eq=False)
    since: int = field(default=FIRST, eq=False)


def values(partition: PostgresPartition, request: Request, limit: int) -> tuple[object, ...]:
    """The values of a statement over a partition."""
    definition, skip = request.flows[partition.flow], texts(sorted(request.skip))
    return partition.shard, stored(partition.flow), request.now, skip, limit, stored(definition), request.suspects


def look_at(runner: TransactionRunner, partition: PostgresPartition, request: Request) -> Statement:
    """The statement for the first rows of a partition; for the ready ones also those of the few that became due."""
    more = (*partition.ranges, partition.since) if partition.kind == "ready" else ()
    return runner.sql(LOOK[partition.kind]), (*values(partition, request, request.limit), *more)


def candidates_of(partition: PostgresPartition, rows: Sequence[Sequence[Any]]) -> list[Candidate]:
    """The candidates from the rows that `look_at` found."""
    late = evolve(partition, kind="late")
    return [
        ((priority, due, restored(run_id)), partition.flow, "", partition if number else late)
        for priority, due, run_id, number in rows
    ]


def take_of(
    runner: TransactionRunner,
    partition: PostgresPartition,
    request: Request,
    number: int,
    owner: str,
    epochs: Iterator[int] | None,
) -> Statement:
    """The statement that takes so many of them, with these epochs if they are drawn already."""
    more: tuple[object, ...] = {"ready": partition.ranges, "late": (partition.since,), "special": ()}[partition.kind]
    if epochs is not None:
        more = (*more, numbers(islice(epochs, number)))
    return runner.sql(TAKE[partition.kind]), (*values(partition, request, number), stored(owner), *more)


def note_taken(
    starts: ClaimStarts, request: Request, partition: PostgresPartition, rows: Sequence[Any], *, more: bool
) -> None:
    """Remember up to which row nothing is left in a partition, of which these rows were taken."""
    if partition.kind == "ready" and not request.skip:
        starts.took(partition.shard, partition.flow, request.now, partition.ranges, rows, more=more)
