"""The statements that make revisions: many steps, or many creations, of one shard in one statement each.

Revisions are drawn in the statement that writes them, after a shared lock that ends with the transaction: a
reader can then tell an uncommitted revision from one that was rolled back.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stepflow.drivers.port.commit import Commit, Dequeue, Enqueue, Write
from stepflow.drivers.port.rules import NO_EXCHANGE, created_by
from stepflow.drivers.port.step import Step, ends_more
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.postgres.arrays import flags, numbers, optional_texts, texts
from stepflow.drivers.postgres.lookup import by_id, found
from stepflow.drivers.postgres.rows import LABEL_KEY, label_key, waiting
from stepflow.drivers.postgres.transactions import Statement
from stepflow.model.state import State

LOCK = "select pg_advisory_xact_lock_shared($1)"

# $13: these are the usual steps, unseen so far: epochs and labels are as the commit knows them, and of the runs that leave the queue only
# one that ends as cancelled may have a cancel mark. $18 to $21 are the index entries of labels to be removed and added. A row that is not as expected makes the number of rows differ, and the cast of that text to a number fails on purpose: it takes the
# transaction back without a question to the client in between.
STEPS = """
with g as materialized (
    select pg_advisory_xact_lock_shared($15) is not null as held
), u as materialized (
    select coalesce(t.drawn, nextval('stepflow.revs')) as rev, t.* from unnest($2::text[], $3::bigint[], $4::bigint[],
        $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $14::bigint[], $16::text[], $17::boolean[])
        with ordinality
        as t (id, epoch, prev, transition, labels, annotations, status, waiting, exchange, drawn, labels_before, leaves, n)
    where (select held from g)
), s as (
    update stepflow.states t set rev = u.rev, transition = u.transition, labels = u.labels,
        annotations = u.annotations, status = u.status, waiting = u.waiting, committed_at = $11,
        exchange_rev = case when u.exchange is null then t.exchange_rev else u.rev end,
        epoch = case when u.leaves then null else u.epoch end
    from u cross join {state} x where t.ctid = x.at and t.rev = u.prev
        and (not $13::boolean or t.epoch is not distinct from u.epoch and t.labels = coalesce(u.labels_before, u.labels))
    returning u.rev, u.id, u.prev, u.transition, u.labels, u.annotations, u.exchange, t.exchange_rev
), h as (
    insert into stepflow.history (rev, shard, id, prev, token, transition, labels, annotations, committed_at,
        exchange_rev, exchange)
    select rev, $1, id, prev, $12::bigint, transition, labels, annotations, $11, exchange_rev, exchange from s
), q as (
    delete from stepflow.queue q using u cross join {row} x
    where u.leaves and q.ctid = x.at and (u.status = 'cancelled' or not q.cancel)
    returning q.id
), d as (
    delete from stepflow.labels l using unnest($18::text[], $19::text[]) as u (label, id) cross join {created} s
        cross join {label} x
    where l.ctid = x.at
), l as (
    insert into stepflow.labels (shard, label, id, created_at) select $1, u.label, u.id, s.created_at
    from unnest($20::text[], $21::text[]) as u (label, id) cross join {created} s
)
select array_agg(u.rev order by u.n),
    (select case (select count(*) from s) + (select count(*) from q)
        when cardinality($2::text[]) + (select count(*) from u where leaves) then 0 else ('stale: ' || $2::text)::integer end)
from u
""".format(
    state=by_id("states"),
    row=found("queue", "u.leaves and x.shard = $1 and x.id = u.id"),
    created=by_id("states", "x.created_at"),
    label=found("labels", LABEL_KEY),
)

# $18: nothing that a caller posted may wait to be applied first.
CREATIONS = """
with g as materialized (
    select pg_advisory_xact_lock_shared($22) is not null as held
), u as materialized (
    select coalesce(t.drawn, nextval('stepflow.revs')) as rev,
        case when t.partition is not null then nextval('stepflow.epochs') end as epoch, t.*
    from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::bigint[], $13::text[], $14::bigint[], $15::bigint[], $21::bigint[]) with ordinality
        as t (id, flow, input_hash, created_at, transition, labels, annotations, status, waiting, exchange, priority,
        target, due, partition, drawn, n)
    where (select held from g)
), s as (
    insert into stepflow.states (shard, id, rev, epoch, flow, input_hash, created_at, transition, labels, annotations,
        status, waiting, committed_at, exchange_rev, priority)
    select $1, id, rev, epoch, flow, input_hash, created_at, transition, labels, annotations, status, waiting,
        $16, rev, priority from u
), h as (
    insert into stepflow.history (rev, shard, id, prev, token, transition, labels, annotations, committed_at,
        exchange_rev, exchange)
    select rev, $1, id, 0, $17::bigint, transition, labels, annotations, $16, rev, exchange from u
), q as (
    insert into stepflow.queue (shard, id, flow, due, partition, priority)
    select $1, id, target, due, partition, priority from u where partition is not null
), l as (
    insert into stepflow.labels (shard, label, id, created_at)
    select $1, t.* from unnest($19::text[], $20::text[], $23::bigint[]) t (label, id, created_at)
)
select array_agg(u.rev order by u.n),
    (select case count(*) when 0 then 0 else ('stale: ' || count(*))::integer end
     from (select 1 from stepflow.inbox i where $18::boolean and i.shard = $1 limit 1) posted)
