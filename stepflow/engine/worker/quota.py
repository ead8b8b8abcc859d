"""Quota: of which flows a worker may claim next, and how many runs of each, given what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from stepflow.engine.execution.attempt import Attempt
from stepflow.model.flow import Flow

Flows = Mapping[str, Flow[Any, Any]]


class Turns:
    """Which flow goes first: the one of which the worker holds the fewest runs, then the one that was served longest ago."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._count = 0

    def served(self, flow: str) -> None:
        """Note that a run of this flow was claimed."""
        self._count += 1
        self._served[flow] = self._count

    def order(self, flows: Flows, held: Collection[Attempt]) -> Flows:
        """The flows in the order of their turns."""
        if len(flows) < 2:
            return flows
        counts = Counter(attempt.flow.name for attempt in held)
        return dict(sorted(flows.items(), key=lambda item: (counts[item[0]], self._served.get(item[0], 0))))


class Definitions(Mapping[str, str]):
    """Flows as the store takes them: name -> definition hash.

    A hash is made when it is asked for: that of a chain of a thousand steps takes as long as several steps, and what asks for it
    most is a look at what may be due later, behind the claim.
    """

    def __init__(self, flows: Flows) -> None:
        self._flows = flows

    def __getitem__(self, name: str) -> str:
        return self._flows[name].definition

    def __iter__(self) -> Iterator[str]:
        return iter(self._flows)

    def __len__(self) -> int:
        return len(self._flows)


def definitions(flows: Flows, without: Collection[str] = ()) -> Mapping[str, str]:
    """The flows of which runs may be claimed now, but for those."""
    return Definitions({name: flow for name, flow in flows.items() if flow.available and name not in without})


def free_slots(flows: Flows, held: Collection[Attempt]) -> dict[str, int]:
    """How many more runs of each flow with a limit of its own may be held here, 0 or more."""
    return {
        name: max(0, flow.options.concurrency - sum(attempt.flow.name == name for attempt in held))
        for name, flow in flows.items()
        if flow.options.concurrency is not None and flow.available
    }


def flows_with_free_slots(flows: Flows, held: Collection[Attempt]) -> Mapping[str, str]:
    """The definitions of the flows that are not at their own limit."""
    return definitions(flows, without=[name for name, slots in free_slots(flows, held).items() if slots == 0])


def quota(flows: Flows, held: Collection[Attempt], free: int) -> list[tuple[Mapping[str, str], int]]:
    """What to claim: flows that may fill all `free` slots together, the others each up to its own limit; in their order."""
    tight = {name: slots for name, slots in free_slots(flows, held).items() if slots < free}
    wide = definitions(flows, without=tight)
    found: list[tuple[Mapping[str, str], int]] = [
        (Definitions({name: flows[name]}), slots) for name, slots in tight.items() if slots
    ]
    return [*found, (wide, free)] if wide else found
