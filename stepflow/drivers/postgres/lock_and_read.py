"""Locks runs and reads all that decides over a change of them.

The lock on a run's state row is the lock on everything of that run: a session that changes its queue row, or adds or takes
events, holds it first. Claims, which begin at the queue, take both locks without waiting for either.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import read_transition
from stepflow.drivers.postgres.arrays import restored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lookup import by_id, found
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all, pipelined
from stepflow.model.lifecycle import QueueRow

BEGIN = "begin isolation level read committed"
POSTED = "select 1 from stepflow.inbox where shard = any($1::text[]) limit 1"  # a row if something is posted
DRAW = "select nextval('stepflow.revs') from generate_series(1, $1)"
EPOCHS = "select nextval('stepflow.epochs') from generate_series(1, $1)"
_GIVEN = "unnest($2::text[]) as u (id) cross join"
# Locked in the order of the array: the ids are sorted, so that no two transactions wait for each other.
_LOCKED = "id, rev, epoch, status, transition, priority, limits, labels, delay"
LOCKED, LOCKED_IF_FREE = (
    f"select s.* from {_GIVEN} {by_id('states', _LOCKED, f' for no key update{more}')} s"
    for more in ("", " skip locked")
)
_ROW = (
    "id, epoch, flow, due, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished, paused"
)
ROWS = f"select q.* from {_GIVEN} {by_id('queue', _ROW)} q"
PENDING = (
    f"select e.* from {_GIVEN} lateral (select run_id, seq, name from stepflow.events x"
    " where x.shard = $1 and x.run_id = u.id and not x.taken order by x.seq) e"
)
KNOWN = (
    "select e.* from unnest($2::text[], $3::text[], $4::text[]) as u (run_id, name, id) cross join"
    f" {found('events', 'x.shard = $1 and x.run_id = u.run_id and x.name = u.name and x.id = u.id', 'run_id, name, id')} e"
)


Reading = Callable[[Mapping[str, RunSnapshot], Sequence[Sequence[Any]]], None]
"""Puts the rows of a statement into the snapshots."""


class InboxNotEmpty(Exception):
    """Something that callers posted must be applied first."""


def lock_and_read(
    runner: TransactionRunner,
    connection: Connection,
    shards: Shards,
    ids: Iterable[str],
    publishes: Sequence[tuple[str, str, str]] = (),
    pending: Collection[str] = (),
    draws: tuple[Statement, int] | None = None,
    *,
    within: bool = False,
    skip_locked: bool = False,
) -> tuple[dict[str, RunSnapshot], list[int]]:
    """Begin a transaction, lock the runs and read them, `pending` ones with their pending events.

    `publishes` are (run id, name, publish id) to be looked up. `draws` asks for so many new revisions, after the statement that
    guards them. Raises InboxNotEmpty when callers posted something. `within` a transaction that has begun already, the
    function neither begins one nor looks at the inbox. With `skip_locked` a run that another transaction has locked gets a
    snapshot without revision and epoch.
    """
    parts = shards.split(ids)
    with pipelined(connection):
        if not within:
            connection.execute(BEGIN)
            posted = connection.execute(runner.sql(POSTED), (texts(shards.all),), prepare=True)
        if draws is not None:
            (text, values), number = draws
            connection.execute(text, values, prepare=True)
            drawn = connection.execute(runner.sql(DRAW), (number,), prepare=True)
        answers: list[tuple[Reading, Any]] = []
        for shard, wanted in parts.items():
            asked = [one for one in publishes if shards.of(one[0]) == shard]
            for read, text, key in _readings(shard, wanted, asked, [run_id for run_id in wanted if run_id in pending]):
                if text is LOCKED:
                    text = LOCKED_IF_FREE if skip_locked else LOCKED
                answers.append((read, connection.execute(runner.sql(text), key, prepare=True)))
    if not within and posted.fetchall():
        raise InboxNotEmpty
    runs = {run_id: RunSnapshot() for wanted in parts.values() for run_id in wanted}
    for read, cursor in answers:
        read(runs, cursor.fetchall())
    return runs, [] if draws is None else [row[0] for row in drawn.fetchall()]


def drawn_epochs(runner: TransactionRunner, connection: Connection, number: int) -> Iterator[int] | None:
    """Epochs for statements that cannot draw them, as on Citus; None where they can. In a transaction that guards them."""
    if not runner.place.citus:
        return None
    (rows,) = fetch_all(connection, (runner.sql(EPOCHS), (number,))) if number else ((),)
    return iter([int(row[0]) for row in rows])


def _readings(
    shard: str, wanted: Sequence[str], publishes: Sequence[tuple[str, str, str]], pending: Sequence[str]
) -> Iterator[tuple[Reading, str, tuple[object, ...]]]:
    """The statements that read the runs of a shard, and what to do with their rows; the first one locks."""
    ids = texts(wanted)
    yield _read_states, LOCKED, (shard, ids)
    yield _read_rows, ROWS, (shard, ids)
    if pending:
        yield _read_pending, PENDING, (shard, texts(pending))
    if publishes:
        run_ids, names, event_ids = zip(*publishes, strict=True)
        yield _read_known, KNOWN, (shard, texts(run_ids), texts(names), texts(event_ids))


def _read_states(runs: Mapping[str, RunSnapshot], rows: Sequence[Sequence[Any]]) -> None:
    for run_id, rev, epoch, status, transition, priority, limits, labels, delay in rows:
        run = runs[restored(run_id)]
        run.at(read_transition(transition))
        run.status = status or run.status
        run.epoch, run.priority, run.limits, run.labels = epoch, priority, restored(limits), labels
        run.rev, run.newest, run.delay = (0 if delay else rev), rev, delay or 0


def _read_rows(runs: Mapping[str, RunSnapshot], rows: Sequence[Sequence[Any]]) -> None:
    for (
        run_id,
        epoch,
        flow,
        due,
        owner,
        claim_rev,
        priority,
        crashes,
        cancel,
        blocked,
        blocked_by,
        limits,
        unfinished,
        paused,
    ) in rows:
        run = runs[restored(run_id)]
        if epoch is not None:
            run.polls, run.epoch = epoch != run.epoch, epoch
        run.row = QueueRow(
            restored(flow), due, restored(owner), run.epoch or 0, claim_rev, priority, crashes, cancel,
            restored(blocked), restored(blocked_by), restored(limits), unfinished, paused,
        )  # fmt: skip


def _read_pending(runs: Mapping[str, RunSnapshot], rows: Sequence[Sequence[Any]]) -> None:
    for run_id, seq, name in rows:
        runs[restored(run_id)].pending[seq] = restored(name)


def _read_known(runs: Mapping[str, RunSnapshot], rows: Sequence[Sequence[Any]]) -> None:
    for run_id, name, event_id in rows:
        runs[restored(run_id)].known.add((restored(name), restored(event_id)))
