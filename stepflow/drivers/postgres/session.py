"""A session on a PostgreSQL store: the port, in terms of its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import psycopg

from stepflow.drivers.port.commit import Claim, Commit, CommitResult, Created, HeartbeatReply, Owner, Record, Release
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary, NotDueQuery, OwnerQuery
from stepflow.drivers.port.rules import decide_release
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Query, Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.drivers.postgres import inbox, next_due, without_run
from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.batch_writer import Writer
from stepflow.drivers.postgres.callers_connection import Dialogue, adrive, drive
from stepflow.drivers.postgres.change_listener import Channel, ChannelListener
from stepflow.drivers.postgres.claim import PostgresClaims
from stepflow.drivers.postgres.commit import Commits
from stepflow.drivers.postgres.commit_fast import LOCK
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.errors import concerns_member, member_error, translate
from stepflow.drivers.postgres.inbox_applier import InboxApplier
from stepflow.drivers.postgres.lock_and_read import POSTED, InboxNotEmpty, drawn_epochs, lock_and_read
from stepflow.drivers.postgres.owners import OwnLock, PostgresOwners
from stepflow.drivers.postgres.partitions import Request
from stepflow.drivers.postgres.query import PostgresReader
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.tokens import Tokens
from stepflow.drivers.postgres.transactions import Pool, TransactionRunner, fetch_all
from stepflow.drivers.postgres.user_transaction import PostgresTransaction
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.drivers.postgres.write_changes import epochs_needed, queue_statements
from stepflow.errors import StoreError

T = TypeVar("T")


class PostgresStore(Store):
    """One engine's session: a connection for the lock and the news, and a small pool for the rest.

    `users` are the connections that functions get.
    """

    def __init__(
        self, runner: TransactionRunner, connector: Connector, users: Pool, shards: Shards, owner: Owner, store: int
    ) -> None:
        place = connector.place
        self._runner, self._users = runner, users
        self._shards, self._store = shards, store
        self._closed = False
        key = lock_key(place.schema, "revs")
        lock = (LOCK, (key,))
        self._head = VisibleRev(runner, key, self._went_back)
        own_lock = OwnLock()
        self._owners = PostgresOwners(runner, shards, owner, lock, own_lock, locks=not connector.pooled)
        self._tokens = tokens = Tokens(runner)
        writer = Writer(runner, shards, self._owners, lock)
        self._writer = writer
        self._inbox = InboxApplier(runner, shards, tokens, writer)
        self._polling = set[int]()
        self._nothing_claimed = False  # by the last claim
        self._claims = PostgresClaims(runner, shards, self._owners, lock, self._polling)
        self._commits = Commits(runner, shards, tokens, writer, self._apply_inbox, self._claims.know, self._polling)
        self._watch = ChannelListener(Channel(connector, shards, owner.id, self._owners.key(), own_lock))
        self.guards = (self._watch.guard,)

    def close(self, keep: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        self._runner.pool.hurry()
        self._users.close()
        try:
            if not keep:
                with self._watch.writing():
                    self._owners.leave()
        finally:
            self._head.close()
            self._watch.close()
            self._runner.closing.set()
            self._runner.pool.close()

    def _went_back(self) -> None:
        """The store lost revisions: numbers that are smaller than those known are new."""
        self._tokens.newest = 0
        self._claims.forget()

    def _with_inbox_applied(self, work: Callable[[], T]) -> T:
        """Do something that must see what was posted."""
        while True:
            try:
                return work()
            except InboxNotEmpty:
                with self._watch.writing():
                    self._apply_inbox()
            except Exception as error:
                if concerns_member(error):
                    raise member_error(error) from error
                raise

    def _apply_inbox(self) -> None:
        """Apply what was posted; some of it may have been due for long."""
        self._inbox()
        self._claims.starts.forget()

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        try:
            with self._watch.writing():
                return self._commits.commit(batch, now)
        finally:
            self._claims.starts.committed(batch, now)

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        request = Request(flows, now, limit, suspects, skip)
        self._owners.flows.update(flows)
        self._watch.listen()
        with self._watch.writing() as nothing:
            claims = self._with_inbox_applied(lambda: self._claims.claim(request))
            self._owners.appeared()
            self._nothing_claimed = not claims
            if not claims:  # else each idle worker would wake all the others every second
                nothing()
            return claims

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        with self._watch.writing():
            if not batch:
                return []
            try:
                return self._with_inbox_applied(lambda: self._runner.run(lambda c: self._release(c, batch, now)))
            finally:
                self._claims.starts.released(batch, now)

    def _release(self, connection: Connection, batch: Sequence[Release], now: int) -> list[bool]:
        ids = [release.fence.id for release in batch]
        pending = {release.fence.id for release in batch if release.events}
        runs, _none = lock_and_read(self._runner, connection, self._shards, ids, pending=pending)
        results = [decide_release(release, runs[release.fence.id], now) for release in batch]
        epochs = drawn_epochs(self._runner, connection, epochs_needed(runs))
        statements = queue_statements(self._shards, runs, now, epochs)
        self._writer.execute(connection, [(statement, ()) for statement in statements], begun=True)
        self._polling.difference_update(release.fence.epoch for release in batch)
        return results

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:
        if dead:
            with self._watch.writing():
                self._owners.reclaim(dead, now)
        self._watch.listen()
        before = self._watch.before()
        try:
            reply, marks = self._owners.beat(mono)
        except StoreError:
            self._watch.check()
            raise
        self._watch.observe(before, *marks)
        return reply

    def time(self) -> int:
        return self._owners.time()

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        if not ids:
            return []
        return self._with_inbox_applied(lambda: self._runner.run(lambda c: self._reader(c).load(ids)))

    def read(self, query: Query) -> Any:
        return self._with_inbox_applied(lambda: self._runner.run(lambda c: self._answer(c, query)))

    def _answer(self, connection: Connection, query: Query) -> Any:
        if isinstance(
            query, NotDueQuery | JournalQuery
        ):  # which look into the inbox themselves, in the same round trip
            return self._reader(connection).answer(query)
        (posted,) = fetch_all(connection, (self._runner.sql(POSTED), (texts(self._shards.all),)))
        if posted:
            raise InboxNotEmpty
        if isinstance(query, OwnerQuery):
            return self._owners.read(connection)
        return self._reader(connection).answer(query)

    def _reader(self, connection: Connection) -> PostgresReader:
        return PostgresReader(self._runner, self._shards, self._head, self._claims.starts, connection)

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        def ask(connection: Connection) -> DueSummary:
            return next_due.next_due(self._runner, connection, self._shards, self._head, self._claims, flows, now)

        found = self._with_inbox_applied(lambda: self._runner.run(ask))
        seems_due = found.next_due is not None and found.next_due <= now
        if self._nothing_claimed and seems_due:
            with self._watch.writing():
                self._runner.run(lambda c: without_run.block(self._runner, c, self._shards, flows, now))
            return self._with_inbox_applied(lambda: self._runner.run(ask))
        return found

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        try:
            found = drive(self._posting(commits), tx)
            self._watch.posted()
            return found
        except psycopg.Error as error:
            raise translate(error, self._runner.place.url) from error

    async def apost(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        try:
            found = await adrive(self._posting(commits), tx)
            self._watch.posted()
            return found
        except psycopg.Error as error:
            raise translate(error, self._runner.place.url) from error

    def load_in(self, tx: Any, run_id: str) -> Record | None:
        try:
            return drive(self._loading(run_id), tx)
        except psycopg.Error as error:
            raise translate(error, self._runner.place.url) from error

    async def aload_in(self, tx: Any, run_id: str) -> Record | None:
        try:
            return await adrive(self._loading(run_id), tx)
        except psycopg.Error as error:
            raise translate(error, self._runner.place.url) from error

    def load_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        try:
            return drive(self._loading_schedule(schedule_id), tx)
        except psycopg.Error as error:
            raise translate(error, self._runner.place.url) from error

    async def aload_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        try:
            return await adrive(self._loading_schedule(schedule_id), tx)
        except psycopg.Error as error:
            raise translate(error, self._runner.place.url) from error

    def _loading_schedule(self, schedule_id: str) -> Dialogue[ScheduleRow | None]:
        return inbox.loading_schedule(self._runner.place, self._store, self._shards.all[0], schedule_id)

    def _loading(self, run_id: str) -> Dialogue[Record | None]:
        return inbox.loading(self._runner.place, self._store, self._shards.of(run_id), run_id)

    def _posting(self, commits: Sequence[Commit]) -> Dialogue[list[Created | PrunedId | None]]:
        return inbox.posting(self._runner.place, self._store, [inbox.post_of(one, self._shards) for one in commits])

    def begin(self, *, awaited: bool = False) -> UserTransaction:
        return PostgresTransaction(self._users, self._runner, self._commits, self._watch.writing, awaited)

    def hurry(self, *, ending: bool) -> None:
        for pool in (self._runner.pool, self._users):
            pool.network.hurry(ending=ending)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        return self._watch.wait(token, timeout_s)
