"""The verbs that let many runs go on: behind their failures, or at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define

from stepflow.drivers.port.commit import Commit, Record
from stepflow.engine.client.bulk import Verb
from stepflow.engine.client.repair import had_children, redriven, woken
from stepflow.model.lifecycle import Status


@define
class RedriveVerb(Verb):
    """Let it go on where it failed."""

    redrive: Callable[[str], Awaitable[None]]
    statuses = (Status.FAILED,)

    def plan(self, record: Record, now: int) -> Commit | None:
        """Its failure is taken back; of a run that had children more than its record has to be known."""
        commit = redriven(record, now)
        return None if had_children(record) else commit

    async def alone(self, record: Record) -> None:
        """As a single run is redriven."""
        await self.redrive(record.state.id)


class WakeVerb(Verb):
    """Let it be looked at now."""

    statuses = (Status.SLEEPING, Status.WAITING, Status.BLOCKED)

    def plan(self, record: Record, now: int) -> Commit | None:
        """It is due now."""
        return woken(record, now)
