"""A session on the memory store: the port over a MemoryTables, one lock around everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Condition
from typing import Any, TypeVar

from attrs import define, evolve, field

from stepflow.drivers.memory.counters import Counters
from stepflow.drivers.memory.query import answer
from stepflow.drivers.memory.tables import MemoryTables
from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Created,
    Fence,
    HeartbeatReply,
    Owner,
    Peer,
    Record,
    Release,
)
from stepflow.drivers.port.pauses import without
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.port.rules import claimed, decide_release, reclaimed, returned
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Query, Store
from stepflow.drivers.port.turns import admitted
from stepflow.errors import StoreError
from stepflow.model.lifecycle import SUSPECT, QueueRow
from stepflow.model.limits import admission, due_of

T = TypeVar("T")


@define
class Memory:
    """The content of one memory store, shared by its sessions."""

    counters: Counters = field(factory=Counters)
    spaces: dict[str, MemoryTables] = field(factory=dict)
    changed: Condition = field(factory=Condition)
    changes: int = 0
    sessions: int = 0

    def tables(self, namespace: str) -> MemoryTables:
        """The tables of a namespace, made at first use."""
        if namespace not in self.spaces:
            self.spaces[namespace] = MemoryTables(self.counters)
        return self.spaces[namespace]


class MemoryStore(Store):
    """One engine's session; a lock makes every call atomic."""

    def __init__(self, memory: Memory, namespace: str, owner: Owner) -> None:
        self._memory, self._owner = memory, owner
        self._tables = memory.tables(namespace)
        self._closed = False
        self._flows: set[str] = set()  # that it has claimed
        with memory.changed:
            self._elsewhere = memory.changes  # changes that this session need not be told of
            memory.sessions += 1

    def _open(self) -> None:
        if self._closed:
            raise StoreError("this session on memory:// is closed: open the engine again")

    def _touch(self) -> None:
        """Tell the other sessions, not this one."""
        self._memory.changes += 1
        self._elsewhere += 1
        if self._closed or self._memory.sessions > 1:  # or the only one who waits would wake for its own commits
            self._memory.changed.notify_all()

    def close(self, keep: bool = False) -> None:
        with self._memory.changed:
            if self._closed:
                return
            if not keep:
                self._leave()
            self._closed = True
            self._touch()
            self._memory.sessions -= 1

    def _leave(self) -> None:
        """Give back what is held, and go."""
        for run_id in sorted(self._tables.held[self._owner.id]):
            run = self._tables.entry(run_id)
            assert run is not None
            assert run.row is not None
            self._tables.requeue(run_id, returned(run.row, run.state.rev))
        self._tables.owners.pop(self._owner.id, None)

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        with self._memory.changed:
            self._open()
            tables, owner = self._tables, self._owner.id
            results = [tables.commit(commit, now, owner) for commit in batch]
            if tables.held.get(owner):
                tables.owners.setdefault(owner, self._owner)
            self._touch()
            return results

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        return self._if_free(lambda: self.commit(batch, now))

    def _if_free(self, work: Callable[[], T]) -> T | None:
        if not self._memory.changed.acquire(blocking=False):
            return None
        try:
            return work()
        finally:
            self._memory.changed.release()

    def claim_if_free(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim] | None:
        return self._if_free(lambda: self.claim(flows, now, limit, suspects=suspects, skip=skip))

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        with self._memory.changed:
            self._open()
            self._tables.owners.setdefault(self._owner.id, self._owner)
            self._flows.update(flows)
            flows = without(flows, self._tables.paused_flows)
            found = {
                run_id: row
                for run_id, row in self._tables.queue.special()
                if _claimable(row, flows, now) and (row.crashes >= SUSPECT) is suspects and run_id not in skip
            }
            limit_usage = self._tables.limit_usage()
            for flow in () if suspects else flows:
                for limits in self._tables.queue.heads(flow):
                    most = min(limit, admission(limits, limit_usage, now).free)
                    found |= self._plain(flow, limits, now, most, skip)
            candidates = [
                ((row.priority, row.due, run_id), row.flow, row.limits, run_id) for run_id, row in found.items()
            ]
            taken, _known = admitted(candidates, flows, limit_usage, now, limit)
            claims = [self._take(run_id, found.pop(run_id), now) for *_order, run_id in taken]
            for run_id, row in found.items():
                self._tables.queue.add(run_id, row)
            if claims:
                self._touch()
            return claims

    def _plain(self, flow: str, limits: str, now: int, most: int, skip: Collection[str]) -> dict[str, QueueRow]:
        found: dict[str, QueueRow] = {}
        passed = []
        for run_id, row in self._tables.queue.drain(flow, limits, now) if most > 0 else ():
            if run_id in skip:
                passed.append((run_id, row))
                continue
            found[run_id] = row
            if len(found) >= most:
                break
        for run_id, row in passed:
            self._tables.queue.add(run_id, row)
        return found

    def _take(self, run_id: str, row: QueueRow, now: int) -> Claim:
        entry = self._tables.entry(run_id)
        assert entry is not None
        rev = entry.state.rev
        self._tables.control.begins(row.limits, now)
        epoch, owner = next(self._memory.counters.epochs), self._owner.id
        rest = row.priority, row.crashes, row.cancel, row.limits, row.unfinished
        row = claimed(row.flow, row.due, owner, epoch, rev, *rest)
        self._tables.place(run_id, row)
        return Claim(Fence(run_id, epoch), row, self._tables.load(run_id))

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        with self._memory.changed:
            self._open()
            results = [self._release(release, now) for release in batch]
            self._touch()
            return results

    def _release(self, release: Release, now: int) -> bool:
        run_id = release.fence.id
        run = self._tables.snapshot(run_id, pending=release.events != ())
        held = decide_release(release, run, now)
        self._tables.write(run_id, run)
        return held

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:  # noqa: ARG002
        with self._memory.changed:
            self._open()
            tables = self._tables
            mine = tables.owners.get(self._owner.id, self._owner)
            tables.owners[self._owner.id] = evolve(
                mine, beat=mine.beat + 1, beat_at=now, flows=tuple(sorted(self._flows))
            )
            removed = [owner for owner in sorted(set(dead)) if owner != self._owner.id and self._reclaim(owner, now)]
            if removed:
                self._touch()
            peers = tuple(Peer(owner) for owner in tables.owners.values() if owner.id != self._owner.id)
            held = sorted(tables.held.get(self._owner.id, ()))
            return HeartbeatReply(peers, tuple(run_id for run_id in held if tables.row(run_id).cancel))  # type: ignore[union-attr]

    def _reclaim(self, owner: str, now: int) -> bool:
        known = self._tables.owners.pop(owner, None) is not None
        ids = sorted(self._tables.held[owner])
        for run_id in ids:
            run = self._tables.entry(run_id)
            assert run is not None
            assert run.row is not None
            self._tables.requeue(run_id, reclaimed(run.row, run.state.rev, now, run.progress(run.row.epoch)))
        return known or bool(ids)

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        with self._memory.changed:
            self._open()
            return [self._tables.load(run_id) for run_id in ids]

    def read(self, query: Query) -> Any:
        with self._memory.changed:
            self._open()
            return answer(self._tables, query)

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        with self._memory.changed:
            self._open()
            queue, held = self._tables.queue, self._held(flows)
            flows = without(flows, self._tables.paused_flows)
            special = [row for _id, row in queue.special() if row.flow in flows and row.blocked_by != flows[row.flow]]
            limit_usage = self._tables.limit_usage()
            lines = [line for flow in flows for line in queue.heads(flow).items()]
            lines += [(row.limits, row.due) for row in special]
            dues = [due for limits, head in lines if (due := due_of(head, limits, limit_usage, now)) is not None]
            suspects = sum(row.crashes >= SUSPECT and row.due <= now for row in special)
            first, scheduled = min(dues, default=None), self._tables.schedules.first()
            return DueSummary(first, suspects, held, self._memory.counters.head, schedule=scheduled)

    def _held(self, flows: Mapping[str, str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for owner, ids in self._tables.held.items():
            rows = [self._tables.row(run_id) for run_id in ids]
            counts[owner] = sum(row is not None and row.flow in flows for row in rows)
        return {owner: number for owner, number in counts.items() if number}

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:  # noqa: ARG002
        raise StoreError(
            f"tx={tx!r:.100}: memory:// has no transactions of its own that a caller could join; leave tx= out, or use a sqlite:// store"
        )

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        with self._memory.changed:
            self._memory.changed.wait_for(lambda: self._closed or self._news() != token, timeout_s)
            return self._news()

    def _news(self) -> int:
        return self._memory.changes - self._elsewhere


def _claimable(row: QueueRow, flows: Mapping[str, str], now: int) -> bool:
    return row.due <= now and row.flow in flows and row.blocked_by != flows[row.flow]
