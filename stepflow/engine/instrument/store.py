"""MeasuredStore: wraps a session on a store, and measures what an engine writes and claims through it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stepflow.drivers.port.commit import Claim, Commit, CommitResult, Created, HeartbeatReply, Record, Release
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Query, Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.engine.instrument import metrics as m
from stepflow.engine.instrument.telemetry import Telemetry
from stepflow.model.error_text import kind_of
from stepflow.model.family import RESERVED
from stepflow.model.own_flows import OWN_FLOWS


class MeasuredStore(Store):
    """A session: measures commits and claims, and forwards everything else."""

    def __init__(self, inside: Store, telemetry: Telemetry) -> None:
        self._inside, self._telemetry = inside, telemetry
        self.guards, self.takes_deltas = inside.guards, inside.takes_deltas

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        """Commit, measured."""
        began = self._telemetry.clock.monotonic()
        try:
            results = self._inside.commit(batch, now)
        except BaseException as error:
            self._refused(error, len(batch))
            raise
        self._committed(batch, results, began)
        return results

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        """The same, if the store is free; nothing is counted if it is not."""
        began = self._telemetry.clock.monotonic()
        try:
            results = self._inside.commit_if_free(batch, now)
        except BaseException as error:
            self._refused(error, len(batch))
            raise
        if results is not None:
            self._committed(batch, results, began)
        return results

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        """Claim, measured."""
        began = self._telemetry.clock.monotonic()
        return self._claimed(self._inside.claim(flows, now, limit, suspects=suspects, skip=skip), began)

    def claim_if_free(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim] | None:
        """The same, if the store is free."""
        began = self._telemetry.clock.monotonic()
        found = self._inside.claim_if_free(flows, now, limit, suspects=suspects, skip=skip)
        return None if found is None else self._claimed(found, began)

    def _claimed(self, found: list[Claim], began: float) -> list[Claim]:
        telemetry = self._telemetry
        telemetry.record(m.CLAIM_DURATION, telemetry.clock.monotonic() - began)
        if found:
            telemetry.record(m.CLAIM_SIZE, len(found))
        return found

    def _committed(self, batch: Sequence[Member], results: Sequence[CommitResult], began: float) -> None:
        telemetry = self._telemetry
        seconds = telemetry.clock.monotonic() - began
        telemetry.record(m.COMMIT_DURATION, seconds)
        telemetry.record(m.COMMIT_SIZE, len(batch))
        telemetry.committed(batch, results, seconds, len(batch))
        for member, result in zip(batch, results, strict=False):
            if isinstance(result, Exception):
                self._refused(result, 1)
            elif type(member) is Commit:
                self._count(member)

    def _count(self, commit: Commit) -> None:
        """Count the runs that a commit created, and the events that it gave to runs."""
        for write in commit.writes:
            if write.created is not None and write.created.flow not in OWN_FLOWS:
                self._telemetry.add(m.RUNS_STARTED, 1, {m.FLOW: write.created.flow})
        for event in commit.publish:
            if not event.name.startswith(RESERVED):
                self._telemetry.add(m.EVENTS_PUBLISHED, 1, {m.EVENT: event.name})

    def _refused(self, error: BaseException, writes: int) -> None:
        self._telemetry.add(m.WRITES_REFUSED, writes, {m.ERROR: kind_of(error)})

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        """Post; the runs count as created, although the caller may still roll back."""
        found = self._inside.post(tx, *commits)
        self._posted(commits, found)
        return found

    async def apost(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        """The same."""
        found = await self._inside.apost(tx, *commits)
        self._posted(commits, found)
        return found

    def _posted(self, commits: Sequence[Commit], found: Sequence[object]) -> None:
        for commit, there in zip(commits, found, strict=True):
            if there is None:
                self._count(commit)

    def close(self, keep: bool = False) -> None:
        """Forwarded."""
        self._inside.close(keep)

    def same_input(self, stored: str, digest: str) -> bool:
        """Forwarded."""
        return self._inside.same_input(stored, digest)

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        """Forwarded."""
        return self._inside.release(batch, now)

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:
        """Forwarded."""
        return self._inside.beat(now, dead, mono)

    def time(self) -> int | None:
        """Forwarded."""
        return self._inside.time()

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """Forwarded."""
        return self._inside.load(ids)

    def read(self, query: Query) -> Any:
        """Forwarded."""
        return self._inside.read(query)

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        """Forwarded."""
        return self._inside.next_due(flows, now)

    def load_in(self, tx: Any, run_id: str) -> Record | None:
        """Forwarded."""
        return self._inside.load_in(tx, run_id)

    def load_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        """Forwarded."""
        return self._inside.load_schedule_in(tx, schedule_id)

    async def aload_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        """Forwarded."""
        return await self._inside.aload_schedule_in(tx, schedule_id)

    async def aload_in(self, tx: Any, run_id: str) -> Record | None:
        """Forwarded."""
        return await self._inside.aload_in(tx, run_id)

    def begin(self, *, awaited: bool = False) -> UserTransaction:
        """Forwarded."""
        return self._inside.begin(awaited=awaited)

    def hurry(self, *, ending: bool) -> None:
        """Forwarded."""
        self._inside.hurry(ending=ending)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        """Forwarded."""
        return self._inside.wait_for_change(token, timeout_s)
