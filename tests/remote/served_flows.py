"""Flow functions that host processes of the tests serve; they report to the pipe that the test listens to."""

from __future__ import annotations

from stepflow import Command, RetryPolicy, StateCtx, commit, flow, park
from tests.processes.flows import WHO, pass_gate, report


@flow("guarded", retry=RetryPolicy(max_attempts=5, delay=0.05))
def guarded(ctx: StateCtx) -> Command:
    report("begin", run=ctx.id)
    pass_gate()
    report("end", run=ctx.id)
    return commit(park(ctx, by=WHO))


@flow("quick", retry=RetryPolicy(max_attempts=50, delay=0.05))
def quick(ctx: StateCtx) -> Command:
    report("quick", run=ctx.id)
    return commit(park(ctx, by=WHO))
