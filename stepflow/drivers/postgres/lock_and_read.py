"""Locks runs and reads all that decides over a change of them.

The lock on a run's state row is the lock on everything of that run: whoever changes its queue row, or adds or takes
events, holds it first. Claims, which begin at the queue, take both locks without waiting for either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field

from stepflow.drivers.port.stored import read_transition
from stepflow.drivers.postgres.arrays import restored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, pipelined
from stepflow.model.lifecycle import QueueRow

BEGIN = "begin isolation level read committed"
POSTED = "select exists (select 1 from stepflow.inbox where shard = any($1::text[]))"
DRAW = "select nextval('stepflow.revs') from generate_series(1, $1)"
LOCKED = (
    "select id, rev, epoch, status, transition, priority, limits, labels, delay from stepflow.states"
    " where shard = $1 and id = any($2::text[]) order by id for no key update"
)
ROWS = (
    "select id, flow, due, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits from stepflow.queue"
    " where shard = $1 and id = any($2::text[])"
)
PENDING = "select run_id, seq, name from stepflow.events where shard = $1 and run_id = any($2::text[]) and not taken order by seq"
KNOWN = (
    "select e.run_id, e.id from stepflow.events e, unnest($2::text[], $3::text[]) as u (run_id, id)"
    " where e.shard = $1 and e.run_id = u.run_id and e.id = u.id"
)


@define
class RunSnapshot:
    """A run as its transaction sees it; `rev` is 0 if there is none. Decisions are made on it and then written."""

    rev: int = 0
    epoch: int | None = None
    status: str = ""
    event: str = ""  # the name of the event that it waits for
    target: str = ""  # where its transition goes
    priority: int = 0
    limits: str = ""  # what holds for its next queue row
    labels: str = "{}"
    row: QueueRow | None = None
    pending: dict[int, str] = field(factory=dict)  # seq -> name of the events that no wait took yet
    known: set[str] = field(factory=set)  # ids of the publishes asked about that are stored already
    placed: bool = False  # its queue row is to be written, or removed
    marked: bool = False  # its owned queue row gets the mark to cancel
    delay: int = 0  # the offset, if it is no run but a pending delay
    fired: bool = False  # the delay is over
    newest: int = 0  # the revision after what was decided, and that on which a claim by the committer is made


class InboxNotEmpty(Exception):
    """Something that callers posted must be applied first."""


def lock_and_read(
    runner: TransactionRunner,
    connection: Connection,
    shards: Shards,
    ids: Iterable[str],
    publishes: Sequence[tuple[str, str]] = (),
    draws: tuple[Statement, int] | None = None,
    *,
    within: bool = False,
) -> tuple[dict[str, RunSnapshot], list[int]]:
    """Begin a transaction, lock the runs and read them; `publishes` are (run id, publish id) to be looked up.

    `draws` asks for so many new revisions, after the statement that guards them. Raises InboxNotEmpty when the inbox is not
    empty. `within` a transaction that has begun already, it is neither begun nor is the inbox looked at.
    """
    parts = shards.split(ids)
    asked: dict[str, list[tuple[str, str]]] = {shard: [] for shard in parts}
    for run_id, event_id in publishes:
        asked[shards.of(run_id)].append((run_id, event_id))
    with pipelined(connection):
        if not within:
            connection.execute(BEGIN)
            posted = connection.execute(runner.sql(POSTED), (texts(shards.all),), prepare=True)
        if draws is not None:
            (text, values), number = draws
            connection.execute(text, values, prepare=True)
            drawn = connection.execute(runner.sql(DRAW), (number,), prepare=True)
        cursors = [_ask(runner, connection, shard, wanted, asked[shard]) for shard, wanted in parts.items()]
    if not within and posted.fetchall()[0][0]:
        raise InboxNotEmpty
    runs = {run_id: RunSnapshot() for wanted in parts.values() for run_id in wanted}
    for answers in cursors:
        _read(runs, *(cursor.fetchall() for cursor in answers))
    return runs, [] if draws is None else [row[0] for row in drawn.fetchall()]


def _ask(
    runner: TransactionRunner,
    connection: Connection,
    shard: str,
    wanted: Sequence[str],
    publishes: Sequence[tuple[str, str]],
) -> list[Any]:
    key = (shard, texts(wanted))
    cursors = [connection.execute(runner.sql(text), key, prepare=True) for text in (LOCKED, ROWS, PENDING)]
    if publishes:
        values = (
            shard,
            texts([run_id for run_id, _id in publishes]),
            texts([event_id for _run, event_id in publishes]),
        )
        cursors.append(connection.execute(runner.sql(KNOWN), values, prepare=True))
    return cursors


def _read(runs: Mapping[str, RunSnapshot], locked: Any, rows: Any, pending: Any, known: Any = ()) -> None:
    for run_id, rev, epoch, status, transition, priority, limits, labels, delay in locked:
        run, move = runs[restored(run_id)], read_transition(transition)
        run.epoch, run.status, run.priority, run.labels = epoch, status or move.status, priority, labels
        run.rev, run.newest, run.delay = (0 if delay else rev), rev, delay or 0
        run.event, run.target, run.limits = move.event, move.to, restored(limits)
    for run_id, flow, due, owner, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits in rows:
        run = runs[restored(run_id)]
        run.row = QueueRow(
            restored(flow), due, restored(owner), run.epoch or 0, claim_rev, priority, crashes, cancel,
            restored(blocked), restored(blocked_by), restored(limits),
        )  # fmt: skip
    for run_id, seq, name in pending:
        runs[restored(run_id)].pending[seq] = restored(name)
    for run_id, event_id in known:
        runs[restored(run_id)].known.add(restored(event_id))
