"""ServedCall: executes a flow function for a caller elsewhere, which holds the claim on the State and commits the command."""

from __future__ import annotations

from collections.abc import Callable

from stepflow.drivers.port.commit import Release
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.states.finish_execution import finish_execution
from stepflow.engine.states.function_runner import Done, FunctionRunner
from stepflow.engine.states.lease import ExecutionContext, Lease
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx


async def serve_call(
    runner: FunctionRunner, committer: Committer, clock: Clock, ctx: StateCtx, stopping: Callable[[], bool]
) -> c.Command:
    """Call the function of the flow that the State goes to, once; the command that it returned.

    A function that commits its own State takes the claim from the caller. Then its command is carried out here, the State is left to any
    worker, and the answer is Noop. Raises what the function raised.
    """
    at = ExecutionContext(ctx, Lease(ctx.id, to=ctx.transition.to), stopping)
    try:
        command = await runner.call(at)
        if at.lease.fence is None:
            return command
        outcome = await runner.interpret(command, runner.flow(ctx), at)
        done = Done() if isinstance(outcome, StateCtx) else outcome
        _outcome, release, _idle = await finish_execution(runner, at, done, clock.now())
    except BaseException:
        if at.lease.fence is not None:
            await committer.release(Release(at.lease.fence, clock.now()))
        raise
    if release is not None:
        await committer.release(release)
    return c.Noop()
