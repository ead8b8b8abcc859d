"""MeasuredFeed: the feed of an engine's watchers, which tells how far behind the store they are."""

from __future__ import annotations

from typing import Any

from stepflow.engine.clock import SECOND
from stepflow.engine.instrument.metrics import WATCH_LAG
from stepflow.engine.instrument.telemetry import Telemetry
from stepflow.engine.states.watch import RevisionFeed
from stepflow.model.state import State


class MeasuredFeed(RevisionFeed):
    """A RevisionFeed that tells its lag with each read that finds something new."""

    def __init__(self, *parts: Any, telemetry: Telemetry) -> None:
        super().__init__(*parts)
        self._telemetry = telemetry

    def _take(self, head: int, states: list[State] | None) -> None:
        if states:
            waited = self._telemetry.clock.now() - states[0].committed_at
            self._telemetry.record(WATCH_LAG, max(0, waited) / SECOND)
        super()._take(head, states)
