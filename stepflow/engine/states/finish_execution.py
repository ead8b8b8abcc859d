"""finish_execution: what becomes of the lease on a State when an execution of its flow function is over."""

from __future__ import annotations

from contextlib import suppress

from stepflow.drivers.port.commit import Release
from stepflow.engine.clock import Clock, microseconds
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.at_most_once import block_call
from stepflow.engine.execution.once_calls import why_unknown
from stepflow.engine.intents import unknown_call
from stepflow.engine.states.function_runner import Conflict, Delayed, FunctionRunner, NotHere, Outcome
from stepflow.engine.states.lease import ExecutionContext
from stepflow.errors import RevMismatch
from stepflow.model.recovery import left_alone, retry_after_s

PAUSE_S = 1.0  # before a State is tried again whose commit met a conflict and that has not moved
LATER_S = 120.0  # before a worker tries a State again that an execution for a caller did not bring on


async def finish_execution(
    runner: FunctionRunner, at: ExecutionContext, outcome: Outcome, now: int
) -> tuple[Outcome, Release | None, bool]:
    """Commit what was only moved in memory; the outcome, the Release that ends the lease, and whether nothing happened."""
    lease = at.lease
    if at.handed_over and lease.fence is not None:  # a commit here would refuse those of the engine that goes on
        wait_s = retry_after_s(at.ctx.committed, LATER_S)
        return outcome, Release(lease.fence, now + microseconds(wait_s), crashes=1), False
    if lease.fence is not None and at.ctx.transitions and not isinstance(outcome, Delayed | Conflict):
        try:
            await runner.keep(at)
        except RevMismatch as error:
            outcome = Conflict(tuple(error.ids))
    if lease.fence is None:
        return outcome, None, False
    if isinstance(outcome, Conflict):
        pause = 0.0 if at.ctx.id in outcome.ids and lease.commits else PAUSE_S
        return outcome, Release(lease.fence, now + microseconds(pause)), False
    if isinstance(outcome, Delayed) or lease.delayed:
        return outcome, Release(lease.fence, None), False
    return outcome, Release(lease.fence, now), not (lease.commits or at.stopping())


async def keep_progress(runner: FunctionRunner, at: ExecutionContext) -> None:
    """Commit what was only moved in memory, so that another engine goes on from there."""
    if at.ctx.transitions and at.lease.fence is not None:
        with suppress(RevMismatch):
            await runner.keep(at)


async def execute(runner: FunctionRunner, committer: Committer, clock: Clock, at: ExecutionContext) -> Outcome:
    """Advance a State for a caller; what does not come to an end is left to the workers.

    Raises what its function raised, and then a worker tries it again later.
    """
    release: Release | None = None
    try:
        outcome = await runner.advance(at)
        outcome, release, idle = await finish_execution(runner, at, outcome, clock.now())
        if idle:
            release = _retry_release(at, clock.now(), LATER_S)
    except BaseException as error:
        elsewhere = isinstance(error, NotHere)
        if elsewhere:
            await keep_progress(runner, at)
        release = _retry_release(at, clock.now(), 0.0 if elsewhere else LATER_S)
        raise
    finally:
        if release is not None:
            await committer.release(release)
    return outcome


def _retry_release(at: ExecutionContext, now: int, wait_s: float) -> Release | None:
    """The Release after which a worker tries the State again, `wait_s` from now."""
    fence, state = at.lease.fence, at.ctx.committed
    if fence is None:
        return None
    if (row := unknown_call(at.lease.rows)) is not None:
        return block_call(fence, row, state, None, why_unknown(at.once, row))
    if left_alone(state):
        return Release(fence, None)
    wait_s = 0.0 if at.stopping() else wait_s and retry_after_s(state, wait_s)
    return Release(fence, now + microseconds(wait_s))
