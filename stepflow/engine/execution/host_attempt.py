"""HostAttempt: ends the registration of a host that died without withdrawing it."""

from __future__ import annotations

from attrs import define, field

from stepflow.drivers.port.commit import Dequeue, Release
from stepflow.drivers.port.step import Step
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.attempt import Attempt
from stepflow.model import outcome as outcomes


@define(eq=False)
class HostAttempt(Attempt):
    """A claim on a registration: its host held it while it lived."""

    committer: Committer = field(kw_only=True)

    async def run(self) -> Release | None:
        """End it as cancelled."""
        self.ended, state = "cancelled", self.state
        final = outcomes.final(state.transition, "cancelled", "")
        step = Step(
            state.id, self.fence.epoch, state.rev, final, state.labels, state.annotations, None, Dequeue(state.id)
        )
        await self.committer.submit(step)
        return None
