"""The statements that make revisions on Citus: of one table each, with revisions that were drawn before, after a look at the runs.

A worker of Citus has neither the sequences nor the lock of `commit_fast`, and a statement that inserts into several tables is
cut into parts there anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepflow.drivers.port.commit import Write
from stepflow.drivers.port.rules import NO_EXCHANGE, created_by
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.postgres.arrays import flags, numbers, optional_texts, texts
from stepflow.drivers.postgres.commit_fast import label_columns
from stepflow.drivers.postgres.rows import waiting
from stepflow.drivers.postgres.transactions import Statement

STEP = """
update stepflow.states t set rev = u.rev, transition = u.transition, labels = u.labels, annotations = u.annotations,
    status = u.status, waiting = u.waiting, committed_at = $11, epoch = u.epoch,
    exchange_rev = case when u.holds then u.rev else t.exchange_rev end
from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $12::boolean[]) as u (id, epoch, prev, rev, transition, labels, annotations, status, waiting, holds)
where t.shard = $1 and t.id = u.id and t.rev = u.prev
"""
CREATE = """
insert into stepflow.states (shard, id, rev, flow, input_hash, created_at, transition, labels, annotations, status, waiting,
    committed_at, exchange_rev, priority)
select $1, id, rev, flow, input_hash, created_at, transition, labels, annotations, status, waiting, $11, rev, 0
from unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[],
    $12::text[]) as u (id, rev, flow, input_hash, created_at, transition, labels, annotations, status, waiting)
"""
# After the change of the States: it tells which revision holds the exchange.
KEEP = """
insert into stepflow.history (shard, rev, id, prev, token, transition, labels, annotations, committed_at, exchange_rev, exchange)
select $1, u.rev, u.id, u.prev, $9::bigint, u.transition, u.labels, u.annotations, $10::bigint, s.exchange_rev, u.exchange
from unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[])
    as u (rev, id, prev, transition, labels, annotations, exchange)
join stepflow.states s on s.shard = $1 and s.id = u.id
"""
LABEL = (
    "insert into stepflow.labels (shard, label, id, created_at)"
    " select $1, u.* from unnest($2::text[], $3::text[], $4::bigint[]) as u (label, id, created_at)"
)


def steps_apart(
    shard: str, writes: Sequence[Write], epochs: Sequence[int | None], revs: Sequence[int], now: int, token: int
) -> list[Statement]:
    """The statements for new revisions of runs that exist and are locked."""
    states = [write.state for write in writes]
    transitions = [state.transition for state in states]
    step = (
        shard,
        texts([state.id for state in states]),
        numbers(epochs),
        numbers([state.rev for state in states]),
        numbers(revs),
        texts([transition.text for transition in transitions]),
        texts([map_text(state.labels) for state in states]),
        texts([map_text(state.annotations) for state in states]),
        texts([transition.status for transition in transitions]),
        texts([waiting(transition) for transition in transitions]),
        now,
        flags([write.exchange is not None for write in writes]),
    )
    return [(STEP, step), _keep(shard, writes, [write.exchange for write in writes], revs, now, token)]


def creations_apart(shard: str, writes: Sequence[Write], revs: Sequence[int], now: int, token: int) -> list[Statement]:
    """The statements for new runs; their queue rows are placed by others."""
    states = [write.state for write in writes]
    transitions = [state.transition for state in states]
    created = [created_by(write, now) for write in writes]
    create = (
        shard,
        texts([state.id for state in states]),
        numbers(revs),
        texts([one.flow for one in created]),
        texts([one.input_hash for one in created]),
        numbers([one.created_at for one in created]),
        texts([transition.text for transition in transitions]),
        texts([map_text(state.labels) for state in states]),
        texts([map_text(state.annotations) for state in states]),
        texts([transition.status for transition in transitions]),
        now,
        texts([waiting(transition) for transition in transitions]),
    )
    exchanges = [NO_EXCHANGE if write.exchange is None else write.exchange for write in writes]
    found = [(CREATE, create), _keep(shard, writes, exchanges, revs, now, token)]
    if any(state.labels for state in states):
        times = [one.created_at for one in created]
        found.append((LABEL, (shard, *label_columns(zip(states, times, strict=True)))))
    return found


def _keep(
    shard: str, writes: Sequence[Write], exchanges: Sequence[str | None], revs: Sequence[int], now: int, token: int
) -> Statement:
    states = [write.state for write in writes]
    return KEEP, (
        shard,
        numbers(revs),
        texts([state.id for state in states]),
        numbers([state.rev for state in states]),
        texts([state.transition.text for state in states]),
        texts([map_text(state.labels) for state in states]),
        texts([map_text(state.annotations) for state in states]),
        optional_texts(exchanges),
        token,
        now,
    )
