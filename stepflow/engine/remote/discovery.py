"""Discovery: reads which hosts are registered in the store, and gives the engine the flows that they serve."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.queries import HistoryQuery, RunQuery
from stepflow.engine.clock import Clock
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.remote.caller import FlowCaller, HostSearch
from stepflow.engine.remote.host_table import HostTable
from stepflow.engine.remote.remote_function import RemoteFunction
from stepflow.engine.store_reader import StoreReader
from stepflow.model.flow import Flow
from stepflow.model.host import HOST, HOST_FLOW, REMOTE, FlowHost, flowstate_host_of, host_of
from stepflow.model.state import State

LOOK_S = 1.5  # between two looks of an engine at work
ANEW = 20  # looks, of which one reads all registrations of Go programs: a store that went back has them at revisions that were read
MOST_HOSTS = 1000
PAGE = 200
log = logging.getLogger("stepflow")


class Discovery(HostSearch):
    """Puts a RemoteFunction into `flows` for each flow that is served and not registered here."""

    def __init__(
        self,
        caller: FlowCaller,
        reader: StoreReader,
        clock: Clock,
        notifier: Notifier,
        flows: dict[str, Flow[Any, Any]],
    ) -> None:
        self._caller, self._reader, self._clock, self._notifier, self._flows = caller, reader, clock, notifier, flows
        self._table = HostTable(clock)
        self._since, self._looks, self._flowstate = 0, 0, dict[str, FlowHost]()
        self._told: set[str] = set()  # registrations of which the log says that they are not used
        self.guard = Guard("remote flows", LOOK_S)

    async def look(self) -> None:
        """Read the registrations. Raises the StoreErrors of reading."""
        query = RunQuery(self._clock.now(), flow=HOST, status="running", limit=MOST_HOSTS)
        found = [host for record in await self._reader.read(query) if (host := self._host(record.state))]
        if self._caller.flowstate:
            await self._look_for_flowstate()
            found += self._flowstate.values()
        self._table.update([host for host in found if self._allowed(host)])
        self._flows.setdefault(HOST, HOST_FLOW)
        for name, options in self._table.flows().items():
            known = self._flows.get(name)
            if known is None or (isinstance(known, RemoteFunction) and known.options != options):
                self._flows[name] = RemoteFunction(name, options, self._table, self._caller, self._clock)
        if any(map(self._table.available, self._table.flows())):
            self._notifier.schedule_at(
                0
            )  # nothing else tells that a host may be called again which was not for a while

    async def run(self) -> None:
        """Look again and again, until cancelled."""

        async def turn() -> bool:
            await asyncio.sleep(LOOK_S)
            await self.look()
            return True

        await self.guard.run_task(turn, asyncio.sleep)

    async def close(self) -> None:
        """End the connections to hosts."""
        await self._caller.close()

    async def _look_for_flowstate(self) -> None:
        if self._looks % ANEW == 0:
            self._since = 0
            self._flowstate.clear()
        self._looks += 1
        while True:
            query = HistoryQuery(since_rev=self._since, limit=PAGE, labels=(REMOTE,), latest_only=True, exchange=False)
            page = [revision.state for revision in await self._reader.read(query)]
            for state in page:
                self._since = state.rev
                if (host := flowstate_host_of(state)) is None:
                    self._flowstate.pop(state.id, None)
                else:
                    self._flowstate[state.id] = host
            if len(page) < PAGE:
                return

    def _host(self, state: State) -> FlowHost | None:
        try:
            return host_of(state)
        except ValueError as error:
            self._tell(state.id, f"the registration {state.id!r} of a host cannot be read: {error}")
            return None

    def _allowed(self, host: FlowHost) -> bool:
        problem = self._caller.problem(host.url)
        if problem:
            self._tell(
                host.id, f"host {host.url!r:.200} of {', '.join(sorted(host.flows)):.200} is not called: {problem}"
            )
        return not problem

    def _tell(self, key: str, text: str) -> None:
        """Log once."""
        if key not in self._told and len(self._told) < MOST_HOSTS:
            self._told.add(key)
            log.warning("%s", text)
