"""A session on a RocksDB directory: the port, one lock around everything that writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import evolve

from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Created,
    HeartbeatReply,
    Owner,
    Peer,
    Record,
    Release,
)
from stepflow.drivers.port.pauses import without
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary, OwnerQuery
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Query, Store
from stepflow.drivers.rocksdb import commit as member
from stepflow.drivers.rocksdb import commit_fast as fast
from stepflow.drivers.rocksdb import pauses, schedules
from stepflow.drivers.rocksdb import queue as rows
from stepflow.drivers.rocksdb.claim import next_due, select_claims
from stepflow.drivers.rocksdb.database import RocksdbDatabase
from stepflow.drivers.rocksdb.keys import text
from stepflow.drivers.rocksdb.limits import begins
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.query import RocksdbReader
from stepflow.drivers.rocksdb.registry import registry
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.errors import StoreError, StoreReplaced

T = TypeVar("T")


class RocksdbStore(Store):
    """One engine's session; the others of this process share the database."""

    def __init__(self, database: RocksdbDatabase, namespace: str, owner: Owner) -> None:
        self._database, self._namespace, self._owner = database, namespace, owner
        self._closed = False
        self._flows: set[str] = set()  # that it has claimed
        self._changed = database.changed
        with self._changed:
            database.tables(namespace)
            self._elsewhere = database.changes  # changes that this session need not be told of
            database.live.add((namespace, owner.id))

    def _tables(self) -> RocksdbTables:
        if self._closed:
            raise StoreError(f"this session on {self._database.disk.path} is closed: open the engine again")
        return self._database.tables(self._namespace)

    def _touch(self) -> None:
        """Tell the other sessions, not this one."""
        self._database.changes += 1
        self._elsewhere += 1
        if self._closed or len(self._database.live) > 1:  # or the only one who waits would wake for its own commits
            self._changed.notify_all()

    def close(self, keep: bool = False) -> None:
        if self._database.disk.inherited:
            return  # the parent's session, not ours
        user = False
        try:
            with self._changed:
                user = not self._closed
                if user:
                    self._end(keep)
        finally:
            if user:
                registry().give(self._database)

    def _end(self, keep: bool) -> None:
        try:
            if not keep:
                with suppress(StoreReplaced):
                    self._leave(self._tables())
        finally:
            self._closed = True
            self._database.live.discard((self._namespace, self._owner.id))
            self._touch()

    def _leave(self, tables: RocksdbTables) -> None:
        """Give back what is held, and go."""
        if self._owner.id not in tables.owners:
            return
        overlay = self._database.overlay(tables)
        for key in sorted(tables.held[self._owner.id]):
            rows.leave(overlay, tables.keys, key)
        overlay.puts[tables.keys.owners + text(self._owner.id)] = None
        self._database.apply(tables, overlay)
        del tables.owners[self._owner.id]

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        return self._if_free(lambda: self.commit(batch, now))

    def _if_free(self, work: Callable[[], T]) -> T | None:
        if not self._changed.acquire(blocking=False):
            return None
        try:
            return work()
        finally:
            self._changed.release()

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        with self._changed:
            tables = self._tables()
            commits = [one for one in batch if type(one) is Commit]
            if commits:  # the runs of steps were read when they were claimed
                tables.prefetch([write.state.id for one in commits for write in one.writes])
            overlay = self._database.overlay(tables)
            try:
                results = fast.apply(
                    overlay, tables, batch, now, lambda c: member.apply(overlay, tables.keys, c, now, self._owner)
                )
            except BaseException:  # the short way changed runs in memory that will not be written
                self._database.invalidate()
                raise
            self._database.apply(tables, overlay)
            if any(one.flow_pause is not None for one in commits):
                tables.paused_flows = None
            if tables.held.get(self._owner.id):
                tables.owners.setdefault(self._owner.id, self._owner)
            self._touch()
            return results

    def claim_if_free(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim] | None:
        return self._if_free(lambda: self.claim(flows, now, limit, suspects=suspects, skip=skip))

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        with self._changed:
            tables = self._tables()
            overlay = self._database.overlay(tables)
            self._flows.update(flows)
            if self._owner.id not in tables.owners:
                rows.appear(overlay, tables.keys, self._owner)
            flows = without(flows, pauses.names(tables))
            keys = select_claims(tables, flows, now, limit, suspects, skip) if limit > 0 else []
            claims = []
            # Read first: a run that cannot be read must not be held by one who does not know of it.
            for key, record in zip(keys, RocksdbReader(tables, self._changed).load_each(keys), strict=True):
                if record is None and tables.row(key) is None:  # an entry of the index without a run
                    tables.partitions.unreadable.add(text(key))
                    continue
                if limits := _limits(tables, key):
                    begins(overlay, tables, limits, key, now)
                claims.append(rows.take(overlay, tables.keys, key, self._owner.id, record))
            self._database.apply(tables, overlay, synced=False)  # who holds a run matters only while processes live
            tables.owners.setdefault(self._owner.id, self._owner)
            if claims:
                self._touch()
            return claims

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        with self._changed:
            tables = self._tables()
            overlay = self._database.overlay(tables)
            results = [rows.release(overlay, tables.keys, given, now) for given in batch]
            self._database.apply(tables, overlay)
            self._touch()
            return results

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:  # noqa: ARG002
        with self._changed:
            tables, me = self._tables(), self._owner.id
            overlay = self._database.overlay(tables)
            if me not in tables.owners:
                rows.appear(overlay, tables.keys, self._owner)
            removed = [
                owner for owner in sorted(set(dead)) if owner != me and self._reclaim(tables, overlay, owner, now)
            ]
            self._database.apply(tables, overlay)
            mine = tables.owners.get(me, self._owner)
            tables.owners[me] = evolve(mine, beat=mine.beat + 1, beat_at=now, flows=tuple(sorted(self._flows)))
            for owner in removed:
                tables.owners.pop(owner, None)
            if removed:
                self._touch()
            peers = tuple(self._peer(owner) for owner in tables.owners.values() if owner.id != me)
            held = [(key, tables.row(key)) for key in sorted(tables.held.get(me, ()))]
            return HeartbeatReply(peers, tuple(key for key, row in held if row is not None and row.cancel))

    def _reclaim(self, tables: RocksdbTables, overlay: Overlay, owner: str, now: int) -> bool:
        held = sorted(tables.held.get(owner, ()))
        for key in held:
            rows.reclaim(overlay, tables.keys, key, now)
        overlay.puts[tables.keys.owners + text(owner)] = None
        return owner in tables.owners or bool(held)

    def _peer(self, owner: Owner) -> Peer:
        """No other process can have this directory open, so an owner without a session here is dead."""
        return Peer(owner, "held" if (self._namespace, owner.id) in self._database.live else "free")

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        with self._changed:
            self._database.disk.check_identity()
            return RocksdbReader(self._tables(), self._changed).load(ids)

    def read(self, query: Query) -> Any:
        with self._changed:
            self._database.disk.check_identity()
            if isinstance(query, OwnerQuery):
                return [self._peer(owner) for _id, owner in sorted(self._tables().owners.items())]
            reader = RocksdbReader(self._tables(), self._changed)
        return reader.answer(query)

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        with self._changed:
            tables = self._tables()
            self._database.disk.check_identity()  # a worker that has nothing to do writes nothing
            held, flows = _held(tables, flows), without(flows, pauses.names(tables))
            suspects = tables.partitions.suspects(flows, now)
            first, scheduled = next_due(tables, flows, now), schedules.first(tables)
            return DueSummary(first, suspects, held, self._database.head.rev, schedule=scheduled)

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:  # noqa: ARG002
        raise StoreError(
            f"tx={tx!r:.100}: rocksdb:// has no transactions of its own that a caller could join; leave tx= out, or use a sqlite:// or postgresql:// store"
        )

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._news() != token, timeout_s)
            return self._news()

    def _news(self) -> int:
        return self._database.changes - self._elsewhere


def _limits(tables: RocksdbTables, key: str) -> str:
    row = tables.row(key)
    return "" if row is None else row.limits


def _held(tables: RocksdbTables, flows: Mapping[str, str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for owner, keys in tables.held.items():
        found = [tables.row(key) for key in keys]
        counts[owner] = sum(row is not None and row.flow in flows for row in found)
    return {owner: count for owner, count in counts.items() if count}
