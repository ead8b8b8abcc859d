"""Settling: what becomes of the claim on a State when an execution of its flow function is over."""

from __future__ import annotations

from contextlib import suppress

from stepflow.drivers.port.commit import Release
from stepflow.engine.clock import Clock, microseconds
from stepflow.engine.commit.committer import Committer
from stepflow.engine.states.function_runner import Conflict, Delayed, Execution, FunctionRunner, NotHere, Outcome
from stepflow.errors import RevMismatch
from stepflow.model.recovery import left_alone, retry_after_s

PAUSE_S = 1.0  # before a State is tried again whose commit met a conflict over another one
LATER_S = 120.0  # before a worker tries a State again that an execution here did not bring on


async def settle(
    runner: FunctionRunner, at: Execution, outcome: Outcome, now: int
) -> tuple[Outcome, Release | None, bool]:
    """Keep what was moved in memory; the outcome, the Release that ends the claim, and whether nothing has happened at all."""
    lease = at.lease
    if lease.fence is not None and at.ctx.transitions and not isinstance(outcome, Delayed | Conflict):
        try:
            await runner.keep(at)
        except RevMismatch as error:
            outcome = Conflict(tuple(error.ids))
    if lease.fence is None:
        return outcome, None, False
    if isinstance(outcome, Conflict):
        pause = 0.0 if at.ctx.id in outcome.ids else PAUSE_S
        return outcome, Release(lease.fence, now + microseconds(pause)), False
    if isinstance(outcome, Delayed) or lease.delayed:
        return outcome, Release(lease.fence, None), False
    return outcome, Release(lease.fence, now), not (lease.commits or at.stopping())


class Settler:
    """Executes States for callers, and leaves to the workers what did not come to an end."""

    def __init__(self, runner: FunctionRunner, committer: Committer, clock: Clock) -> None:
        self._runner, self._committer, self._clock = runner, committer, clock

    async def execute(self, at: Execution) -> Outcome:
        """Advance a State; raises what its function raised, and then a worker tries it again later."""
        release: Release | None = None
        try:
            outcome = await self._runner.advance(at)
            outcome, release, idle = await settle(self._runner, at, outcome, self._clock.now())
            if idle:
                release = self._later(at, LATER_S)
        except BaseException as error:
            elsewhere = isinstance(error, NotHere)
            if elsewhere:
                await keep_progress(self._runner, at)
            release = self._later(at, 0.0 if elsewhere else LATER_S)
            raise
        finally:
            if release is not None:
                await self._committer.release(release)
        return outcome

    def _later(self, at: Execution, wait_s: float) -> Release | None:
        fence, state = at.lease.fence, at.ctx.committed
        if fence is None:
            return None
        if left_alone(state):
            return Release(fence, None)
        wait_s = 0.0 if at.stopping() else wait_s and retry_after_s(state, wait_s)
        return Release(fence, self._clock.now() + microseconds(wait_s))


async def keep_progress(runner: FunctionRunner, at: Execution) -> None:
    """Let another engine find the State where this one got to."""
    if at.ctx.transitions and at.lease.fence is not None:
        with suppress(RevMismatch):
            await runner.keep(at)
