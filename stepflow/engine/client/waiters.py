"""RunWaiters: one registry per engine of the tasks that wait for the end of a run, which reads the store for all of them.

News of a run by its id wakes the waiters of that run only. When another process changed the store, and every POLL_S
seconds in case that such a notice is lost, one query asks which of all awaited runs ended; only their records are loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextvars import Context
from typing import TypeVar

from attrs import define

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.queries import EndedQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.client.unadvanced import Unadvanced
from stepflow.engine.clock import Clock
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.engine.threads.raised import for_future
from stepflow.errors import NotFound, ResultTimeout, Unavailable

T = TypeVar("T")
POLL_S = 5.0
FEW = 8  # runs that are loaded without asking first which of them ended: that costs one query less
REST = 2.0  # times a query for all runs: the pause after it, so that many waiters leave the store to others

Found = Mapping[str, Record | Exception | None]
"""The records of runs that were loaded; None for a run that is not there."""


@define(eq=False)
class RunWaiter:
    """A task that waits for the end of one run: `seen` is done after the first look at the run, `ended` at its end."""

    run_id: str
    seen: asyncio.Future[None]
    ended: asyncio.Future[Record]


class RunWaiters:
    """The tasks of one engine that wait for runs; lives on the event loop."""

    def __init__(
        self,
        store: Store,
        reader: StoreReader,
        notifier: Notifier,
        clock: Clock,
        lifetime: Lifetime,
        unadvanced: Unadvanced,
    ) -> None:
        self._store, self._reader, self._notifier, self._unadvanced = store, reader, notifier, unadvanced
        self._clock, self._lifetime = clock, lifetime
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, list[RunWaiter]] = {}
        self._named: set[str] = set()  # runs of which there are news
        self._all = False  # any run may have changed
        self._rest_until = 0.0  # monotonic time before which no query for all runs is made
        self._looking: asyncio.Task[None] | None = None
        self.guard = Guard("waiters")
        self._timer: asyncio.TimerHandle | None = None
        notifier.on_run(self._run_changed)
        notifier.on_store(self._store_changed)
        notifier.listens_while(lambda: bool(self._waiting))

    def add(self, run_id: str) -> RunWaiter:
        """Begin to wait for a run."""
        waiter = RunWaiter(run_id, self._loop.create_future(), self._loop.create_future())
        self._waiting.setdefault(run_id, []).append(waiter)
        self._named.add(run_id)
        self._unadvanced.add(waiter)
        return waiter

    async def ended(self, run_id: str) -> Record | None:
        """The record of a run that has ended, as most have whose result is asked for after the work, if no other task is ready to ask.

        Raises NotFound.
        """
        if self._clock.virtual or not self._reader.alone:
            return None
        (record,) = await self._reader.load([run_id])
        if record is None:
            raise not_found(run_id)
        return record if record.state.transition.status else None

    async def look(self, waiter: RunWaiter) -> None:
        """Look at its run for the first time, together with those of the tasks that are ready now."""
        if self._clock.virtual:
            await self._turn()
        else:
            self._listen(waiter)
        await waiter.seen

    def _listen(self, waiter: RunWaiter) -> None:
        """Hear of other processes' changes, and look at the run from now on."""
        self._notifier.listen()
        self._named.add(waiter.run_id)
        self._begin()

    def remove(self, waiter: RunWaiter) -> None:
        """The task no longer waits."""
        self._unadvanced.remove(waiter)
        waiters = self._waiting.get(waiter.run_id, [])
        if waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[waiter.run_id]
        for future in (waiter.seen, waiter.ended):
            if not future.cancel() and not future.cancelled():
                future.exception()  # asyncio would report one that no task awaits any more

    def _run_changed(self, run_id: str) -> None:
        if run_id in self._waiting:
            self._named.add(run_id)
            self._begin()

    def _store_changed(self) -> None:
        if self._waiting:
            self._all = True
            self._begin()

    def _begin(self) -> None:
        if self._looking is None:
            look, context = self.guard.run_task(self._turn, asyncio.sleep), Context()
            self._looking = self._loop.create_task(look, context=context)
            self._looking.add_done_callback(self._looked, context=context)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        """The news are read. A step may have cancelled all tasks of the loop, this one before it began: then soon anew."""
        self._looking = None
        if looking.cancelled():
            self._all = True
        self._set_timer()
        if not self._all and not self._named.isdisjoint(
            self._waiting
        ):  # a task began to wait behind the last look, or a run changed
            self._begin()

    async def _turn(self) -> bool:
        """Read the store for the news that are there; False if there are none, or if the store shall rest."""
        everything = self._all and self._clock.monotonic() >= self._rest_until
        named, self._named = self._named & self._waiting.keys(), set()
        if not named and not everything:
            await self._unadvanced.look()
            return False
        others: Collection[str] = ()
        if everything:
            self._all, others = False, self._waiting.keys() - named
        if len(named) > FEW:
            named, others = set(), named.union(others)
        begun = self._clock.monotonic()
        try:
            found = await self._reader.call(self._records, sorted(named), sorted(others))
        except Exception as error:  # noqa: BLE001 - every waiter must learn of it
            found = dict.fromkeys([*named, *others], error)
        if everything:
            now = self._clock.monotonic()
            self._rest_until = now + REST * (now - begun)
        for run_id in (*named, *others):
            self._answer(run_id, found)
        return True

    def _records(self, named: Iterable[str], others: Collection[str]) -> Found:
        """The records of the first runs, and of those of the others that ended; in a thread."""
        ids = [*named]
        if others:
            ids += self._store.read(EndedQuery(tuple(others)))
        try:
            return dict(zip(ids, self._store.load(ids), strict=True))
        except Unavailable:
            raise
        except Exception:
            if len(ids) <= 1:
                raise
        found: dict[str, Record | Exception | None] = {}  # a damaged run fails its own waiters only
        for run_id in ids:
            try:
                (found[run_id],) = self._store.load([run_id])
            except Exception as error:  # noqa: BLE001 - handed to the waiters of this run
                found[run_id] = error
        return found

    def _answer(self, run_id: str, found: Found) -> None:
        """Tell the waiters of a run that was looked at."""
        record = found.get(run_id)
        over = run_id in found and (not isinstance(record, Record) or _is_over(record))
        for waiter in self._waiting.pop(run_id, []) if over else self._waiting.get(run_id, []):
            if over:
                _answer(waiter.ended, not_found(run_id) if record is None else record)
            elif self._clock.virtual and not self._lifetime.at_work:
                _answer(waiter.ended, too_late(run_id, "yet, and nothing advances it here: call run_until_idle()"))
            _answer(waiter.seen, None)

    def _set_timer(self) -> None:
        """Look at all runs when the next look is due, if a task waits and time goes on by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and not self._clock.virtual:
            rest_s = self._rest_until - self._clock.monotonic()
            self._timer = self._loop.call_later(max(rest_s, 0.0) if self._all else POLL_S, self._store_changed)


def _is_over(record: Record) -> bool:
    """Whether there is nothing to wait for; whether a run has ended that cannot be read is not known."""
    transition = record.state.transition
    return transition.status != "" or transition.problem != ""


def _answer(future: asyncio.Future[T], result: T | Exception) -> None:
    if future.done():  # its task was cancelled, or has its answer
        return
    if isinstance(result, Exception):
        future.set_exception(for_future(result))
    else:
        future.set_result(result)


def not_found(run_id: str) -> NotFound:
    """The error for an id without a run."""
    return NotFound(f"no run {run_id!r} in this namespace: check the id, the store and the namespace")


def too_late(run_id: str, when: str) -> ResultTimeout:
    """The error for a run that has not ended `when`."""
    return ResultTimeout(f"run {run_id!r} has not ended {when}; explain() tells why")
