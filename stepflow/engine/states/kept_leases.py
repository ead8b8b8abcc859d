"""KeptLeases: the leases that commits of this engine gave it and that no execution has taken yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import Context

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import Fence, Release
from stepflow.engine.clock import Clock, microseconds
from stepflow.engine.commit.committer import Committer
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.heartbeat import BEAT_S, Heartbeat
from stepflow.engine.states.executions import Executions
from stepflow.engine.states.lease import Lease
from stepflow.errors import StoreError
from stepflow.model.ctx import StateCtx
from stepflow.model.recovery import left_alone, retry_after_s
from stepflow.model.state import State

KEEP_S = 120.0  # a State that a commit of this engine moved is kept this long to be executed here


class KeptLeases:
    """Leases by State id, until an execution takes them or they expire. While there are some, or an execution is under way,
    the engine beats.
    """

    def __init__(
        self, clock: Clock, committer: Committer, heartbeat: Heartbeat, lifetime: Lifetime, executions: Executions
    ) -> None:
        self._clock, self._committer, self._heartbeat = clock, committer, heartbeat
        self._lifetime, self._executions = lifetime, executions
        self._kept: dict[str, Lease] = {}
        self._beating: asyncio.Task[None] | None = None
        self.guard = Guard("leases", 1.0)

    def keep(self, fence: Fence, state: State) -> None:
        """Keep the claim that a commit gave on this State."""
        until = self._clock.now() + microseconds(retry_after_s(state, KEEP_S))
        if (execution := self._executions.current()) is not None:
            execution.left |= {fence.id}
        self._kept[fence.id] = Lease(
            fence.id, fence, state.transition.to, rev=state.rev, until=until, exclusive=left_alone(state)
        )

    def find(self, run_id: str, rev: int) -> Lease | None:
        """The kept lease on this revision of a State; it stays kept."""
        lease = self._kept.get(run_id)
        return lease if lease is not None and lease.rev == rev else None

    def has(self, lease: Lease) -> bool:
        """Whether this lease is one of the kept ones."""
        return self._kept.get(lease.id) is lease

    def drop(self, run_id: str) -> None:
        """The claim on this State was lost, or is in other hands."""
        self._kept.pop(run_id, None)

    def take(self, ctx: StateCtx) -> Lease:
        """The lease to execute this State with: of the execution that asks, else the kept one, else one without a claim."""
        execution = self._executions.current()
        if execution is not None and execution.lease.id == ctx.id:
            mine = execution.lease
            fence, mine.fence = mine.fence, None
            return Lease(ctx.id, fence, mine.to, mine.commits, mine.delayed, rows=mine.rows)
        lease = self.find(ctx.id, ctx.committed.rev)
        if lease is None:
            return Lease(ctx.id, to=ctx.transition.to)
        self.drop(ctx.id)
        return lease

    async def release_lease(self, lease: Lease) -> None:
        """An execution goes on with another State: let any worker have this one, unless a delay will move it."""
        if lease.fence is not None:
            await self._committer.release(Release(lease.fence, None if lease.delayed else self._clock.now()))
            lease.fence = None

    async def release(self, ids: Iterable[str]) -> None:
        """Let any worker have these States, if they are still kept."""
        for run_id in list(ids):
            lease = self._kept.pop(run_id, None)
            if lease is not None and lease.fence is not None:
                try:
                    await self._committer.release(Release(lease.fence, None if lease.exclusive else self._clock.now()))
                except StoreError:
                    lease.until = 0  # or the State stays ours, and no worker executes it
                    self._kept.setdefault(run_id, lease)
                    raise

    async def release_expired(self) -> None:
        """Let any worker have the States that no execution took in time."""
        now = self._clock.now()
        await self.release(run_id for run_id, lease in self._kept.items() if now >= lease.until)

    async def release_all(self) -> None:
        """The engine is closed: a State that others may not execute loses its queue row; the session's end frees the rest."""
        await self.release(run_id for run_id, lease in self._kept.items() if lease.exclusive)

    def beat_while_held(self) -> None:
        """Beat, and release what has expired, until no lease is kept and no execution is under way."""
        if (self._beating is None or self._beating.done()) and not self._clock.virtual:
            beats, context = self.guard.run_task(self._turn, asyncio.sleep), Context()  # not the calling execution's
            self._beating = asyncio.get_running_loop().create_task(beats, context=context)

    def close(self) -> None:
        """End the beats."""
        if self._beating is not None:
            self._beating.cancel()

    async def _turn(self) -> bool:
        if not self._kept and not self._executions.running:
            return False
        if not self._lifetime.at_work:
            await self._committer.call(self._heartbeat.beat)
        await self.release_expired()
        await asyncio.sleep(BEAT_S)
        return True
