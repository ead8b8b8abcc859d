"""The hand-written part of Schedule: its constructor, and blocking handles of runs."""

from __future__ import annotations

from typing import Generic, TypeVar

from stepflow.engine.blocking.base import ForwardCall
from stepflow.engine.blocking.run import Run
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.client.schedule import AsyncSchedule

E = TypeVar("E")


class ScheduleBase(Generic[E]):
    """Constructor of the blocking twin of AsyncSchedule."""

    id: str

    def __init__(self, schedule: AsyncSchedule[E], call: ForwardCall) -> None:
        self.id = schedule.id
        self._schedule, self._call = schedule, call

    def __repr__(self) -> str:
        return f"Schedule({self.id!r})"

    def _blocking_run(self, run: AsyncRun[E]) -> Run[E]:
        return Run(run, self._call)
