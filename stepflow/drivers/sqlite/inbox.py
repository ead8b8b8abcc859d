"""inbox: stores starts, publishes and cancels through a caller's transaction; the next session applies them."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stepflow.drivers.port.commit import Commit, Created, Record
from stepflow.drivers.port.inbox import (
    BEGINNING,
    UNREADABLE,
    as_posted,
    beginnings,
    conflict,
    dump,
    ending,
    is_made,
    is_readable,
    log_conflict,
    made_by,
    needle,
    parse,
    readable,
    schedule_as_posted,
)
from stepflow.drivers.port.pruning import PRUNED, PrunedId
from stepflow.drivers.port.queries import PostConflict
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.stored import read_state
from stepflow.drivers.sqlite.callers_connection import callers_connection
from stepflow.drivers.sqlite.commit import CommitApplier
from stepflow.drivers.sqlite.meta import HEAD, checked_head, head
from stepflow.drivers.sqlite.query import SqliteReader
from stepflow.drivers.sqlite.rows import QUEUE, STATE, read_queue
from stepflow.drivers.sqlite.schedules import ONE as SCHEDULE
from stepflow.errors import CodecError, StepflowError

KNOWN = "SELECT rev, flow, input_hash, created_at FROM stepflow_states WHERE shard = ? AND id = ?"
RUN = (
    f"SELECT {STATE}, s.flow, s.input_hash, s.created_at, {QUEUE} FROM stepflow_states AS s"
    " LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id WHERE s.shard = ? AND s.id = ? AND s.rev > 0"
)
POSTED = "SELECT body FROM stepflow_inbox WHERE shard = ? AND instr(body, ?) > 0 ORDER BY seq"
STARTS = f"SELECT body FROM stepflow_inbox WHERE shard = ? AND substr(body, 1, {BEGINNING}) >= ? AND substr(body, 1, {BEGINNING}) < ? ORDER BY seq"
LOCK = "DELETE FROM stepflow_inbox WHERE 0"
"""Takes the write lock. A transaction that reads first and writes then fails if another one commits in between, without a wait."""
NEWEST = "SELECT ifnull((SELECT committed_at FROM stepflow_history ORDER BY rev DESC LIMIT 1), 0)"
UNREAD = "SELECT seq, shard, body FROM stepflow_conflicts WHERE posted = ? ORDER BY seq"
WAITING = "EXISTS (SELECT 1 FROM stepflow_inbox)"


def post(tx: Any, path: Path, shard: str, commits: Sequence[Commit]) -> list[Created | PrunedId | None]:
    """Insert the commits through the caller's transaction; they are applied after that transaction has committed.

    Of a run that exists already, or was pruned, only how.
    """
    bodies = [dump(commit) for commit in commits]
    with callers_connection(tx, path) as connection:
        connection.execute(LOCK)
        ids = {write.state.id for commit in commits for write in commit.writes}
        made = {run_id: found for run_id in ids if (found := _posted(connection, shard, run_id))}
        return [_post(connection, shard, commit, body, made) for commit, body in zip(commits, bodies, strict=True)]


def _posted(connection: sqlite3.Connection, shard: str, run_id: str) -> Created | None:
    """How the run was posted, by this transaction or before it, if it is not made yet."""
    return made_by(run_id, (body for (body,) in connection.execute(STARTS, (shard, *beginnings(run_id)))))


def _post(
    connection: sqlite3.Connection, shard: str, commit: Commit, body: str, made: Mapping[str, Created]
) -> Created | PrunedId | None:
    for write in commit.writes:
        if found := connection.execute(KNOWN, (shard, write.state.id)).fetchone():
            rev, *created = found
            return PrunedId(write.state.id, *created[1:]) if rev == PRUNED else Created(*created)
        if write.state.id in made:
            return made[write.state.id]
    connection.execute("INSERT INTO stepflow_inbox (shard, body) VALUES (?, ?)", (shard, body))
    return None


def load_in(tx: Any, path: Path, shard: str, run_id: str) -> Record | None:
    """The record of a run as the caller's transaction sees it, with what is posted for it."""
    with callers_connection(tx, path) as connection:
        row = connection.execute(RUN, (shard, run_id)).fetchone()
        posted = connection.execute(POSTED, (shard, needle(run_id))).fetchall()
    record = None if row is None else Record(read_state(*row[:6]), Created(*row[6:9]), "", read_queue(row[9:22]))
    return as_posted(record, run_id, readable(body for (body,) in posted))


