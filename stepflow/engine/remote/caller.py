"""FlowCaller: the port by which an engine calls flow functions on hosts, and how a call can fail.

The caller makes what looks for hosts: an engine without one imports none of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from stepflow.drivers.port.background import Guard
from stepflow.engine.clock import Clock
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.flow import Flow
from stepflow.model.host import FlowHost


class NotCalled(Exception):
    """A host was not reached, or refused the call: the function was not executed there, another host may execute it."""

    def __init__(self, why: str, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class HostSearch(ABC):
    """Finds the hosts that are registered in the store of one engine, and gives the engine the flows that they serve."""

    guard: Guard

    @abstractmethod
    async def look(self) -> None:
        """Read the registrations. Raises the StoreErrors of reading."""

    @abstractmethod
    async def run(self) -> None:
        """Look again and again, until cancelled."""

    @abstractmethod
    async def close(self) -> None:
        """End the connections to hosts."""


class FlowCaller(ABC):
    """Sends States to hosts, and takes the commands that they answer. One may serve several engines, each on its own event loop."""

    flowstate: bool
    """Whether hosts that flowstate programs registered are called, too."""

    @abstractmethod
    def search(
        self, reader: StoreReader, clock: Clock, notifier: Notifier, flows: dict[str, Flow[Any, Any]]
    ) -> HostSearch:
        """What looks for hosts for an engine, and puts the flows that they serve into `flows`."""

    @abstractmethod
    def problem(self, url: str) -> str:
        """Why this host may not be called; empty if it may. Decided by the URL alone."""

    @abstractmethod
    async def call(self, host: FlowHost, ctx: StateCtx, limit_s: float | None, now: int) -> c.Command:
        """The command that the function returned, about `ctx`, whose edits by the function are taken over; HandOver if the host goes on itself.

        Raises NotCalled if the function was not executed, RemoteFailed with what it raised, and CallLost if it may have been executed and its
        answer did not come within `limit_s` seconds (at most the caller's own limit) or cannot be used. `now` is the time of
        the store, microseconds UTC.
        """

    @abstractmethod
    async def close(self) -> None:
        """The engine on this event loop is closed: end its connections."""
