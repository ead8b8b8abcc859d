"""Watching: every matching revision is delivered once, in order, by push where possible and by polling in any case.

One feed per engine reads the new revisions once for all watchers. It reads only up to the visible revision of the store:
no revision can appear below that any more. So a watcher misses none and sees none twice, whatever its labels are.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context
from itertools import islice
from typing import Any

from attrs import frozen

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.lease import ExecutionContext
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import RevisionsLost, Stopping, StoreError
from stepflow.model.cache import size_of_texts
from stepflow.model.state import State

KEPT = 2000  # revisions in memory: a watcher that lags further behind reads the store itself
KEPT_BYTES = 32 << 20  # of their texts
PAGE = 200
POLL_S = 1.0  # the period of polls; a notice of a change makes the next one earlier
RETRY_S = 0.5  # after an error of the store

Labels = tuple[Mapping[str, str], ...]
FAILED = "watching goes on after an error of the store: %s"
log = logging.getLogger("stepflow")


class RevisionFeed:
    """The newest revisions of a namespace, read once for all watchers of an engine; lives on the event loop."""

    def __init__(self, store: Store, clock: Clock, reader: StoreReader, notifier: Notifier) -> None:
        self._store, self._clock, self._store_reader, self._notifier = store, clock, reader, notifier
        self._states: list[State] = []
        self._bytes = 0  # of their texts
        self._floor = -1  # every revision above it up to `head` is in `_states`
        self.head = -1
        self._timeline, self._read_at = 0, 0  # of the store; when it was looked at last
        self.losses: list[int] = []  # after each loss of revisions the newest one that was still there
        self._closing = asyncio.Event()
        self.guard = Guard("feed")
        self._looking = asyncio.Lock()  # what one look takes is not read by another one, too
        self._waiting = 0
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._progress: asyncio.Future[None] = self._loop.create_future()
        self._reader: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_set()

    def notify(self) -> None:
        """There may be new revisions."""
        self._told.set()

    def wake(self) -> None:
        """Let all watchers check whether they should go on."""
        progress, self._progress = self._progress, self._loop.create_future()
        progress.set_result(None)

    async def close(self) -> None:
        """End all watchers."""
        self._closing.set()
        self.notify()
        self.wake()
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def wait(self) -> None:
        """Return when `head` has moved since the call, or when the watcher should check whether it goes on."""
        self._notifier.on_commit(self.notify)
        progress = self._progress
        self._waiting += 1
        if self._reader is None:
            reads, context = self.guard.run_task(self._turn, self._pause), Context()  # not the calling execution's
            self._reader = self._loop.create_task(reads, context=context)
            self._reader.add_done_callback(self._read_over, context=context)
        try:
            await asyncio.shield(progress)
        finally:
            self._waiting -= 1

    async def page(self, since: int, labels: Labels) -> tuple[list[State], int]:
        """Matching States after revision `since`, ascending, and the revision up to which that is all there is."""
        head = self.head
        if since >= self._floor:
            start = bisect_right(self._states, since, key=lambda state: state.rev)
            found = list(islice((s for s in islice(self._states, start, None) if matches(s, labels)), PAGE))
        else:
            query = HistoryQuery(since_rev=since, limit=PAGE, labels=labels, until_rev=head, exchange=False)
            found = [r.state for r in await self._store_reader.read(query)]
        return found, found[-1].rev if len(found) == PAGE else max(since, head)

    def _read_over(self, _reader: asyncio.Task[None]) -> None:
        """No watcher waits, or a step cancelled all tasks of the loop, the reader perhaps before it began."""
        self._reader = None
        self.wake()

    async def _turn(self) -> bool:
        """Follow the visible revision of the store while a watcher waits."""
        if not self._waiting or self.closed:
            return False
        self._told.clear()
        await self.look()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._clock.virtual else POLL_S):
                await self._told.wait()
        return True

    async def look(self) -> None:
        """Read what the store has after `head`."""
        async with self._looking:
            lost, head, states = await self._store_reader.call(self._news, self.head)
            if lost is not None:
                self.losses.append(lost)
                self.head, states = -1, None
            self._take(head, states)

    async def _pause(self, pause_s: float) -> None:
        """Wait after a failure; `close` ends it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._closing.wait()

    def _news(self, known: int) -> tuple[int | None, int, list[State] | None]:
        """The visible revision of the store, and the States after `known` up to it; None if they are too many to keep.

        First the newest revision that is still there, if the store lost some that were known.
        """
        now = self._clock.now()
        summary = self._store.next_due({}, now)
        head, before = summary.head, self._timeline
        lost = self._last_common(known) if summary.timeline != before and known >= 0 else None
        self._timeline, self._read_at = summary.timeline, now
        if lost is not None:
            return lost, head, None
        if head == known:
            return None, head, []
        if known < 0 or head - known > KEPT:
            return None, head, None
        query = HistoryQuery(since_rev=known, limit=KEPT, until_rev=head, exchange=False)
        return None, head, [revision.state for revision in self._store.read(query)]

    def _last_common(self, known: int) -> int:
        """The newest revision up to `known` that was there before the store lost some, and still is.

        What is not in memory was there before if it was committed before the last look at the store.
        """
        kept = {(state.rev, state.id, state.committed_at) for state in self._states}
        while known > 0:
            query = HistoryQuery(until_rev=known, limit=KEPT, last=True, exchange=False)
            found = [revision.state for revision in self._store.read(query)]
            for state in reversed(found):
                if (state.rev, state.id, state.committed_at) in kept or state.committed_at < self._read_at:
                    return state.rev
            known = found[0].rev - 1 if found else 0
        return 0

    def _take(self, head: int, states: list[State] | None) -> None:
        if head == self.head:
            return
        if states is None:
            self._states, self._bytes, self._floor = [], 0, head
        else:
            self._states += states
            self._bytes += sum(map(_bytes_of, states))
        self.head = head
        if len(self._states) > KEPT or self._bytes > KEPT_BYTES:
            self._drop_oldest()
        self.wake()

    def _drop_oldest(self) -> None:
        """Keep at most half of the bounds, so that this is not done for every revision."""
        kept, size = 0, 0
        for state in reversed(self._states):
            size += _bytes_of(state)
            if size > KEPT_BYTES // 2 or kept == KEPT // 2:
                break
            kept += 1
        dropped = self._states[: len(self._states) - kept]
        del self._states[: len(dropped)]
        self._bytes -= sum(map(_bytes_of, dropped))
        if dropped:
            self._floor = dropped[-1].rev


