"""Run: everything that the memory store keeps of one run."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field

from stepflow.drivers.port.commit import Created, Event, Record
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import Revision
from stepflow.drivers.port.rules import EventKey
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import State


@define
class MemoryRun:
    """Everything of one run. `events` maps names and publish ids to the event, or to None once it was consumed."""

    state: State
    created: Created
    exchange: str
    row: QueueRow | None = None
    priority: int = 0
    limits: str = ""
    revisions: list[Revision] = field(factory=list)
    events: dict[EventKey, Event | None] = field(factory=dict)
    delay: Delay | None = None

    def pending(self) -> list[Event]:
        """The events that no wait took yet, in order of seq."""
        return [event for event in self.events.values() if event is not None]

    def consume(self, seq: int) -> None:
        """Take a pending event; its publish id stays known."""
        self.events[next((event.name, event.id) for event in self.pending() if event.seq == seq)] = None

    def record(self, full: bool = True) -> Record:
        """The run as others see it."""
        if full:
            return Record(self.state, self.created, self.exchange, self.row, tuple(self.pending()), self.delay)
        return Record(self.state, self.created, "", self.row)


def own(mapping: Mapping[str, str], last: Mapping[str, str]) -> Mapping[str, str]:
    """A copy, so that the caller's later changes do not reach the store; unchanged maps are shared."""
    return last if mapping is last else dict(mapping)
