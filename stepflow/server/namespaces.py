"""Namespaces: the engines of a server, one for each namespace that is asked for."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from attrs import define

from stepflow.drivers.port.notes import AUDIT
from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.client import Client
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.instrument.telemetry import ServerMetrics
from stepflow.engine.states.unclaimed_states import UnclaimedStates
from stepflow.engine.store_reader import StoreReader
from stepflow.model.flow import Flow
from stepflow.server.change_signal import ChangeSignal
from stepflow.server.errors import Refusal
from stepflow.server.prometheus_meter import PrometheusMeter
from stepflow.server.recent_tally import RecentTally

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LAST_S = 3.0  # for requests that were cancelled when the grace of the server was over
MAX_OPEN = 64  # engines; each has a thread, and its files
MAX_OPEN_ON_POSTGRESQL = 16  # each has two connections or more, of the 100 that a server has for all its clients


class ServedEngine(AsyncEngine):
    """An engine with what only a server offers."""

    def __init__(self, driver: Driver, *, namespace: str) -> None:
        self.meter, self.changes = PrometheusMeter(), ChangeSignal()
        super().__init__(driver, namespace=namespace, instrument=ServerMetrics(meter=self.meter))
        self.recent_tally = RecentTally(self.tally, self._clock.monotonic, self.changes.notify)

    def hear_changes(self) -> None:
        """Let `changes` hear of every change of the store from now on."""
        self._session.notifier.on_commit(self.changes.notify)

    @property
    def unclaimed(self) -> UnclaimedStates:
        """The commands of programs elsewhere that advance their States themselves."""
        return self._session.unclaimed

    @property
    def client(self) -> Client:
        """What it may do with runs by their ids, with their stored records."""
        return self._session.client

    @property
    def reader(self) -> StoreReader:
        """The queries of the store."""
        return self._session.reader

    @property
    def committer(self) -> Committer:
        """The writes to the store."""
        return self._session.committer

    @property
    def clock(self) -> Clock:
        """The time of the store."""
        return self._clock

    @property
    def flows(self) -> dict[str, Flow[Any, Any]]:
        """The flows that the server knows."""
        return self._session.flows


@define
class _Open:
    """An engine, and how many requests use it."""

    engine: ServedEngine
    opened: asyncio.Future[ServedEngine]
    users: int = 0


class Namespaces:
    """The engines of one store. They are opened when they are first asked for, on the event loop that asks.

    More than MAX_OPEN, or MAX_OPEN_ON_POSTGRESQL, are not kept open: the one that was not asked for the longest is closed, if no request uses it.
    """

    def __init__(self, driver: Driver, clock: Clock, flows: Sequence[Flow[Any, Any]] = ()) -> None:
        """`flows` are known to each engine; none of them advances runs."""
        self._driver, self.clock, self._flows = driver, clock, flows
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._closing = self._closed = False
        self._stopping, self._left = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def engine(self, namespace: str) -> AsyncIterator[ServedEngine]:
        """The engine of a namespace, for one request. Raises Refusal for a name that cannot be one, and StoreErrors."""
        if namespace and not NAME.fullmatch(namespace):
            raise Refusal(
                400, "invalid_argument", f"namespace {namespace!r:.120}: use letters, digits, '.', '_' and '-'"
            )
        if self._closed or (self._closing and namespace != AUDIT):  # what was interrupted is still written there
            raise Refusal(503, "unavailable", "the server is shutting down")
        entry = self._open.get(namespace)
        if entry is None:
            engine = ServedEngine(self._driver, namespace=namespace)
            engine.register(*self._flows)
            entry = self._open[namespace] = _Open(engine, asyncio.ensure_future(engine.open()))
        entry.users += 1  # from now on it stays open
        self._open.move_to_end(namespace)
        try:
            yield await self._opened(namespace, entry)
        finally:
            entry.users -= 1
            self._left.set()
            await self._close_idle()

    async def _opened(self, namespace: str, entry: _Open) -> ServedEngine:
        """The engine as soon as it is open; one that cannot be opened is forgotten, and raises why to each that waits."""
        try:
            await asyncio.shield(entry.opened)
        except Exception:
            if self._open.get(namespace) is entry:
                del self._open[namespace]
            raise
        return entry.engine

    async def _close_idle(self) -> None:
        most = MAX_OPEN_ON_POSTGRESQL if self._driver.url.startswith("postgres") else MAX_OPEN
        idle = [name for name, entry in self._open.items() if not entry.users]
        for name in idle[: max(0, len(self._open) - most)]:
            await self._open.pop(name).engine.close()

    def stop(self) -> None:
        """End the streams of events, which would last as long as those who read them."""
        self._stopping.set()
        for entry in self._open.values():
            entry.engine.changes.stop()

    async def pause(self, seconds: float) -> bool:
        """Wait; False, at once, if the streams of events shall end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return not self._stopping.is_set()

    async def close(self) -> None:
        """Close all engines; requests that come from now on are refused. Those that were interrupted have LAST_S seconds to end."""
        self._closing = True
        self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while any(entry.users for entry in self._open.values()):
                    self._left.clear()
                    await self._left.wait()
        self._closed = True
        while self._open:
            _name, entry = self._open.popitem()
            await asyncio.wait([entry.opened])
            if entry.opened.exception() is None:
                await entry.engine.close()
