"""The values of pauses that cross the port: marks of runs, and flows of which no run is claimed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from attrs import frozen


class Pause(NamedTuple):
    """Pause a run, or let it go on (`paused` False). A run that is as it shall be stays so.

    A run that no worker holds is not claimed from then on; a holder must give it up with its next commit.
    """

    id: str
    paused: bool = True


class FlowPause(NamedTuple):
    """Pause a flow at the time `at` (microseconds UTC), or let its runs be claimed again (`paused` False)."""

    flow: str
    paused: bool
    at: int


class PausedFlowRow(NamedTuple):
    """A flow of which no run is claimed, and since when (microseconds UTC)."""

    flow: str
    since: int


@frozen
class PausedFlowsQuery:
    """The flows that are paused, as PausedFlows by name."""


def without(flows: Mapping[str, str], paused: Collection[str]) -> Mapping[str, str]:
    """These flows (name -> definition), but for the paused ones."""
    return {flow: definition for flow, definition in flows.items() if flow not in paused} if paused else flows