from u
"""


def fits_step(step: Step) -> bool:
    """Whether the statement for steps can make this step: its queue row stays, or goes as the run ends or is parked."""
    if step.part is None:
        return step.transition.status == ""
    return type(step.part) is Dequeue and not waiting(step.transition) and not ends_more(step)


def fits_creation(commit: Commit) -> bool:
    """Whether the statement for creations can make this one: it knows nothing of limits."""
    part = commit.queue[0] if commit.queue else None
    return not (isinstance(part, Enqueue) and part.limits)


def steps(
    shard: str,
    made: Sequence[Step],
    epochs: Sequence[int | None],
    revs: Iterable[int | None],
    now: int,
    token: int,
    lock: int,
    *,
    unseen: bool,
) -> Statement:
    """The statement for new revisions of runs that exist; its row is (revisions in order, 0).

    `epochs` are those of the queue rows. `revs` are revisions drawn before; where they are None the statement draws them. Only if these
    are the usual steps, `unseen` so far, it changes queue rows and the index of labels, else other statements do.
    """
    transitions = [step.transition for step in made]
    moved = [(step, step.labels_before) for step in made if unseen and step.labels_before is not None]
    removed = [(*item, step.id) for step, before in moved if before for item in before.items() - step.labels.items()]
    added = [(*item, step.id) for step, before in moved for item in step.labels.items() - (before or {}).items()]
    return STEPS, (
        shard,
        texts([step.id for step in made]),
        numbers(epochs),
        numbers([step.rev for step in made]),
        texts([transition.text for transition in transitions]),
        texts([map_text(step.labels) for step in made]),
        texts([map_text(step.annotations) for step in made]),
        texts([transition.status for transition in transitions]),
        texts([waiting(transition) for transition in transitions]),
        optional_texts([step.exchange for step in made]),
        now,
        token,
        unseen,
        numbers(revs),
        lock,
        optional_texts([None if step.labels_before is None else map_text(step.labels_before) for step in made]),
        flags([unseen and step.part is not None for step in made]),
        texts([label_key(name, value) for name, value, _id in removed]),
        texts([run_id for _name, _value, run_id in removed]),
        texts([label_key(name, value) for name, value, _id in added]),
        texts([run_id for _name, _value, run_id in added]),
    )


def creations(
    shard: str,
    writes: Sequence[Write],
    rows: Sequence[Enqueue | None],
    revs: Iterable[int | None],
    now: int,
    token: int,
    lock: int,
    *,
    unseen: bool,
) -> Statement:
    """The statement for new runs, with their queue rows where given; its row is (revisions in order, 0)."""
    states = [write.state for write in writes]
    transitions = [state.transition for state in states]
    created = [created_by(write, now) for write in writes]
    labels = label_columns([(state, one.created_at) for state, one in zip(states, created, strict=True)])
    return CREATIONS, (
        shard,
        texts([state.id for state in states]),
        texts([one.flow for one in created]),
        texts([one.input_hash for one in created]),
        numbers([one.created_at for one in created]),
        texts([transition.text for transition in transitions]),
        texts([map_text(state.labels) for state in states]),
        texts([map_text(state.annotations) for state in states]),
        texts([transition.status for transition in transitions]),
        texts([waiting(transition) for transition in transitions]),
        texts([NO_EXCHANGE if write.exchange is None else write.exchange for write in writes]),
        numbers([0 if row is None else row.priority for row in rows]),
        optional_texts([None if row is None else row.flow for row in rows]),
        numbers([None if row is None else row.due for row in rows]),
        numbers([None if row is None else int(row.due <= now) for row in rows]),
        now,
        token,
        unseen,
        *labels[:2],
        numbers(revs),
        lock,
        labels[2],
    )


def label_columns(states: Iterable[tuple[State, int]]) -> tuple[str, str, str]:
    """The columns of the index entries of the labels of States, which come with the time of their creation: labels, ids, and times."""
    rows = [(label_key(*item), state.id, at) for state, at in states for item in state.labels.items()]
    return texts([row[0] for row in rows]), texts([row[1] for row in rows]), numbers([row[2] for row in rows])
