"""StartPlanner: checks the options of a start and builds the commit that creates the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from stepflow.drivers.port.commit import Commit, DedupKey
from stepflow.drivers.port.pruning import PrunedId
from stepflow.engine.checks import (  # fmt: skip
    checked_at,
    checked_flow,
    checked_key,
    checked_limits,
    checked_new_id,
    checked_run_timeout,
    checked_window,
)
from stepflow.engine.client.client import planned_start
from stepflow.engine.clock import Clock, microseconds, moment, utc_text, uuid7
from stepflow.errors import StepflowError
from stepflow.model.checks import checked_own_labels, checked_priority
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit, dump
from stepflow.model.run_timeout import with_end

DEDUP_WINDOW = timedelta(minutes=5)


@frozen(kw_only=True)
class StartOptions:
    """The keyword arguments of `Engine.start`, as given."""

    id: str | None = None
    labels: Mapping[str, str] | None = None
    at: datetime | None = None
    priority: int = 0
    limits: Limit | Iterable[Limit] = ()
    dedup_key: str | None = None
    dedup_window: timedelta | float = DEDUP_WINDOW
    run_timeout: timedelta | float | None = None


class StartPlanner:
    """Plans starts of one flow that differ only in ids and exchanges; the common options are checked once.

    Raises StepflowError or DefinitionError for what cannot be meant.
    """

    def __init__(self, flow: Any, options: StartOptions, clock: Clock) -> None:
        self._flow: Flow[Any, Any] = checked_flow(flow, "start")
        self._clock, self._key = clock, options.dedup_key
        self._at = None if options.at is None else checked_at(options.at)
        self._labels, self._priority = checked_own_labels(options.labels), checked_priority(options.priority)
        self._limits = dump(checked_limits(options.limits))
        self._timeout = checked_run_timeout(self._flow, options.run_timeout)
        if options.dedup_key is not None:
            self._key = f"{self._flow.name}\0{checked_key(options.dedup_key)}"
            self._window = microseconds(checked_window(options.dedup_window))
        elif (
            options.dedup_window is not DEDUP_WINDOW
            and checked_window(options.dedup_window) != DEDUP_WINDOW.total_seconds()
        ):
            raise StepflowError(
                f"dedup_window={options.dedup_window!r:.80}: there is no dedup_key=: give it, too, or leave both out"
            )

    def plan(self, run_id: str | None, exchange: Any) -> Commit:
        """The commit that creates a run."""
        now, checked = self._clock.now(), uuid7(self._clock) if run_id is None else checked_new_id(run_id)
        due = now if self._at is None else self._at
        labels = with_end(self._labels, self._timeout, max(due, now)) if self._timeout else self._labels
        commit = planned_start(self._flow, exchange, checked, labels, due, self._priority, now, self._limits)
        return commit if self._key is None else commit._replace(dedup=DedupKey(self._key, checked, now + self._window))


def pruned_text(gone: PrunedId, now: int) -> str:
    """Why an id cannot be started although there is no run."""
    instead = "use another id, or start it later"
    if gone.is_over(now):
        kept = f"its id was kept until {utc_text(moment(gone.until))} (keep_ids=), and is not freed inside of a caller's transaction"
        instead = "start it without tx=, or after the next pruning"
    elif gone.until:
        kept = f"its id is kept until {utc_text(moment(gone.until))} (keep_ids=)"
    else:
        kept = "its records are being deleted: `stepflow prune` completes that"
    return f"run {gone.id!r} ended, was pruned, and is not done again: {kept}; {instead}"
