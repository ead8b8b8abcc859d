"""RecentTally: the numbers of runs by flow and status, counted less often the longer it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

QUICK_S = 0.05  # a count that took no longer is made for each page
REST = 20.0  # times what a count took: the time for which it is shown

Tallies = Mapping[str, Mapping[str, int]]
log = logging.getLogger("stepflow.server")


class RecentTally:
    """The last count of one engine; lives on the event loop.

    With many open runs a count takes longer than all else on a page. Then pages show the last one, and the next is made
    beside them; it is in the following update of a page that is open.
    """

    def __init__(
        self, count: Callable[[], Awaitable[Tallies]], monotonic: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        self._count, self._monotonic, self._changed = count, monotonic, changed
        self._last: Tallies | None = None
        self._took = 0.0
        self._until = 0.0
        self._counting: asyncio.Task[Tallies] | None = None

    async def read(self) -> Tallies:
        """The numbers, of now if they are quickly counted."""
        if self._last is not None and self._monotonic() < self._until:
            return self._last
        if self._counting is None:
            self._counting = asyncio.create_task(self._recount())
            self._counting.add_done_callback(_look)
        if self._last is not None and self._took > QUICK_S:
            return self._last
        return await asyncio.shield(self._counting)

    async def _recount(self) -> Tallies:
        begun = self._monotonic()
        try:
            self._last = await self._count()
        finally:
            self._counting = None
        self._took = self._monotonic() - begun
        if self._took > QUICK_S:
            self._until = self._monotonic() + REST * self._took
            self._changed()
        return self._last


def _look(counting: asyncio.Task[Tallies]) -> None:
    """A count that failed was perhaps made beside the pages, which show the one before."""
    if not counting.cancelled() and (error := counting.exception()) is not None:
        log.warning("the runs could not be counted", exc_info=error)
