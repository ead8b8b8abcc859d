"""broadcast: publishes one event to every run that has some labels and has not ended."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from stepflow.drivers.port.commit import Commit, Event
from stepflow.drivers.port.queries import RunQuery
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import NotFound, RunEnded

AT_ONCE = 200  # events of one commit


class Broadcast:
    """One broadcast. Runs are found in pages, the newest first, and each page is one commit.

    Runs that are started meanwhile come before the first page: those that exist at the last commit are found by looking at the newest
    runs again, up to the newest one that was found before.
    """

    def __init__(self, committer: Committer, reader: StoreReader, clock: Clock, labels: Mapping[str, str]) -> None:
        self._committer, self._reader, self._clock, self._labels = committer, reader, clock, labels
        self._reached: set[str] = set()
        self._found: set[str] = set()

    async def publish(self, event: Event) -> int:
        """Publish the event to each of the runs; how many of them have it now."""
        await self._pass(event)
        await self._pass(event)
        return len(self._reached)

    async def _pass(self, event: Event) -> None:
        query = RunQuery(self._clock.now(), labels=self._labels, limit=AT_ONCE, open=True)
        while page := await self._reader.read(query):
            ids = [record.state.id for record in page]
            new = [run_id for run_id in ids if run_id not in self._found]
            self._found.update(new)
            if new:
                await self._give([evolve(event, run_id=run_id) for run_id in new])
            if len(new) < len(ids):
                return
            query = evolve(query, after=query.key_of(page[-1]))

    async def _give(self, events: list[Event]) -> None:
        """Publish in one commit; if a run has ended meanwhile, to each of the others alone."""
        try:
            await self._committer.submit(Commit(publish=tuple(events)))
        except (RunEnded, NotFound):
            if len(events) > 1:
                for event in events:
                    await self._give([event])
        else:
            self._reached.update(event.run_id for event in events)
