"""What may be said when a run is started, checked, and the commit that creates the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from stepflow.drivers.values import Commit, Once
from stepflow.engine.checks import (  # fmt: skip
    checked_at,
    checked_flow,
    checked_id,
    checked_key,
    checked_labels,
    checked_limits,
    checked_priority,
    checked_window,
)
from stepflow.engine.client import planned_start
from stepflow.engine.clock import Clock, microseconds, uuid7
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit, dump

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


def planned(flow: Any, exchange: Any, options: StartOptions, clock: Clock) -> Commit:
    """The commit that creates the run. Raises StepflowError or DefinitionError for what cannot be meant."""
    now = clock.now()
    run_id = checked_id(uuid7(clock) if options.id is None else options.id)
    due = now if options.at is None else checked_at(options.at)
    known: Flow[Any] = checked_flow(flow, "start")
    labels, priority = checked_labels(options.labels), checked_priority(options.priority)
    limits = dump(checked_limits(options.limits))
    commit = planned_start(known, exchange, run_id, labels, due, priority, now, limits)
    if options.dedup_key is None:
        return commit
    key = f"{known.name}\0{checked_key(options.dedup_key)}"
    return commit._replace(once=Once(key, run_id, now + microseconds(checked_window(options.dedup_window))))
