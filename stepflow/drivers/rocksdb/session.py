"""A session on a RocksDB directory: the port, one lock around everything that writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve

from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Horizon,
    Owner,
    OwnerQuery,
    Peer,
    Pulse,
    Record,
    Release,
)
from stepflow.drivers.port.step import Member, Step
from stepflow.drivers.port.store import Query, Store
from stepflow.drivers.rocksdb import commit as member
from stepflow.drivers.rocksdb import commit_fast as fast
from stepflow.drivers.rocksdb import queue as rows
from stepflow.drivers.rocksdb.claim import choose, next_due
from stepflow.drivers.rocksdb.database import Database
from stepflow.drivers.rocksdb.keys import text
from stepflow.drivers.rocksdb.limits import begins
from stepflow.drivers.rocksdb.overlay import Draft
from stepflow.drivers.rocksdb.query import Reader
from stepflow.drivers.rocksdb.registry import shelf
from stepflow.drivers.rocksdb.tables import Space
from stepflow.errors import StoreError

T = TypeVar("T")


class RocksdbStore(Store):
    """One engine's session; the others of this process share the database."""

    def __init__(self, database: Database, namespace: str, owner: Owner) -> None:
        self._database, self._namespace, self._owner = database, namespace, owner
        self._closed = False
        self._flows: set[str] = set()  # that it has claimed
        self._changed = database.changed
        with self._changed:
            database.space(namespace)
            self._elsewhere = database.changes  # changes that this session need not be told of
            database.live.add((namespace, owner.id))

    def _space(self) -> Space:
        if self._closed:
            raise StoreError(f"this session on {self._database.disk.path} is closed: open the engine again")
        return self._database.space(self._namespace)

    def _touch(self) -> None:
        """Tell the other sessions, not this one."""
        self._database.changes += 1
        self._elsewhere += 1
        if self._closed or len(self._database.live) > 1:  # or the only one who waits would wake for its own commits
            self._changed.notify_all()

    def close(self) -> None:
        if self._database.disk.inherited:
            return  # the parent's session, not ours
        user = False
        try:
            with self._changed:
                user = not self._closed
                if user:
                    self._end()
        finally:
            if user:
                shelf().give(self._database)

    def _end(self) -> None:
        try:
            self._leave(self._space())
        finally:
            self._closed = True
            self._database.live.discard((self._namespace, self._owner.id))
            self._touch()

    def _leave(self, space: Space) -> None:
        """Give back what is held, and go."""
        if self._owner.id not in space.owners:
            return
        draft = self._database.draft(space)
        for key in sorted(space.held[self._owner.id]):
            row = draft.row(key)
            assert row is not None
            draft.unown(key, row, row.due)
        draft.puts[space.keys.owners + text(self._owner.id)] = None
        self._database.apply(space, draft)
        del space.owners[self._owner.id]

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
            space = self._space()
            space.warm(_written(batch))
            draft = self._database.draft(space)
            try:
                results = fast.apply(
                    draft, space, batch, now, lambda c: member.apply(draft, space.keys, c, now, self._owner)
                )
            except BaseException:  # the short way changed runs in memory that will not be written
                self._database.doubt()
                raise
            self._database.apply(space, draft)
            if space.held.get(self._owner.id):
                space.owners.setdefault(self._owner.id, self._owner)
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
            space = self._space()
            draft = self._database.draft(space)
            self._flows.update(flows)
            if self._owner.id not in space.owners:
                rows.appear(draft, space.keys, self._owner)
            keys = choose(space, flows, now, limit, suspects, skip) if limit > 0 else []
            claims = []
            # Read first: a run that cannot be read must not be held by one who does not know of it.
            for key, record in zip(keys, Reader(space, self._changed).load(keys), strict=True):
                if limits := _limits(space, key):
                    begins(draft, space, limits, key, now)
                claims.append(rows.take(draft, space.keys, key, self._owner.id, record))
            self._database.apply(space, draft, synced=False)  # who holds a run matters only while processes live
            space.owners.setdefault(self._owner.id, self._owner)
            if claims:
                self._touch()
            return claims

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        with self._changed:
            space = self._space()
            draft = self._database.draft(space)
            results = [rows.release(draft, space.keys, given, now) for given in batch]
            self._database.apply(space, draft)
            self._touch()
            return results

    def beat(self, now: int, dead: Collection[str] = ()) -> Pulse:
        with self._changed:
            space, me = self._space(), self._owner.id
            draft = self._database.draft(space)
            if me not in space.owners:
                rows.appear(draft, space.keys, self._owner)
            buried = [owner for owner in sorted(set(dead)) if owner != me and self._bury(space, draft, owner, now)]
            self._database.apply(space, draft)
            mine = space.owners.get(me, self._owner)
            space.owners[me] = evolve(mine, beat=mine.beat + 1, flows=tuple(sorted(self._flows)))
            for owner in buried:
                space.owners.pop(owner, None)
            if buried:
                self._touch()
            peers = tuple(self._peer(owner) for owner in space.owners.values() if owner.id != me)
            held = [(key, space.row(key)) for key in sorted(space.held.get(me, ()))]
            return Pulse(peers, tuple(key for key, row in held if row is not None and row.cancel))

    def _bury(self, space: Space, draft: Draft, owner: str, now: int) -> bool:
        held = sorted(space.held.get(owner, ()))
        for key in held:
            rows.bury(draft, space.keys, key, now)
        draft.puts[space.keys.owners + text(owner)] = None
        return owner in space.owners or bool(held)

    def _peer(self, owner: Owner) -> Peer:
        """Nobody else can have this directory open, so an owner without a session here is dead."""
        return Peer(owner, "held" if (self._namespace, owner.id) in self._database.live else "free")

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        with self._changed:
            return Reader(self._space(), self._changed).load(ids)

    def read(self, query: Query) -> Any:
        with self._changed:
            if isinstance(query, OwnerQuery):
                return [self._peer(owner) for _id, owner in sorted(self._space().owners.items())]
            reader = Reader(self._space(), self._changed)
        return reader.answer(query)

    def horizon(self, flows: Mapping[str, str], now: int) -> Horizon:
        with self._changed:
            space = self._space()
            suspects = space.lanes.suspects(flows, now)
            return Horizon(next_due(space, flows, now), suspects, _held(space, flows), self._database.head.rev)

    def post(self, tx: Any, commit: Commit) -> None:
        raise StoreError(
            f"tx={tx!r:.100}: rocksdb:// has no transactions of its own that {len(commit.writes)} starts and "
            f"{len(commit.publish)} publishes could join; leave tx= out, or use a sqlite:// or postgresql:// store"
        )

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._news() != token, timeout_s)
            return self._news()

    def _news(self) -> int:
        return self._database.changes - self._elsewhere


def _written(batch: Sequence[Member]) -> list[str]:
    """The ids of the States that are written."""
    found: list[str] = []
    for one in batch:
        if isinstance(one, Step):
            found.append(one.id)
        else:
            found += [write.state.id for write in one.writes]
    return found


def _limits(space: Space, key: str) -> str:
    row = space.row(key)
    return "" if row is None else row.limits


def _held(space: Space, flows: Mapping[str, str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for owner, keys in space.held.items():
        found = [space.row(key) for key in keys]
        counts[owner] = sum(row is not None and row.flow in flows for row in found)
    return {owner: count for owner, count in counts.items() if count}
