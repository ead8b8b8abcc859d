"""Registration: registers a host in the store, keeps it registered while it serves, and withdraws it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import Commit, Created, Dequeue, Enqueue, Fence, Write
from stepflow.drivers.port.step import Step
from stepflow.engine.clock import Clock, uuid7
from stepflow.engine.commit.committer import Committer
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import CancelRequested, LostClaim, RevMismatch
from stepflow.model import outcome as outcomes
from stepflow.model.flow import FlowOptions
from stepflow.model.host import HOST, registration
from stepflow.model.state import State

CHECK_S = 2.0
log = logging.getLogger("stepflow")


class Registration:
    """The registration of one host. Its engine beats meanwhile: the claim on the registration shows that the host lives."""

    def __init__(
        self, url: str, flows: Mapping[str, FlowOptions], committer: Committer, reader: StoreReader, clock: Clock
    ) -> None:
        self._url, self._flows = url, flows
        self._committer, self._reader, self._clock = committer, reader, clock
        self._held: tuple[State, Fence] | None = None
        self._leaving = False
        self.guard = Guard("registration", CHECK_S)

    async def register(self) -> None:
        """Make it. Raises the StoreErrors of the commit."""
        now, run_id = self._clock.now(), f"{HOST}/{uuid7(self._clock)}"
        state = registration(run_id, self._url, self._flows, now)
        row = Enqueue(run_id, HOST, now, owned=True)
        done = await self._committer.submit(Commit(writes=(Write(state, None, Created(HOST, "", now)),), queue=(row,)))
        self._held = state._replace(rev=done.revs[0]), Fence(run_id, done.epochs[0])
        log.info("host %s serves %s", self._url, ", ".join(sorted(self._flows)))

    async def keep(self) -> None:
        """Look again and again whether it is still held, until cancelled; make it anew if others took this host for dead."""

        async def turn() -> bool:
            await asyncio.sleep(CHECK_S)
            await self.check()
            return True

        await self.guard.run_task(turn, asyncio.sleep)

    async def check(self) -> None:
        """Make it anew if it was lost."""
        if self._held is None or self._leaving:
            return
        _state, fence = self._held
        (record,) = await self._reader.load([fence.id])
        if record is None or record.row is None or record.row.epoch != fence.epoch:
            log.warning("the registration of host %s was lost: it is made anew", self._url)
            await self.register()

    async def withdraw(self) -> None:
        """End it: callers call the host no more. Does nothing the second time."""
        self._leaving = True
        if self._held is None:
            return
        (state, fence), self._held = self._held, None
        for status in ("completed", "cancelled"):
            final = outcomes.final(state.transition, status, "")
            over = Dequeue(state.id)
            try:
                await self._committer.submit(
                    Step(state.id, fence.epoch, state.rev, final, state.labels, state.annotations, None, over)
                )
            except CancelRequested:
                continue  # it may end only as cancelled
            except (LostClaim, RevMismatch):
                log.info("the registration of host %s had been lost", self._url)
            else:
                log.info("host %s left", self._url)
            return
