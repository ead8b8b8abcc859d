# Generated from stepflow/engine/client/schedule.py by `make generate`: do not edit.
"""Schedule: the blocking face of AsyncSchedule."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from stepflow.engine.blocking.run import Run
from stepflow.engine.blocking.schedule_base import ScheduleBase
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.schedule import ScheduleInfo

E = TypeVar("E")


class Schedule(ScheduleBase[E]):
    """A schedule that starts runs with results of type `E`; every method raises NotFound if there is no such schedule."""

    def info(self) -> ScheduleInfo:
        """Everything that is known of the schedule, except its input."""
        return self._call(self._schedule.info())

    def pause(self, *, tx: Any = None) -> None:
        """Let no tick start a run until `resume`; runs that exist go on.

        With `tx`, the caller's open transaction on the same store, it takes place when that commits, and a rollback takes it back.
        """
        self._call_tx(tx, self._schedule.pause(tx=tx))

    def resume(self, *, tx: Any = None) -> None:
        """Go on with the first tick after now; those of the pause are not made up for, `backfill` does that. `tx` as in `pause`."""
        self._call_tx(tx, self._schedule.resume(tx=tx))

    def trigger(self, *, tx: Any = None) -> Run[E]:
        """Start a run now, beside the ticks: also while the schedule is paused, and whatever `overlap` says. `tx` as in `pause`."""
        return self._blocking_run(self._call_tx(tx, self._schedule.trigger(tx=tx)))

    def backfill(self, start: datetime, end: datetime) -> list[Run[E]]:
        """Start the runs of the ticks from `start` to `end`, both included, that have no run; the runs of all these ticks.

        They are due at once, whatever `overlap` says, and no later tick cancels them; the concurrency of the flow limits how many go at the same time. A tick
        whose run was pruned is done again. Raises StepflowError for a time in the future, or more than 10,000 ticks.
        """
        found = self._call(self._schedule.backfill(start, end))
        return [self._blocking_run(one) for one in found]

    def runs(self, limit: int = 50) -> list[RunInfo]:
        """The newest runs that it started, the newest first."""
        return self._call(self._schedule.runs(limit))

    def delete(self, *, tx: Any = None) -> None:
        """Delete the schedule; runs that exist go on. `tx` as in `pause`."""
        self._call_tx(tx, self._schedule.delete(tx=tx))

    def explain(self) -> str:
        """When it fires next, why its last ticks started no run, and whether a worker is there to do it."""
        return self._call(self._schedule.explain())
