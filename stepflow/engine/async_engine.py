"""AsyncEngine: starts, finds and advances durable runs on one store, on the caller's event loop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from types import EllipsisType, TracebackType
from typing import Any, Literal, Self, overload

from attrs import frozen

from stepflow.drivers.payload.driver import PayloadDriver
from stepflow.drivers.payload.stages import Stage
from stepflow.drivers.port.delays import DelayQuery
from stepflow.drivers.port.queries import NotDueQuery
from stepflow.drivers.port.store import Driver
from stepflow.drivers.registry import driver_for
from stepflow.engine.checks import (
    DEFAULT_KEEP,
    checked_age,
    checked_clock,
    checked_concurrency,
    checked_flow,
    checked_keep,
    checked_keep_ids,
    checked_namespace,
    checked_timeout,
    checked_transactions,
)
from stepflow.engine.client.pauses import PausedFlow, flow_name
from stepflow.engine.client.schedule import AsyncSchedule, ScheduleInfo, info_of_row
from stepflow.engine.client.schedules import checked_schedule_id, planned_schedule
from stepflow.engine.clock import Clock, moment, utc_text
from stepflow.engine.flow_engine import AsyncFlowEngine, In, Out
from stepflow.engine.health import Health
from stepflow.engine.instrument.telemetry import OpenTelemetry, checked_instrument
from stepflow.engine.jumps import MAX_JUMPS, Jumps
from stepflow.engine.lifetime import AsyncWith
from stepflow.engine.remote.caller import FlowCaller
from stepflow.engine.session import GRACE_S, Session
from stepflow.errors import DefinitionError
from stepflow.model.flow import Flow
from stepflow.model.keywords import keywords
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.topic import TOPIC, TOPIC_FLOW


@frozen
class Idle:
    """What `run_until_idle` returns: how many runs ended, how many runs and delays wait or sleep, and when the next is due.

    `blocked` counts the runs of the registered flows that this definition cannot advance (at most 1,000 are counted).
    """

    completed: int
    failed: int
    waiting: int
    next_due: datetime | None
    blocked: int = 0


@keywords()
class AsyncEngine(AsyncWith, AsyncFlowEngine):
    """A session on a store. It advances runs only inside `run_until_idle`, `run_forever` and `worker`.

    `store` is a URL (`memory://`, `sqlite:///orders.db`) or a driver; `concurrency` is how many runs are advanced at the
    same time. Runs that ended are kept for `keep` (also called `retention`), then they are deleted: a start with such an id is
    a new run, unless `keep_ids` says for how long it is refused (RunExists). Values go through the stages of `payload` before they are
    stored, e.g. `[Zlib(), Fernet(keys)]`. Traces and metrics go to the OpenTelemetry providers that the application has set when the
    engine is opened; `instrument` names others (`OpenTelemetry(...)`), or is False for none. With
    `remote` flow functions that hosts serve are executed there. Use it as `async with AsyncEngine(...) as engine:`,
    or call `open` and `close`.
    """

    _any_loop = False  # whether threads in which other event loops run may call it

    def __init__(
        self,
        store: str | Driver,
        *,
        clock: Clock | None = None,
        namespace: str = "",
        concurrency: int = 64,
        keep: timedelta | None = DEFAULT_KEEP,
        keep_ids: timedelta | None = None,
        retention: timedelta | EllipsisType | None = ...,
        payload: Sequence[Stage] | None = None,
        remote: FlowCaller | None = None,
        commit_on_loop: bool = False,
        instrument: OpenTelemetry | bool | None = None,
    ) -> None:
        """A thread writes to the store, so that a disk that stalls never blocks the event loop.

        With `commit_on_loop=True` the loop itself commits while the store is quick: more steps per second, for a program
        whose loop does nothing else.
        """
        options = (checked_namespace(namespace), checked_concurrency(concurrency))
        driver = driver_for(store) if payload is None else PayloadDriver(driver_for(store), payload)
        spans = (checked_keep(keep, retention), checked_keep_ids(keep_ids))
        self._session = Session(
            driver,
            checked_clock(clock),
            *options,
            *spans,
            commit_on_loop,
            self._any_loop,
            checked_instrument(instrument),
            remote,
        )
        self._clock = self._session.clock
        super().__init__(self._session)

    async def open(self) -> Self:
        """Connect to the store and return this engine; for programs that cannot use `async with`. Call `close` at the end."""
        await self._session.open()
        return self

    async def close(self) -> None:
        """Release what is held and end all threads; steps that have begun get ten seconds. A closed engine stays closed.

        Raises StepflowError inside a step of this engine, whose end it would wait for.
        """
        await self._session.close(GRACE_S)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close(GRACE_S if error is None else 0.0)

    def register(self, *flows: Flow[Any, Any]) -> None:
        """This process advances the runs of these flows."""
        session = self._session
        known = dict(session.flows)
        for flow in flows:
            name = checked_flow(flow, "register").name
            if name in known and known[name].definition != flow.definition:
                raise DefinitionError(f"another flow {name!r} is registered: give the new one another name")
            flow.refuse_types()
            checked_transactions(flow, session.driver)
            known[name] = flow
            if flow.kind == "workflow":  # its runs may wait for topics, whose messages such a worker advances
                known[TOPIC] = TOPIC_FLOW
        session.flows.update(known)
        if session.lifetime.is_open:
            session.notifier.schedule_at(0)

    @overload
    async def schedule(
        self, id: str, flow: Flow[None, Out], input: None = None, *, cron: str | None = None, every: timedelta | None = None,
        tz: str = "UTC", overlap: Literal["skip", "queue", "cancel"] = "skip", catch_up: timedelta = timedelta(0),
        jitter: timedelta = timedelta(0), labels: Mapping[str, str] | None = None, priority: int = 0,
        run_timeout: timedelta | float | None = None, tx: Any = None,
    ) -> AsyncSchedule[Out]: ...  # fmt: skip
    @overload
    async def schedule(
        self, id: str, flow: Flow[In, Out], input: In, *, cron: str | None = None, every: timedelta | None = None,
        tz: str = "UTC", overlap: Literal["skip", "queue", "cancel"] = "skip", catch_up: timedelta = timedelta(0),
        jitter: timedelta = timedelta(0), labels: Mapping[str, str] | None = None, priority: int = 0,
        run_timeout: timedelta | float | None = None, tx: Any = None,
    ) -> AsyncSchedule[Out]: ...  # fmt: skip
    async def schedule(
        self,
        id: str,  # noqa: A002
        flow: Flow[Any, Out],
        input: Any = None,  # noqa: A002
        *,
        cron: str | None = None,
        every: timedelta | None = None,
        tz: str = "UTC",
        overlap: Literal["skip", "queue", "cancel"] = "skip",
        catch_up: timedelta = timedelta(0),
        jitter: timedelta = timedelta(0),
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        run_timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> AsyncSchedule[Out]:
        """Start a run of the flow at each tick: of a `cron` expression in the zone `tz`, or after each interval `every` from now on.

        The run of a tick has the id `<schedule>@<tick in UTC>`. Any worker of the namespace fires a tick, once. `overlap` says what
        happens while a run of the schedule has not ended: `skip` the tick, `queue` it until then, or `cancel` that run. A tick
        that no worker notices within a minute and `catch_up` starts no run. Each run has the `run_timeout`, as `start` takes it. `jitter` delays each tick by a part of it. The same id again changes
        the schedule: it keeps a pause, and with the same timing its next tick. With `tx`, the caller's open transaction on the same store, it takes
        place when that commits. Raises StepflowError for a timing that cannot be meant, and what `start` raises for the input.
        """
        session = self._session
        session.lifetime.check_open()
        wanted = planned_schedule(
            id,
            flow,
            input,
            cron=cron,
            every=every,
            tz=tz,
            overlap=overlap,
            catch_up=catch_up,
            jitter=jitter,
            labels=labels,
            priority=priority,
            run_timeout=run_timeout,
            now=self._clock.now(),
        )
        await session.schedules.put(wanted, tx)
        return AsyncSchedule(session.schedules, self._clock, wanted.id, lambda run_id: self.get(flow, run_id))

    def get_schedule(self, id: str) -> AsyncSchedule[Any]:  # noqa: A002
        """A handle on a schedule by its id; no I/O."""
        self._session.lifetime.check_open()
        return AsyncSchedule(self._session.schedules, self._clock, checked_schedule_id(id), self.get)

    async def schedules(self) -> list[ScheduleInfo]:
        """All schedules of the namespace, by id; one that cannot be read here is among them, and says why in `unreadable`."""
        return [info_of_row(row) for row in await self._session.schedules.every()]

    async def pause_flow(self, flow: Flow[Any, Any] | str) -> None:
        """Let no worker take runs of this flow until `resume_flow`; runs that are held go on. It takes starts, which are `paused`.

        The pause is stored, so it holds for all workers, and for those that begin later. The flow need not be registered; a warning is logged
        if no worker at work has registered a flow of this name, and no run of it is stored.
        """
        self._session.lifetime.check_open()
        name, pauses = flow_name(flow, "pause_flow"), self._session.client.pauses
        await pauses.set_flow(name, paused=True)
        if isinstance(flow, str) and name not in self._session.flows:
            await pauses.warn_of(name)

    async def resume_flow(self, flow: Flow[Any, Any] | str) -> None:
        """Let workers take runs of a paused flow again; those that are paused themselves stay so."""
        self._session.lifetime.check_open()
        await self._session.client.pauses.set_flow(flow_name(flow, "resume_flow"), paused=False)

    async def paused_flows(self) -> list[PausedFlow]:
        """The flows of the namespace that are paused, by name."""
        self._session.lifetime.check_open()
        return await self._session.client.pauses.flows()

    async def prune(self, older_than: timedelta, report: Callable[[int, int], object] | None = None) -> int:
        """Delete the runs that ended longer ago than that, with their history; how many were deleted.

        It goes in short transactions with pauses between them. After each of them `report(runs, revisions)` is called with what was
        deleted so far. Messages of topics go, too, when their time is over: they are no runs, but their revisions count.
        """
        self._session.lifetime.check_open()
        done = await self._session.pruner.prune_old(checked_age(older_than), report)
        return done.runs - done.own

    def health(self) -> Health:
        """How the engine's background threads and tasks are: `health().ok`, and the newest error of each. Never blocks."""
        return self._session.health()

    async def run_until_idle(
        self,
        advance: bool = False,
        *,
        until: datetime | timedelta | None = None,
        max_jumps: int = MAX_JUMPS,
        timeout: timedelta | float | None = None,  # noqa: ASYNC109 - not the end of the call, but of its work
    ) -> Idle:
        """Advance runs until nothing registered is due, nothing runs here, and no owner that may be dead holds a run.

        With `advance` (virtual clock only) time jumps to the next due time again and again until nothing is scheduled, or
        until `until`: an aware datetime, or the time that may pass. Raises StepflowError when something is still scheduled
        after `max_jumps` jumps, for example a poll whose condition never comes true.
        After `timeout` (seconds or timedelta) no step begins any more; those that have begun get 10 s to end.
        """
        session, limit_s = self._session, checked_timeout(timeout)
        jumps = Jumps(self._clock, advance, until, max_jumps)
        async with session.at_work(beat=self._clock.virtual):  # else only if others hold runs
            session.worker.ended.clear()
            await session.leases.release_expired()
            with nullcontext() if limit_s is None else session.limited(limit_s):
                while (idle := await session.worker.run(until_idle=True)) and advance:
                    due = session.worker.idle_until
                    if due is not None and jumps.exhausted(due):
                        raise jumps.problem(await self._next_one(due))
                    if not jumps.to(due):
                        break
                    await session.leases.release_expired()
        await session.look_unregistered()
        due, ended = session.worker.idle_until if idle else await session.next_due(), session.worker.ended
        waiting, blocked = await session.reader.read(
            NotDueQuery(tuple(name for name in session.flows if name not in OWN_FLOWS), self._clock.now())
        )
        return Idle(ended["completed"], ended["failed"], waiting, None if due is None else moment(due), blocked)

    async def _next_one(self, due: int) -> str:
        """What is due at `due`, in words."""
        for schedule in await self.schedules():
            if schedule.next is not None and schedule.next <= moment(due):
                return f"a tick of schedule {schedule.id!r} is due"
        for run in await self.runs(order="due", ascending=True):
            if run.due == moment(due):
                return f"run {run.id!r} of flow {run.flow!r} is {run.status} at {run.position[0] if run.position else run.to}"
        delays = await self._session.reader.read(DelayQuery(due, pending=True))
        owners = ", ".join(sorted({repr(delay.state.id) for delay in delays})) or "a run"
        return f"a delay of {owners} is due at {utc_text(moment(due))}"

    async def run_forever(self) -> None:
        """Advance runs until SIGTERM or SIGINT, or until the task is cancelled; then release what is held."""
        session = self._session
        session.lifetime.check_open()
        handled = []
        for signum in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError, RuntimeError):  # not the main thread: its owner calls `quit`
                session.lifetime.loop.add_signal_handler(signum, session.quit)
                handled.append(signum)
        try:
            async with session.at_work():
                with session.executor.in_threads():  # a step that outlasts the grace must not keep the caller
                    await session.worker.run(until_idle=False)
        finally:
            for signum in handled:
                session.lifetime.loop.remove_signal_handler(signum)

    def quit(self) -> None:
        """Let `run_forever` release what it holds and return; call it on the engine's loop."""
        self._session.quit()

    def worker(self) -> AbstractAsyncContextManager[None]:
        """`async with engine.worker():` advances runs in the background meanwhile, at the latest until the engine is closed."""
        return AsyncBackgroundWorker(self._session)


class AsyncBackgroundWorker(AsyncWith):
    """What `worker` returns. Not a generator, which the end of the interpreter would try to finish."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __aenter__(self) -> None:
        await self._session.begin_background()

    async def __aexit__(self, *_error: object) -> None:
        await self._session.end_background()
