"""Follower: keeps the local queue up with the log of the server: what others committed, and which delays there are."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event

from stepflow.drivers.http.flowstate import messages as m
from stepflow.drivers.http.flowstate.queue import LocalQueue
from stepflow.drivers.http.flowstate.reads import Reads, plain
from stepflow.drivers.port.delays import Delay

LOOK = 500_000  # microseconds between two looks, unless the newest revision is known to have changed
EACH = 16  # looks of which one asks whether the server lost revisions
LAST = 253_402_300_799 * m.SECOND  # the last second of the year 9999


class Follower:
    """Reads the log and the delays once, and then what is new. Not thread-safe, but for `hurry`."""

    def __init__(self, reads: Reads, queue: LocalQueue) -> None:
        self._reads, self._queue = reads, queue
        self._flows: frozenset[str] = frozenset()
        self._news = Event()
        self._restart()

    def _restart(self) -> None:
        self._rev, self._offset, self._timeline = 0, 0, self._reads.timeline
        self._looked: int | None = None
        self._looks = 0

    def hurry(self) -> None:
        """There is news: the next look is not put off."""
        self._news.set()

    def look(self, flows: Mapping[str, str], now: int) -> None:
        """Read what is new, for a worker with these flows; not more often than every LOOK."""
        if not self._flows.issuperset(flows):
            self._flows |= frozenset(flows)
            self._restart()
        if self._looked is not None and 0 < now - self._looked < LOOK and not self._news.is_set():
            return  # at the same virtual time others may have been at work
        self._news.clear()
        if self._looks % EACH == 0:
            self._reads.newest()
        self._looks += 1
        if self._reads.timeline != self._timeline:  # the server lost revisions, and perhaps all States
            self._queue.clear()
            self._restart()
            self._looks = 1
        for delay in self._reads.window(0, LAST, self._offset):
            self._offset = max(self._offset, delay.offset)
            if delay.commit and (delay.due > now or delay.state.transition.to in self._flows):
                self._queue.add_delay(Delay(plain(delay.state), delay.due, True, delay.offset))
        for state in self._reads.log(self._rev, latest_only=self._rev == 0):
            self._rev = state.rev
            self._queue.moved(plain(state), self._flows)
        self._looked = now
