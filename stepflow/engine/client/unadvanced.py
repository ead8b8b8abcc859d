"""Unadvanced: warns, once per wait, that a task waits for a run of a flow that no engine advances, and once that an engine has registered no flow."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from stepflow.drivers.port.commit import Peer, Record
from stepflow.drivers.port.queries import OwnerQuery, TallyQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.store_reader import StoreReader
from stepflow.model.lifecycle import Status
from stepflow.model.own_flows import OWN_FLOWS

AFTER_S = 4.0  # of waiting; less than the poll of waiters, which asks for the look
AT_ONCE = 20  # runs that are loaded by one look; a later one goes on
NAMED = 5  # flows that a warning names
UNDONE = (Status.QUEUED, Status.SLEEPING, Status.WAITING, Status.BLOCKED)  # what a worker would have to do with
log = logging.getLogger("stepflow")


class Wait(Hashable, Protocol):
    """A task that waits for a run."""

    run_id: str


class Unadvanced:
    """The waits of one engine that were not looked at yet; lives on the event loop."""

    def __init__(
        self, store: Store, reader: StoreReader, clock: Clock, lifetime: Lifetime, own_id: str, flows: Mapping[str, Any]
    ) -> None:
        self._store, self._reader, self._clock, self._lifetime = store, reader, clock, lifetime
        self._own_id, self._flows = own_id, flows
        self._told_unregistered = False
        self._waits: dict[Wait, float] = {}  # the oldest first, with the time from which they are looked at

    def add(self, wait: Wait) -> None:
        """A task begins to wait."""
        self._waits[wait] = self._clock.monotonic() + AFTER_S

    def remove(self, wait: Wait) -> None:
        """It does not wait any more."""
        self._waits.pop(wait, None)

    async def look(self) -> None:
        """Read the runs of waits that are old enough, and the owners, and log a warning for each flow without a worker."""
        now, ids = self._clock.monotonic(), dict[str, None]()
        for wait, due in list(islice(self._waits.items(), AT_ONCE)):
            if due > now:
                break
            del self._waits[wait]
            ids[wait.run_id] = None
        if not ids:
            return
        records, peers = await self._reader.call(self._read, list(ids))
        for flow, runs in self._without_worker(records, peers).items():
            more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            log.warning(
                "no engine advances flow %r: result() of run %r%s waits for a worker; %s",
                flow, runs[0], more, self._remedy(flow), extra={"event": "unadvanced", "run_id": runs[0], "flow": flow},
            )  # fmt: skip

    async def look_unregistered(self) -> None:
        """Log one warning in the life of the engine if it has registered no flow, and the store has runs that a worker would advance."""
        if self._told_unregistered or self._flows.keys() - OWN_FLOWS:
            return
        undone: dict[str, int] = {}
        for one in await self._reader.read(TallyQuery(self._clock.now())):
            if one.status in UNDONE and one.flow not in OWN_FLOWS:
                undone[one.flow] = undone.get(one.flow, 0) + one.count
        if not undone:
            return
        self._told_unregistered = True
        most = sorted(undone.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{count:,} of flow {flow!r}" for flow, count in most[:NAMED]]
        named += [f"those of {len(most) - NAMED} more flows"] if len(most) > NAMED else []
        log.warning(
            "run_until_idle() advances no run: no flow is registered in this engine; the store has %s: call engine.register(FLOW) before",
            ", ".join(named), extra={"event": "unregistered", "flows": [flow for flow, _count in most[:NAMED]]},
        )  # fmt: skip

    def _read(self, ids: Sequence[str]) -> tuple[Sequence[Record | None], Sequence[Peer]]:
        return self._store.load(ids), self._store.read(OwnerQuery())

    def _without_worker(self, records: Sequence[Record | None], peers: Sequence[Peer]) -> dict[str, list[str]]:
        """Flow -> those of the runs that go to it, for the flows that no live owner claims."""
        live = [peer.owner for peer in peers if peer.lock != "free" and peer.owner.id != self._own_id]
        claimed = {flow for owner in live for flow in owner.flows} | (
            set(self._flows) if self._lifetime.at_work else set()
        )
        found: dict[str, list[str]] = {}
        for record in records:
            if record is None or (record.row is not None and (record.row.owner or record.row.paused)):
                continue
            flow = record.state.transition.to
            if flow and flow not in claimed:
                found.setdefault(flow, []).append(record.state.id)
        return found

    def _remedy(self, flow: str) -> str:
        if flow in self._flows:
            return "this engine has registered it, but does not work: use engine.worker() or run_until_idle()"
        return "run `stepflow worker MODULE`, or register it here and use engine.worker()"
