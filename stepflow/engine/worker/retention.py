"""Retention: deletes runs that ended long ago, in small transactions with pauses between them, while a worker is at work."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.pruning import Pruned
from stepflow.drivers.port.store import Maintenance
from stepflow.engine.clock import Clock, microseconds
from stepflow.engine.threads.futures import off_loop
from stepflow.errors import ReadOnly

T = TypeVar("T")
log = logging.getLogger("stepflow")
EVERY_S = 3600.0
SHARE = 0.05  # of the retention: a run stays at most that much longer than asked for, down to intervals of
SHORTEST_S = 0.1
MANY = 1 << 31  # runs of one pruning
PAUSE = 3.0  # how long to pause after a piece, as a multiple of the time that it took
LONGEST_PAUSE_S = 1.0
LAST_PIECE_S = 5.0  # how long the end of a cancelled pruning is waited for


class Pruner:
    """Prunes the runs of one namespace that ended `keep` ago (None: never); their ids stay refused for `keep_ids` (None: not at all)."""

    def __init__(
        self,
        maintenance: Callable[[str], Maintenance],
        namespace: str,
        clock: Clock,
        keep: timedelta | None,
        keep_ids: timedelta | None = None,
    ) -> None:
        self._maintenance, self._namespace, self._clock, self._keep = maintenance, namespace, clock, keep
        self._keep_ids = keep_ids
        self.guard = Guard("pruning", self.every_s)
        self._next = float("-inf")  # monotonic time of the next pruning
        self._refused = False

    @property
    def every_s(self) -> float:
        """Seconds between two prunings."""
        keep_s = EVERY_S if self._keep is None else self._keep.total_seconds() * SHARE
        return min(max(keep_s, SHORTEST_S), EVERY_S)

    async def run(self) -> None:
        """Prune again and again, until cancelled; the first time now. A store that may not be pruned from here is no failure."""
        if (keep := self._keep) is None:
            return

        async def turn() -> bool:
            await asyncio.sleep(max(0.0, self._next - self._clock.monotonic()))
            try:
                await self.prune_old(keep)
            except ReadOnly as error:
                log.log(
                    logging.DEBUG if self._refused else logging.WARNING, "old runs are not pruned from here: %s", error
                )
                self._refused = True
            self._next = self._clock.monotonic() + self.every_s
            return True

        await self.guard.run_task(turn, asyncio.sleep)

    async def prune_old(self, older_than: timedelta, report: Callable[[int, int], object] | None = None) -> Pruned:
        """Delete what ended longer ago, with a pause after each transaction so that others have their usual share of the store."""
        now, keep_ids = self._clock.now(), self._keep_ids
        keep_until = 0 if keep_ids is None else now + microseconds(keep_ids)
        before, total = now - microseconds(older_than), Pruned()
        pieces = _Pieces(self._maintenance(self._namespace).pruning(before, MANY, now=now, keep_until=keep_until))
        try:
            began = self._clock.monotonic()
            while (piece := await self._call(pieces.make)) is not None:
                total += piece
                if report is not None:
                    report(total.runs - total.own, total.revisions)
                if not self._clock.virtual:
                    await asyncio.sleep(min((self._clock.monotonic() - began) * PAUSE, LONGEST_PAUSE_S))
                began = self._clock.monotonic()
        finally:
            await self._call(pieces.close)
        return total

    async def forget_ids(self) -> None:
        """Delete some of the kept ids whose time is over, the oldest first: those of one transaction."""
        pieces = _Pieces(self._maintenance(self._namespace).pruning(0, 0, now=self._clock.now()))
        try:
            await self._call(pieces.make)
        finally:
            await self._call(pieces.close)

    async def _call(self, fn: Callable[[], T]) -> T:
        """Call a function that uses the store in a thread; one that has begun comes to its end before a cancellation goes on."""
        if self._clock.virtual:
            return fn()
        call = asyncio.ensure_future(off_loop(fn))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call], timeout=LAST_PIECE_S)
            raise


class _Pieces:
    """The pieces of one pruning. They are made and closed in threads; a thread whose piece hangs is not waited for, and closes them then."""

    def __init__(self, pieces: Iterator[Pruned]) -> None:
        self._pieces, self._changing = pieces, threading.Lock()
        self._making = self._closed = False

    def make(self) -> Pruned | None:
        """The next piece; None if there is none, or if they were closed."""
        with self._changing:
            if self._closed:
                return None
            self._making = True
        try:
            return next(self._pieces, None)
        finally:
            with self._changing:
                self._making, closed = False, self._closed
            if closed:
                self._end()

    def close(self) -> None:
        """Make no more of them; what the iterator holds goes now, or with the end of the piece that is being made."""
        with self._changing:
            self._closed, making = True, self._making
        if not making:
            self._end()

    def _end(self) -> None:
        close = getattr(self._pieces, "close", None)  # of a generator
        if close is not None:
            close()
