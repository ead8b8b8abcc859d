"""Session: the parts of an open engine and how they are wired together."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from stepflow.drivers.port.commit import Claim, HeartbeatReply, Owner, Record
from stepflow.drivers.port.store import Driver
from stepflow.engine.blocking.base import call_inline, call_on
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.client.client import Client
from stepflow.engine.clock import Clock, SystemClock, VirtualClock, uuid7
from stepflow.engine.commit.committer import Committer, InlineCommitter
from stepflow.engine.commit.group import GroupCommitter
from stepflow.engine.execution.attempt import Attempt
from stepflow.engine.membership.change_listener import ChangeListener
from stepflow.engine.membership.heartbeat import BEAT_S, Heartbeat
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.api import AsyncVerbs
from stepflow.engine.states.finish_execution import Settler
from stepflow.engine.states.function_attempt import FunctionAttempt
from stepflow.engine.states.function_runner import FunctionRunner
from stepflow.engine.states.service import StateService
from stepflow.engine.states.watch import RevisionFeed
from stepflow.engine.worker.retention import Pruner
from stepflow.engine.worker.worker import CANCEL_TIMEOUT_S, Worker
from stepflow.errors import StepflowError, StoreError
from stepflow.model.flow import Flow

REST_S = 2.0  # for a worker that was stopped to come to its end
GRACE_S = 10.0  # for steps that have begun when a worker is asked to stop


class Session:
    """An engine's store, lane, worker and threads, from `open` to `close`; lives on one event loop of one process."""

    def __init__(self, driver: Driver, clock: Clock, namespace: str, concurrency: int, keep: timedelta | None) -> None:
        self.driver, self.clock, self.namespace, self.concurrency = driver, clock, namespace, concurrency
        self.flows: dict[str, Flow[Any]] = {}
        self.ended: Counter[str] = Counter()
        self.pruner = Pruner(driver.maintenance, namespace, clock, keep)
        self.pid = 0
        self._working = self._closing = False
        self._keeping: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect; raises the StoreErrors of the driver."""
        if self.pid:
            raise StepflowError("this engine is open already: make another Engine for a second session")
        self.loop, clock = asyncio.get_running_loop(), self.clock
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        host = socket.gethostname()
        # It says who holds a run: the host, the process, and which of its engines.
        owner = Owner(f"{host}:{os.getpid()}:{uuid7(SystemClock())[-12:]}", host, os.getpid())
        if clock.virtual:
            self.store = self.driver.connect(self.namespace, owner, clock.now())
        else:
            self.store = await asyncio.to_thread(self.driver.connect, self.namespace, owner, clock.now())
        self.pid = os.getpid()
        self.committer: Committer = (
            InlineCommitter(self.store, clock) if clock.virtual else GroupCommitter(self.store, clock, self.loop)
        )
        self.notifier = Notifier(self.watch)
        self._change_listener = ChangeListener(self.store, self.loop, self._changed)
        self.heartbeat = Heartbeat(self.store, clock, self._pulsed)
        self.worker = Worker(
            self.store, clock, self.committer, self.heartbeat, owner.id, self.flows, self.concurrency, self._over
        )
        self.client = Client(
            self.store,
            clock,
            self.committer,
            self.notifier,
            self.read,
            self.worker.schedule_at,
            self.check_open,
            lambda: self._working,
        )
        self.client.on_cancel = self.worker.cancel
        self.feed = RevisionFeed(self.store, clock, self.read, self._watched)
        self.service = StateService(self.store, clock, self.committer, self.read, self._moved)
        self.runner = FunctionRunner(self.service, self.flows, self.worker.call)
        self.settler = Settler(self.runner, self.committer, clock)
        self.runner.engine = AsyncVerbs(self)
        self.runner.sync_engine = BlockingVerbs(
            self.runner.engine, call_inline if clock.virtual else call_on(self.loop)
        )
        self.worker.functions, self.worker.on_quit = self._function_attempt, self.feed.wake
        self.worker.busy_elsewhere = self._busy
        if isinstance(clock, VirtualClock):
            clock.subscribe(self._clock_moved)

    async def close(self, grace_s: float) -> None:
        """Hand back what is held, finish what was submitted, end the threads; in a forked child nothing of that is ours."""
        if self.forked:
            return
        if not self.pid or asyncio.get_running_loop() is self.loop:
            await undisturbed(self._close(grace_s))
        elif not self.loop.is_closed():
            raise StepflowError("the engine was opened on another event loop: close it there")
        else:  # its tasks went with their loop
            self.pid = 0
            await asyncio.to_thread(self._shut)

    async def _close(self, grace_s: float) -> None:
        self._closing = True
        await self.feed.close()
        await self.worker.stop(grace_s)
        with suppress(TimeoutError):  # of whoever works in another task or thread
            await asyncio.wait_for(self._at_rest.wait(), REST_S)
        await self._end_background(grace_s)
        await self.service.release_all()
        if self._keeping is not None:
            self._keeping.cancel()
        if isinstance(self.clock, VirtualClock):
            self.clock.unsubscribe(self._clock_moved)
        self.pid = 0
        await asyncio.to_thread(self._shut)

    async def _end_background(self, grace_s: float) -> None:
        if not self._background:
            return
        _done, late = await asyncio.wait(self._background, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCEL_TIMEOUT_S)

    def closing(self) -> bool:
        """Whether executions should come to an end."""
        return self._closing

    @property
    def forked(self) -> bool:
        """Whether this is a child process of the one that opened the engine."""
        return self.pid not in (0, os.getpid())

    def check_open(self) -> None:
        """Raise StepflowError unless this process opened the engine, on this event loop if one runs, and did not close it."""
        if not self.pid:
            raise StepflowError("the engine is not open: use it inside `with Engine(...) as engine:`")
        if self.forked:
            raise StepflowError("the engine was opened before fork: open one in each process")
        with suppress(RuntimeError):  # no loop runs in this thread
            if asyncio.get_running_loop() is not self.loop:
                raise StepflowError("the engine was opened on another event loop: use it there, or open one here")

    async def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call a reading method of the store off the loop."""
        self.check_open()
        return fn(*args) if self.clock.virtual else await asyncio.to_thread(fn, *args)

    async def next_due(self) -> int | None:
        """When the next run of a registered flow is due, microseconds UTC."""
        definitions = {name: flow.definition for name, flow in self.flows.items()}
        ahead = await self.read(self.store.next_due, definitions, self.clock.now())
        due: int | None = ahead.next_due
        return due

    def watch(self) -> None:
        """Hear of other processes' changes from now on."""
        if not self.clock.virtual:
            self._change_listener.start()

    def _watched(self) -> None:
        """Somebody watches States: let them know of every batch of commits."""
        self.committer.on_batch = self.feed.notify
        self.watch()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """While this engine may hold claims: it beats, watches for changes, and prunes what ended long ago."""
        self.check_open()
        if self._working:
            raise StepflowError("this engine is at work already: open another one for a second worker")
        self._working, pruning = True, None
        self._at_rest.clear()
        self.worker.ready()
        try:
            await self.committer.call(self.heartbeat.beat)
            if not self.clock.virtual:
                self.heartbeat.start(lambda: self.worker.busy)
                self.watch()
                pruning = asyncio.create_task(self.pruner.run())
            yield
        finally:
            if not self.forked:
                await undisturbed(self._rest(pruning))

    async def _rest(self, pruning: asyncio.Task[None] | None) -> None:
        await self.worker.stop(GRACE_S)
        if pruning is not None:
            pruning.cancel()
            await asyncio.wait([pruning])
        await asyncio.to_thread(self.heartbeat.stop)
        self._working = False
        self._at_rest.set()

    def _shut(self) -> None:
        self.heartbeat.stop()
        self._change_listener.stop()
        self.worker.close()
        self.committer.close()
        self.store.close()
        self._change_listener.join()

    def _function_attempt(self, flow: Flow[Any], claim: Claim, record: Record) -> FunctionAttempt:
        return FunctionAttempt(flow, claim, record, self.clock, committer=self.committer, runner=self.runner)

    def _moved(self, ids: Sequence[str]) -> None:
        """A commit of ours moved these States; some may be left in our hands."""
        for run_id in ids:
            self.notifier.notify(run_id)
        self.feed.notify()
        self.worker.schedule_at(0)
        if self._keeping is None and not self.clock.virtual:
            self._keeping = self.loop.create_task(self._keep())

    async def _keep(self) -> None:
        """While we hold States that a commit of ours moved: beat, and give back what nobody executed in time."""
        try:
            while self.service.kept or self.runner.at_work:
                with suppress(StoreError):
                    if not self._working:
                        await self.committer.call(self.heartbeat.beat)
                    await self.service.release_expired()
                await asyncio.sleep(BEAT_S)
        finally:
            self._keeping = None

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Take an execution that nobody waits for."""
        task = self.loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background_over)

    def _background_over(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        self.worker.schedule_at(0)

    def _busy(self) -> bool:
        """Whether an execution in the background does more than wait for news."""
        waiting = sum(execution.waiting for execution in self.runner.at_work)
        return len(self._background) > waiting

    def _over(self, attempt: Attempt) -> None:
        if attempt.ended:
            self.ended[attempt.ended] += 1
        self.feed.notify()
        self.notifier.notify(attempt.state.id)

    def _changed(self) -> None:
        self.notifier.notify_all()
        self.feed.notify()
        self.worker.schedule_at(0)

    def _clock_moved(self) -> None:
        """From whichever thread moved it."""
        with suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(self.worker.schedule_at, 0)

    def _pulsed(self, pulse: HeartbeatReply, freed: bool) -> None:
        """From the heart's thread."""
        for run_id in pulse.cancels:
            self.worker.cancel(run_id)
        if freed:
            with suppress(RuntimeError):  # the loop was closed
                self.loop.call_soon_threadsafe(self.worker.schedule_at, 0)


async def undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end even if the caller is cancelled meanwhile; the cancellation is passed on after that."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()