def load_schedule_in(tx: Any, path: Path, shard: str, schedule_id: str) -> ScheduleRow | None:
    """A schedule as the caller's transaction sees it, with the edits that are posted for it."""
    with callers_connection(tx, path) as connection:
        row = connection.execute(SCHEDULE, (shard, schedule_id)).fetchone()
        posted = connection.execute(POSTED, (shard, needle(schedule_id))).fetchall()
    found = None if row is None else ScheduleRow(*row)
    return schedule_as_posted(found, schedule_id, readable(body for (body,) in posted))


def waiting(connection: sqlite3.Connection) -> bool:
    """Whether the inbox has commits that are not applied yet."""
    return bool(connection.execute(f"SELECT {WAITING}").fetchone()[0])


def look(connection: sqlite3.Connection) -> tuple[bool, int]:
    """Whether the inbox is `waiting`, and the newest revision of the store, in one statement before every write."""
    rev, posted = connection.execute(f"{HEAD}, {WAITING}").fetchone()
    return bool(posted), checked_head(connection, rev)


def post_again(connection: sqlite3.Connection) -> None:
    """Put what can be read now, and could not by those who took it out of the inbox, back into its place: they were of older versions."""
    for seq, shard, body in connection.execute(UNREAD, (UNREADABLE,)).fetchall():
        if is_readable(body):
            connection.execute("INSERT INTO stepflow_inbox (seq, shard, body) VALUES (?, ?, ?)", (seq, shard, body))
            connection.execute("DELETE FROM stepflow_conflicts WHERE seq = ?", (seq,))


def apply_posts(connection: sqlite3.Connection) -> None:
    """Apply all posted commits in order, with the time of their post; those that cannot take place become conflicts."""
    rows = connection.execute("SELECT seq, shard, body FROM stepflow_inbox ORDER BY seq").fetchall()
    refusal: object
    for seq, shard, body in rows:
        try:
            posted, now = parse(body)
        except CodecError as error:
            posted, now, refusal = Commit(), connection.execute(NEWEST).fetchone()[0], error
        else:
            refusal = _apply(connection, shard, posted, now)
        if isinstance(refusal, StepflowError) and not is_made(posted, partial(_made, connection, shard)):
            log_conflict(found := conflict(posted, refusal, now))
            row = (seq, shard, found.run_id, found.posted, found.reason, found.at, body)
            connection.execute("INSERT INTO stepflow_conflicts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("DELETE FROM stepflow_inbox WHERE seq = ?", (seq,))


def _apply(connection: sqlite3.Connection, shard: str, posted: Commit, now: int) -> object:
    """Apply one commit; a StepflowError if it is refused."""
    commit: Commit | StepflowError | None = posted
    for cancel in posted.cancel:
        (record,) = SqliteReader(connection, shard).load([cancel.id])
        commit = ending(record, cancel.id, now)
    return (
        CommitApplier(connection, shard, now, head(connection), "").apply(commit)
        if isinstance(commit, Commit)
        else commit
    )


def _made(connection: sqlite3.Connection, shard: str, run_id: str) -> tuple[str, str] | None:
    there = connection.execute(KNOWN, (shard, run_id)).fetchone()
    return None if there is None else (there[1], there[2])


def conflicts(connection: sqlite3.Connection, shard: str, limit: int) -> list[PostConflict]:
    """What could not take place, the newest first."""
    text = "SELECT run_id, posted, reason, at FROM stepflow_conflicts WHERE shard = ? ORDER BY seq DESC LIMIT ?"
    return [PostConflict(*row) for row in connection.execute(text, (shard, limit))]
