"""The hand-written part of Schedule: its constructor, and blocking handles of runs."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from stepflow.engine.blocking.base import ForwardCall, call_here
from stepflow.engine.blocking.run import Run
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.client.schedule import AsyncSchedule
from stepflow.model.keywords import ToldKeywords

E = TypeVar("E")
T = TypeVar("T")


class ScheduleBase(ToldKeywords, Generic[E]):
    """Constructor of the blocking twin of AsyncSchedule."""

    id: str

    def __init__(self, schedule: AsyncSchedule[E], call: ForwardCall) -> None:
        self.id = schedule.id
        self._schedule, self._call = schedule, call

    def __repr__(self) -> str:
        return f"Schedule({self.id!r})"

    def _blocking_run(self, run: AsyncRun[E]) -> Run[E]:
        return Run(run, self._call)

    def _call_tx(self, tx: Any, work: Coroutine[Any, Any, T]) -> T:
        return self._call(work) if tx is None else call_here(work)
