"""Session: makes the parts of an open engine, gives each the parts that it uses, and ends them in order."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Store
from stepflow.engine.blocking.base import call_inline, call_on
from stepflow.engine.blocking.flow_engine import FlowEngine
from stepflow.engine.client.schedules import Schedules
from stepflow.engine.client.unadvanced import Unadvanced
from stepflow.engine.client.waiters import RunWaiters
from stepflow.engine.clock import Clock, StoreClock, SystemClock, VirtualClock, uuid7
from stepflow.engine.commit.callers import CallersCommitter
from stepflow.engine.commit.committer import Committer, InlineCommitter
from stepflow.engine.commit.group import GroupCommitter
from stepflow.engine.execution.user_transactions import UserTransactions
from stepflow.engine.flow_engine import AsyncFlowEngine
from stepflow.engine.health import Health
from stepflow.engine.instrument.parts import parts_for
from stepflow.engine.instrument.telemetry import OpenTelemetry
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.change_listener import ChangeListener
from stepflow.engine.membership.heartbeat import Heartbeat
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.membership.store_time import StoreTime
from stepflow.engine.remote.caller import FlowCaller, HostSearch
from stepflow.engine.states.executions import Executions
from stepflow.engine.states.function_runner import FunctionRunner
from stepflow.engine.states.kept_leases import KeptLeases
from stepflow.engine.states.service import StateService
from stepflow.engine.states.unclaimed_states import UnclaimedStates
from stepflow.engine.store_reader import StoreReader
from stepflow.engine.threads.futures import Ending, off_loop, uninterrupted, value_of
from stepflow.engine.threads.thread_pool import ThreadPool
from stepflow.engine.worker.firing import Firing
from stepflow.engine.worker.quota import definitions
from stepflow.engine.worker.redefinition import Redefinition
from stepflow.engine.worker.retention import Pruner
from stepflow.engine.worker.styles import styles
from stepflow.engine.worker.worker import Worker
from stepflow.errors import OutcomeUnknown, StepflowError, Unavailable
from stepflow.model.current import current_or_none
from stepflow.model.flow import Flow

T = TypeVar("T")
log = logging.getLogger("stepflow")
QUIET_S = 0.25  # on a busy disk a run of ten steps takes 0.1 s; the threads cost such a run as much as its steps
REST_S = 2.0  # for a worker that another task stops to come to its end
GRACE_S = 10.0  # for steps that have begun when a worker is asked to stop
READERS = 100  # threads that read the store, at most: no store has more connections; further reads wait for one


class Session:
    """An engine's parts, from `open` to `close`; they live on one event loop of one process."""

    def __init__(
        self,
        driver: Driver,
        clock: Clock,
        namespace: str,
        concurrency: int,
        keep: timedelta | None,
        keep_ids: timedelta | None,
        commit_on_loop: bool,
        any_loop: bool = False,
        instrument: OpenTelemetry | bool | None = None,
        remote: FlowCaller | None = None,
    ) -> None:
        self._commit_on_loop, self._instrument, self._remote = commit_on_loop, instrument, remote
        self._discovery: HostSearch | None = None
        self._pruning: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._background: tuple[AbstractAsyncContextManager[None], asyncio.Task[Ending[bool]]] | None = None
        self.driver, self.namespace, self.concurrency = driver, namespace, concurrency
        self.clock: Clock = StoreClock(clock) if clock.follows_store else clock
        self.flows: dict[str, Flow[Any, Any]] = {}
        self.lifetime = Lifetime(any_loop=any_loop)
        self.pruner = Pruner(driver.maintenance, namespace, self.clock, keep, keep_ids)

    async def open(self) -> None:
        """Connect, and make the parts in the order of their use; raises the StoreErrors of the driver."""
        if self.lifetime.is_open:
            raise StepflowError("this engine is open already: make another Engine for a second session")
        loop, clock, flows, lifetime = asyncio.get_running_loop(), self.clock, self.flows, self.lifetime
        owner, self._made = _new_owner(), parts_for(self._instrument, clock)
        made = self._made
        self._pool = ThreadPool(loop, "stepflow-reader", most=READERS)
        connected = await self._call(self.driver.connect, self.namespace, owner, clock.now())
        self.store = store = made.store(connected)
        self._store_time = StoreTime(store, clock, self._call)
        if not clock.virtual:
            try:
                await self._store_time.start()
            except BaseException:
                await self._call(store.close)
                raise
        lifetime.opened()
        self._change_listener = ChangeListener(store, loop)
        self.notifier = notifier = Notifier(loop, None if clock.virtual else self._change_listener)
        notifier.listens_while(lambda: self._pruning is not None)  # while a worker works for longer than QUIET_S
        self.committer = self._new_committer(loop)
        self.reader = reader = StoreReader(store, clock, lifetime, self._pool)
        self.executor, self.heartbeat = made.executor(clock, self.committer), Heartbeat(store, clock, notifier)
        self._unadvanced = Unadvanced(store, reader, clock, lifetime, owner.id, flows)
        self._waiters = RunWaiters(store, reader, notifier, clock, lifetime, self._unadvanced)
        callers = CallersCommitter(self.committer, self.driver.url)
        forget_ids, cancels = self.pruner.forget_ids, made.canceller(store, clock, callers, notifier)
        self.client = made.client(store, clock, callers, notifier, reader, lifetime, self._waiters, forget_ids, cancels)
        self.schedules = Schedules(clock, callers, notifier, reader, lifetime, self.client, flows)
        self.feed = made.feed(store, clock, reader, notifier)
        self.executions = executions = Executions(notifier, lifetime)
        self.leases = KeptLeases(clock, self.committer, self.heartbeat, lifetime, executions)
        self.service = StateService(clock, callers, reader, notifier, self.leases, executions)
        self.unclaimed = UnclaimedStates(self.service, callers, reader, notifier, clock)
        if self._remote is not None:
            self._discovery = self._remote.search(reader, clock, notifier, flows)
        look = None if self._discovery is None else self._discovery.look
        self._verbs = AsyncFlowEngine(self)
        self._sync_verbs = FlowEngine(self._verbs, call_inline if clock.virtual else call_on(loop))
        self.runner = self.runner_of(flows, look)
        self._redefinition = Redefinition(reader, self.committer, notifier, clock, flows)
        self.worker = self._worker(store, clock, notifier, owner.id)
        if isinstance(clock, VirtualClock):
            clock.subscribe(notifier.clock_moved)

    def runner_of(
        self, flows: Mapping[str, Flow[Any, Any]], look: Callable[[], Awaitable[None]] | None = None
    ) -> FunctionRunner:
        """What calls functions of these flows, and carries out the commands that they return."""
        parts = (self.service, self.leases, self.executions, self.executor, self.clock)
        return self._made.runner(*parts, flows, engine=self._verbs, sync_engine=self._sync_verbs, look=look)

    def _worker(self, store: Store, clock: Clock, notifier: Notifier, owner: str) -> Worker:
        """The worker, with what makes its attempts."""
        committer, executor = self.committer, self.executor
        transactions = UserTransactions(self.driver, store, clock, executor, notifier.transaction_committed)
        cancels = self._made.canceller(store, clock, committer, notifier)
        children = self._made.children(store, clock, committer, cancels, notifier.due_now)
        return Worker(
            store,
            clock,
            committer,
            notifier,
            self.heartbeat,
            styles(
                clock,
                committer,
                executor,
                transactions,
                self.runner,
                children,
                self.reader,
                store.takes_deltas,
                self._made.attempts,
            ),
            executor.limits,
            self.feed,
            self.executions,
            self._redefinition,
            Firing(store, clock, committer, self.flows, self.client.cancel, self.client.delay_of, cancels.time_out),
            owner,
            self.flows,
            self.concurrency,
            self._resume,
        )

    def _new_committer(self, loop: asyncio.AbstractEventLoop) -> Committer:
        if self.clock.virtual:
            return InlineCommitter(self.store, self.clock, self.notifier)
        return GroupCommitter(self.store, self.clock, loop, self.notifier, commit_on_loop=self._commit_on_loop)

    async def close(self, grace_s: float) -> None:
        """Release what is held, finish what was submitted, end the threads; a forked child owns none of that."""
        if self.lifetime.forked:
            return
        self.check_outside("close()")
        if not self.lifetime.is_open or asyncio.get_running_loop() is self.lifetime.loop:
            await undisturbed(self._close(grace_s))
        elif not self.lifetime.loop.is_closed():
            raise StepflowError("the engine was opened on another event loop: close it there")
        else:  # its tasks ended with their loop
            self.lifetime.closed()
            await off_loop(self._shut)
            self._pool.close()

    async def _close(self, grace_s: float) -> None:
        self.lifetime.begin_closing()
        self.store.hurry(ending=True)
        try:
            await self._store_time.stop()
            await self.feed.close()
            await self.worker.stop(grace_s)
            await self.end_background()
            await self.lifetime.wait_for_rest(REST_S)  # another task or thread may be inside `at_work`
            await self.executions.end_background(grace_s)
            await self.leases.release_all()
            if self._discovery is not None:
                await self._discovery.close()
        finally:  # the store may refuse the last releases: the threads and the owner's lock must end all the same
            self.leases.close()
            if isinstance(self.clock, VirtualClock):
                self.clock.unsubscribe(self.notifier.clock_moved)
            self.lifetime.closed()
            await self._call(self._shut)
            self._pool.close()

    async def _call(self, fn: Callable[..., T], *args: Any) -> T:
        """Call a function that may block; under virtual time here."""
        return fn(*args) if self.clock.virtual else await self._pool.submit(fn, *args)

    @contextmanager
    def limited(self, limit_s: float) -> Iterator[None]:
        """Let the worker quit after so many seconds, unless the block is left before."""
        timer = self.lifetime.loop.call_later(limit_s, self.quit)
        try:
            with self.executor.in_threads():  # a step that outlasts the grace must not keep the caller
                yield
        finally:
            timer.cancel()

    def quit(self) -> None:
        """Let the work end; from then on a store that does not answer is waited for once, and not by each part that ends."""
        self.store.hurry(ending=True)
        self.worker.quit()

    async def next_due(self) -> int | None:
        """When the next run of a registered flow or the next schedule is due, microseconds UTC."""
        ahead = await self.reader.next_due(definitions(self.flows))
        return min((due for due in (ahead.next_due, ahead.schedule) if due is not None), default=None)

    @asynccontextmanager
    async def at_work(self, beat: bool = True) -> AsyncIterator[None]:
        """While this engine may hold claims: it beats, listens for changes, and prunes runs that ended long ago.

        The threads and tasks for that begin after QUIET_S: work that is over before then needs none of them.
        """
        if not self.in_user_code():
            await self.lifetime.end_of_work()
        self.lifetime.work_began()
        self.worker.ready()
        self._made.slots(self.concurrency)
        self._quiet = None if self.clock.virtual else asyncio.get_running_loop().call_later(QUIET_S, self._accompany)
        try:
            if beat:
                await self.committer.call(self.heartbeat.beat)
            if self._discovery is not None:
                await self._discovery.look()
            yield
        finally:
            self._made.slots(-self.concurrency)
            if not self.lifetime.forked:
                if self._quiet is not None:
                    self._quiet.cancel()
                if self.worker.at_rest and self._pruning is None:
                    self.worker.quit()
                    self.lifetime.work_ended()
                else:
                    await undisturbed(self._rest())
                self.store.hurry(ending=self.lifetime.closing)

    def _resume(self) -> None:
        """A step cancelled the tasks beside the worker's, which goes on: so do they."""
        for task in (self._pruning, self._looking):
            if task is not None:
                task.add_done_callback(self._again)  # it may not have ended yet

    def _again(self, ended: asyncio.Task[None]) -> None:
        if ended is self._pruning:
            self._pruning = asyncio.create_task(self.pruner.run())
        elif ended is self._looking and self._discovery is not None:
            self._looking = asyncio.create_task(self._discovery.run())

    def _accompany(self) -> None:
        self._pruning = asyncio.create_task(self.pruner.run())
        if self._discovery is not None:
            self._looking = asyncio.create_task(self._discovery.run())
        self.notifier.listen()
        self._begin_to_beat()

    def _begin_to_beat(self) -> None:
        if (pause_s := self.heartbeat.start(lambda: self.worker.busy)) is not None:
            self._quiet = asyncio.get_running_loop().call_later(pause_s, self._begin_to_beat)

    async def _rest(self) -> None:
        self.lifetime.work_ends()
        self.store.hurry(ending=True)
        try:
            await self.worker.stop(GRACE_S)
            pruning, looking, self._pruning, self._looking = self._pruning, self._looking, None, None
            if looking is not None:
                looking.cancel()
                await asyncio.wait([looking])
            if pruning is not None:
                pruning.cancel()
                await asyncio.wait([pruning])
                if self.lifetime.is_open:  # else `close` does it
                    await self._call(self.heartbeat.stop)
        finally:
            self.lifetime.work_ended()

    async def look_unregistered(self) -> None:
        """Warn once of an engine that has registered no flow, and calls no hosts, beside runs that nothing here advances."""
        if self._remote is None:
            await self._unadvanced.look_unregistered()

    async def begin_background(self) -> None:
        """Advance runs in the background until `end_background`, at the latest until the engine is closed."""
        work = self.at_work()
        await work.__aenter__()
        self._background = work, asyncio.create_task(uninterrupted(self.worker.run(until_idle=False)))

    async def end_background(self) -> None:
        """End the work in the background, if there is some; raises what ended it before."""
        if self._background is None:
            return
        (work, task), self._background = self._background, None
        self.quit()
        try:
            await asyncio.wait([task])
        finally:
            await work.__aexit__(None, None, None)
        value_of(task.result())

    def in_user_code(self) -> bool:
        """Whether the caller is a step or a flow function that this engine executes."""
        if not self.lifetime.is_open:
            return False
        current = current_or_none()
        return self.executions.current() is not None or (current is not None and self.worker.runs(current))

    def check_outside(self, call: str) -> None:
        """Raise StepflowError if a step of this engine calls: the call would wait for the end of the step."""
        if self.in_user_code():
            raise StepflowError(
                f"{call} was called inside a step of this engine, for whose end it would wait: let the step return, and"
                f" call {call} outside of steps"
            )

    def _shut(self) -> None:
        self.heartbeat.stop()
        self._change_listener.stop()
        self.executor.close()
        self.committer.close()
        try:
            self.store.close()
        except (Unavailable, OutcomeUnknown) as error:  # every commit was answered before
            log.warning("the engine was closed without telling its store, where its heartbeats end now: %s", error)
        finally:
            self._change_listener.join()

    def health(self) -> Health:
        """How the background threads and tasks are; from any thread."""
        if not self.lifetime.is_open or self.lifetime.forked:
            self.lifetime.check_open()
        guards = [self.heartbeat.guard, self._change_listener.guard, *self.committer.guards, self.executor.guard]
        guards += [
            self.worker.guard,
            self._redefinition.guard,
            self.feed.guard,
            self._waiters.guard,
            self.leases.guard,
            self.pruner.guard,
            *self.store.guards,
            *self._store_time.guards,
            *([] if self._discovery is None else [self._discovery.guard]),
        ]
        return Health(tuple(guard.health for guard in guards), self.executor.limits.lost)


async def undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end even if the caller is cancelled meanwhile; the cancellation is raised after that."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _new_owner() -> Owner:
    """The owner of an engine's claims: the host, the process, and which of its engines."""
    host = socket.gethostname()
    return Owner(f"{host}:{os.getpid()}:{uuid7(SystemClock())[-12:]}", host, os.getpid())
