"""Pauses: holds runs and flows back, over all workers, until they are resumed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from stepflow.drivers.port.commit import Commit, Peer
from stepflow.drivers.port.pauses import FlowPause, Pause, PausedFlowRow, PausedFlowsQuery
from stepflow.drivers.port.queries import OwnerQuery, Tally, TallyQuery
from stepflow.engine.checks import NAME_BYTES
from stepflow.engine.client.waiters import not_found
from stepflow.engine.clock import Clock, moment
from stepflow.engine.commit.committer import Committer
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import NotFound, StepflowError
from stepflow.model.checks import checked_size
from stepflow.model.flow import Flow
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.suggest import suggest
from stepflow.model.topic import TOPIC

log = logging.getLogger("stepflow")


@frozen
class PausedFlow:
    """A flow of which no worker takes a run, and since when."""

    flow: str
    since: datetime


class Pauses:
    """The pauses of one namespace; they are stored, and every claim of every worker honours them."""

    def __init__(self, clock: Clock, committer: Committer, notifier: Notifier, reader: StoreReader) -> None:
        self._clock, self._committer, self._notifier, self._reader = clock, committer, notifier, reader

    async def set_run(self, run_id: str, *, paused: bool) -> None:
        """Pause a run, or let it go on; RunEnded if it has ended, NotFound if there is none."""
        try:
            await self._committer.submit(Commit(pause=(Pause(run_id, paused),)))
        except NotFound:
            raise not_found(run_id) from None
        self._changed(run_id)

    async def set_flow(self, name: str, *, paused: bool) -> None:
        """Pause a flow, or let its runs be taken again."""
        await self._committer.submit(Commit(flow_pause=FlowPause(name, paused, self._clock.now())))
        self._changed("")

    async def warn_of(self, name: str) -> None:
        """Log that a pause may have a wrong name: no worker is there that claims runs of such a flow, nor is a run of it stored."""
        peers: Sequence[Peer] = await self._reader.read(OwnerQuery())
        tally: Sequence[Tally] = await self._reader.read(TallyQuery(self._clock.now()))
        known = ({one for peer in peers for one in peer.owner.flows} | {row.flow for row in tally}) - OWN_FLOWS
        if name not in known:
            similar = suggest(name, known)
            log.warning(
                "flow %r is paused, but no worker at work has registered it, and no run of it is stored%s To take the pause back,"
                " resume the flow of this name.",
                name, f": did you mean {similar!r}?" if similar else ".", extra={"event": "paused", "flow": name},
            )  # fmt: skip

    def _changed(self, run_id: str) -> None:
        if run_id:
            self._notifier.run_changed(run_id)
        self._notifier.schedule_at(0)

    async def flows(self) -> list[PausedFlow]:
        """The flows that are paused, by name."""
        found: Sequence[PausedFlowRow] = await self._reader.read(PausedFlowsQuery())
        return [PausedFlow(one.flow, moment(one.since)) for one in found]

    async def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(one.flow for one in await self._reader.read_brief(PausedFlowsQuery()))


def flow_name(flow: object, call: str) -> str:
    """The name of a flow that is given itself or by its name."""
    name = flow.name if isinstance(flow, Flow) else flow
    if not isinstance(name, str) or not name:
        raise StepflowError(f"{call}({flow!r:.80}): give a flow, or its name")
    if name == TOPIC:
        raise NotFound(f"{call}({name!r}): the messages of topics are not paused: pause the runs that wait for them")
    try:
        return checked_size("name", name, NAME_BYTES)
    except StepflowError as error:
        raise NotFound(f"no flow has such a name: {error}") from None
