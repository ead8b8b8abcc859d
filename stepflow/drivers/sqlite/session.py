"""A session on a SQLite file: the port, in terms of transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, TypeVar

from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Committed,
    Created,
    Dequeue,
    Enqueue,
    HeartbeatReply,
    Owner,
    Record,
    Release,
)
from stepflow.drivers.port.pauses import without
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary, NotDueQuery, OwnerQuery
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.step import Member, Step, answer, is_creation, whole
from stepflow.drivers.port.store import Query, Store
from stepflow.drivers.port.tallied import Tallied
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.drivers.sqlite import bulk as fast
from stepflow.drivers.sqlite import inbox, tally
from stepflow.drivers.sqlite.change_detector import ChangeDetector
from stepflow.drivers.sqlite.claim import SqliteClaims
from stepflow.drivers.sqlite.commit import CommitApplier
from stepflow.drivers.sqlite.commit_fast import StepBatch, steps_of, write_only_step
from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.errors import MEMBER_ERRORS
from stepflow.drivers.sqlite.locks import WouldBlock
from stepflow.drivers.sqlite.next_due import next_due
from stepflow.drivers.sqlite.owners import SqliteOwners
from stepflow.drivers.sqlite.pauses import SqlitePausedFlows
from stepflow.drivers.sqlite.query import SqliteReader
from stepflow.drivers.sqlite.queue import ReadyRows
from stepflow.drivers.sqlite.session_cache import SessionCache, row_ids_of
from stepflow.drivers.sqlite.user_transaction import SqliteTransaction
from stepflow.errors import StoreError, StoreReplaced
from stepflow.model.shard import shard_of

T = TypeVar("T")
FEW = 8  # runs that are loaded while writers wait


class SqliteStore(Store):
    """One engine's session on one file."""

    def __init__(self, database: SqliteDatabase, namespace: str, owner: Owner) -> None:
        self._database = database
        self._shard = shard_of(namespace, "", 1)
        self._owners = SqliteOwners(database.locks, self._shard, owner)
        self._changes = ChangeDetector(database)
        self._closed = False
        self._known = SessionCache()
        self._posted_again = False  # what older versions could not read

    def close(self, keep: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        self._changes.close()
        try:
            if self._owners.known and not keep:
                with suppress(StoreReplaced), self._database.writing() as writer:
                    ReadyRows(writer, self._shard, 0).leave(self._owners.me.id)
        finally:
            self._database.close()
            self._owners.close()

    def check_identity(self) -> None:
        """Raise StoreReplaced if the session is open, and its file is not at its path any more."""
        if not self._closed:
            self._database.check_identity()

    def _look(self, writer: sqlite3.Connection) -> None:
        """Get to know the newest revision; first apply what others posted, in a transaction of its own before this one."""
        known = self._known
        known.keep(self._database.generation)
        if known.rev:  # no other connection has written since; a post is a write, too
            return
        posted, rev = inbox.look(writer)
        if posted and not self._posted_again:
            inbox.post_again(writer)
            self._posted_again = True
        while posted:
            inbox.apply_posts(writer)
            self._database.next_transaction(writer, "COMMIT")
            posted, rev = inbox.look(writer)  # something may have been posted between the two transactions
        known.keep(self._database.generation)
        known.rev = rev

    def _read(self, fn: Callable[[SqliteReader], T], *, brief: bool = False) -> T:
        """What `fn` reads in the tables as of now, with all that was posted; a `brief` one may keep writers waiting."""
        with self._database.reading(brief=brief) as connection:
            if self._database.read_only or not inbox.waiting(connection):
                return fn(SqliteReader(connection, self._shard))
        with self._database.writing() as writer:
            self._look(writer)
        with self._database.reading(brief=brief) as connection:
            return fn(SqliteReader(connection, self._shard))

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        try:
            return self.commit(batch, now, wait=False)
        except WouldBlock:
            return None

    def commit(self, batch: Sequence[Member], now: int, *, wait: bool = True) -> list[CommitResult]:
        with self._database.writing(wait=wait) as writer:
            self._look(writer)
            try:
                results = self._together(writer, batch, now)
            except MEMBER_ERRORS:
                results = None
            if results is None:  # one by one, so that each gets its own answer
                self._database.next_transaction(writer, "ROLLBACK")
                self._known.forget()
                self._look(writer)
                results = self._apart(writer, batch, now)
        return results

    def _together(self, writer: sqlite3.Connection, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        """Apply the members of the usual shapes in a few statements; None when one of them may not be applied."""
        known = self._known
        if len(batch) == 1:
            only, rev = batch[0], known.rev + 1
            if type(only) is Step:
                place = known.places.get(only.id)
                done = None if place is None else write_only_step(writer, self._shard, only, place, rev, now)
                if done:
                    known.rev = rev
                    if only.part is not None:
                        del known.places[only.id]
                    return [(rev, now)]
                if done is not None:
                    return None
            elif is_creation(only):
                epoch = ReadyRows(writer, self._shard, now).epochs() - 1
                fast.creations(writer, self._shard, [whole(only)], now, rev - 1, epoch)
                known.rev = rev
                return [Committed((rev,), committed_at=now)]
        epochs = ReadyRows(writer, self._shard, now).epochs
        steps = self._steps(writer, batch, now)
        first, others = known.rev + 1, steps.others
        only_rows = len(steps.appended) == len(batch)
        creations = [] if only_rows else [index for index in others if is_creation(batch[index])]
        if not steps.write(writer, self._shard, self._owners.me.id, now, epochs):
            return None
        if only_rows:
            return [Committed(committed_at=now)] * len(batch)
        last = known.rev + steps.count + len(creations)
        if creations:
            epoch = epochs(len(creations)) - 1
            fast.creations(
                writer, self._shard, [whole(batch[index]) for index in creations], now, last - len(creations), epoch
            )
        known.rev = last
        known.drop(steps.left)
        known.places.update(steps.held)
        if steps.held:
            self._owners.appear_if_holding(writer)
        if not others and not steps.moved:
            return list(zip(range(first, last + 1), repeat(now)))
        answers: dict[int, CommitResult] = dict.fromkeys(steps.appended, Committed(committed_at=now))
        for index, rev in zip([*steps.indexes(len(batch)), *creations], range(first, last + 1), strict=True):
            held = (steps.held[steps.moved[index]].epoch,) if index in steps.moved else ()
            answers[index] = (rev, now, *held) if type(batch[index]) is Step else Committed((rev,), (), (), held, now)
        rest = [index for index in others if index not in answers]
        if rest:
            answers.update(zip(rest, self._apart(writer, [batch[index] for index in rest], now), strict=True))
        return [answers[index] for index in range(len(batch))]

    def _steps(self, writer: sqlite3.Connection, batch: Sequence[Member], now: int) -> StepBatch:
        """The steps of a batch, after a look at where the runs are of which that is not known."""
        known = self._known
        if known.doubted:
            known.trust(writer, self._shard, [member.id for member in batch if not isinstance(member, Commit)])
        steps = steps_of(batch, known.rev, now, known.places)
        if steps.unplaced:
            found = row_ids_of(writer, self._shard, steps.unplaced)
            known.places.update((run, place) for run, (place, owner) in found.items() if owner == self._owners.me.id)
            placed = known.places | {run: place for run, (place, _owner) in found.items()}
            steps = steps_of(batch, known.rev, now, placed)
        return steps

    def _apart(self, writer: sqlite3.Connection, batch: Sequence[Member], now: int) -> list[CommitResult]:
        """Apply commits of any shape, each for itself."""
        applier = CommitApplier(writer, self._shard, now, self._known.rev, self._owners.me.id)
        commits = [whole(member) for member in batch]
        results = [answer(member, applier.apply(commit)) for member, commit in zip(batch, commits, strict=True)]
        self._known.rev = applier.rev
        self._known.drop(part.id for commit in commits for part in (*commit.queue, *commit.pause))
        if any(commit.flow_pause is not None for commit in commits):
            self._known.paused_flows = None
        self._show(writer, commits)
        return results

    def _show(self, writer: sqlite3.Connection, batch: Sequence[Commit]) -> None:
        """Let the others know of this owner if a commit gave it rows."""
        if any(_is_owned(part) for commit in batch for part in commit.queue):
            self._owners.appear_if_holding(writer)

    def claim_if_free(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim] | None:
        try:
            return self.claim(flows, now, limit, suspects=suspects, skip=skip, wait=False)
        except WouldBlock:
            return None

    def claim(
        self,
        flows: Mapping[str, str],
        now: int,
        limit: int,
        *,
        suspects: bool = False,
        skip: Collection[str] = (),
        wait: bool = True,
    ) -> list[Claim]:
        with self._database.writing(
            wait=wait, synced=False
        ) as writer:  # who holds a run matters only while processes live
            self._look(writer)
            self._owners.flows.update(flows)
            if not self._known.shown:
                self._owners.appear(writer)
                self._known.shown = True
            # Runs begin after the wait for others, who claimed before it: as of its end a period has as many as its rate.
            rows = ReadyRows(writer, self._shard, now + self._database.waited)
            flows = without(flows, self._paused_flows(writer))
            return SqliteClaims(rows, self._owners.me.id, flows, self._known.places).claim(limit, suspects, skip)

    def _paused_flows(self, writer: sqlite3.Connection) -> Collection[str]:
        if self._known.paused_flows is None:
            self._known.paused_flows = {one.flow for one in SqlitePausedFlows(writer, self._shard).read()}
        return self._known.paused_flows

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        with self._database.writing() as writer:
            self._look(writer)
            self._known.drop(release.fence.id for release in batch)
            rows = ReadyRows(writer, self._shard, now)
            if fast.releases(writer, self._shard, batch, now, rows.epochs):
                return [True] * len(batch)
            self._database.next_transaction(writer, "ROLLBACK")
            return rows.release(batch)

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:  # noqa: ARG002
        with self._database.writing() as writer:
            reply = self._owners.beat(writer, now, dead)
        return self._owners.judge(reply, dead)

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        return self._read(lambda reader: reader.load(ids), brief=len(ids) <= FEW)

    def read(self, query: Query) -> Any:
        if isinstance(query, OwnerQuery):
            return self._read(lambda reader: self._owners.read(reader.connection))
        newer: list[Tallied] = []

        def answer(reader: SqliteReader) -> Any:
            found = reader.answer(query)
            newer.extend([] if reader.newer is None else [reader.newer])
            return found

        found = self._read(answer, brief=isinstance(query, NotDueQuery))  # an engine asks that when it has come to rest
        if newer and not self._database.read_only:
            with suppress(WouldBlock), self._database.writing(wait=False, synced=False) as writer:
                tally.keep_newer(writer, self._shard, newer[0])
        return found

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        def due(reader: SqliteReader) -> DueSummary:
            paused = {one.flow for one in SqlitePausedFlows(reader.connection, self._shard).read()}
            return next_due(reader.connection, self._shard, flows, paused, now)

        return self._read(due, brief=True)

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        self._database.check_identity()
        return inbox.post(tx, self._database.path, self._shard, commits)

    def load_in(self, tx: Any, run_id: str) -> Record | None:
        self._database.check_identity()
        return inbox.load_in(tx, self._database.path, self._shard, run_id)

    def load_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        return inbox.load_schedule_in(tx, self._database.path, self._shard, schedule_id)

    def begin(self, *, awaited: bool = False) -> UserTransaction:
        if awaited:
            raise StoreError(
                "sqlite3 has no connection for async functions: let the function be sync; it is called in a thread"
            )
        return SqliteTransaction(self._database, self._shard, self._owners)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        return self._changes.wait(token, timeout_s)


def _is_owned(part: Enqueue | Dequeue) -> bool:
    return isinstance(part, Enqueue) and part.owned