def _bytes_of(state: State) -> int:
    """About what a State needs in memory."""
    maps = (state.labels, state.annotations, state.transition.annotations)
    return sum(size_of_texts(*items) for texts in maps for items in texts.items()) + size_of_texts(
        state.transition.text
    )


def matches(state: State, labels: Labels) -> bool:
    """Whether a State has all labels of one of the groups; no groups match everything."""
    return not labels or any(group.items() <= state.labels.items() for group in labels)


@frozen
class Start:
    """Where a watcher begins: after revision `rev`, with States that were committed at `since` (microseconds UTC) or later."""

    rev: int
    since: int = 0


class Watch:
    """An endless iterator over States: `async for state in watch`, or `await watch.next(timeout)`.

    It survives errors of the store, but raises RevisionsLost once when revisions that it has delivered are gone. A wait that is cancelled loses nothing: the next one goes on where it was. When the
    engine is closed it raises Stopping.
    """

    def __init__(
        self,
        feed: RevisionFeed,
        labels: Labels,
        start: Callable[[], Coroutine[Any, Any, Start]],
        execution: ExecutionContext | None,
    ) -> None:
        self._feed, self._labels, self._start, self._execution = feed, labels, start, execution
        self._starting: asyncio.Task[Start] | None = None
        self._since, self._from = -1, 0  # the revision read last; the time before which nothing is wanted
        self._found: deque[State] = deque()
        self._losses = len(feed.losses)  # that this watch knows

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> State:
        self._check_losses()
        while not self._found:
            await self._more()
            self._check_losses()
        return self._found.popleft()

    async def next(self, timeout: float | None = None) -> State | None:  # noqa: ASYNC109 - the public name of the same idea
        """The next State, or None if there is none for `timeout` seconds; with 0 the next one that is in the store now."""
        if self._found:
            self._check_losses()
            return self._found.popleft()
        if timeout is not None and timeout <= 0:
            return await self._at_once()
        try:
            async with asyncio.timeout(timeout):
                return await self.__anext__()
        except TimeoutError:
            return None

    def _check_losses(self) -> None:
        """Raise RevisionsLost once if the store lost revisions that this watch has read."""
        losses = self._feed.losses
        if len(losses) > self._losses:
            last, self._losses = min(losses[self._losses :]), len(losses)
            if self._since > last:
                self._since = last
                self._found.clear()
                raise RevisionsLost(last)

    async def _at_once(self) -> State | None:
        """The next State without a wait for one; None, too, if the store cannot be read now."""
        feed = self._feed
        self._check_end()
        try:
            await feed.look()
            self._check_losses()
            await self._begin()
            while not self._found and feed.head > self._since:
                await self._read()
        except RevisionsLost:
            raise
        except StoreError as error:
            log.warning(FAILED, error)
        return self._found.popleft() if self._found else None

    async def _more(self) -> None:
        self._check_end()
        try:
            await self._begin()
            if self._feed.head <= self._since:
                await self._pause(self._execution)
            else:
                await self._read()
        except StoreError as error:
            log.warning(FAILED, error)
            await asyncio.sleep(RETRY_S)

    def _check_end(self) -> None:
        """Raise Stopping if the engine is being closed, or the execution that watches is to stop."""
        if self._feed.closed or (self._execution is not None and self._execution.stopping()):
            raise Stopping("the engine is being closed: this watch has come to its end")

    async def _begin(self) -> None:
        if self._since < 0:
            start = await self._started()
            self._since, self._from = start.rev, start.since

    async def _read(self) -> None:
        found, self._since = await self._feed.page(self._since, self._labels)
        self._found.extend(state for state in found if state.committed_at >= self._from)

    async def _started(self) -> Start:
        """Where the watch begins: found out once, even if a wait for it is cancelled."""
        if self._starting is None or (self._starting.done() and self._starting.exception() is not None):
            self._starting = asyncio.ensure_future(self._start())
        return await asyncio.shield(self._starting)

    async def _pause(self, execution: ExecutionContext | None) -> None:
        if execution is None:
            await self._feed.wait()
            return
        execution.waiting = True
        try:
            await self._feed.wait()
        finally:
            execution.waiting = False
