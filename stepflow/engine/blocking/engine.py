"""Engine: the sync face of AsyncEngine; each call runs on a background event loop and blocks until it is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar, overload

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine, Idle
from stepflow.engine.blocking.run import Run
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.start import DEDUP_WINDOW, StartOptions
from stepflow.engine.clock import Clock
from stepflow.engine.loop_thread import LoopThread
from stepflow.errors import RunExists, StepflowError
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit

E = TypeVar("E")


class Engine(BlockingVerbs):
    """A session on a store. It advances runs only inside `run_until_idle`, `run_forever` and `worker`.

    `store` is a URL (`memory://`, `sqlite:///orders.db`) or a driver; `concurrency` is how many runs are advanced at the
    same time; runs that ended are kept for `retention`. Use it as `with Engine(...) as engine:`, from any thread but its
    own loop's, in the process that opened it.
    """

    def __init__(
        self,
        store: str | Driver,
        *,
        clock: Clock | None = None,
        namespace: str = "",
        concurrency: int = 64,
        retention: timedelta | None = timedelta(days=30),
    ) -> None:
        self._engine = AsyncEngine(
            store, clock=clock, namespace=namespace, concurrency=concurrency, retention=retention
        )
        super().__init__(self._engine, self._blocking)
        self._open_portal: LoopThread | None = None

    def _blocking(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            portal = self._loop_thread
        except StepflowError:
            work.close()
            raise
        return portal.call(work)

    @property
    def _loop_thread(self) -> LoopThread:
        if self._open_portal is None:
            raise StepflowError("the engine is not open: use it inside `with Engine(...) as engine:`")
        return self._open_portal

    def __enter__(self) -> Engine:
        if self._open_portal is not None:
            raise StepflowError("this engine is open already: make another Engine for a second session")
        portal = LoopThread()
        try:
            portal.call(self._engine.__aenter__())
        except BaseException:
            portal.close()
            raise
        self._open_portal = portal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        portal = self._loop_thread
        if portal.forked:  # the parent's threads and locks are not ours
            return
        try:
            portal.call(self._engine.__aexit__(kind, error, trace))
        finally:
            portal.close()
            self._open_portal = None

    def register(self, *flows: Flow[Any]) -> None:
        """This process advances the runs of these flows."""
        if self._open_portal is None:
            self._engine.register(*flows)
        else:
            self._loop_thread.call(_later(self._engine.register, *flows))

    def start(
        self,
        flow: Flow[E],
        exchange: E | None = None,
        *,
        id: str | None = None,  # noqa: A002
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        tx: Any = None,
    ) -> Run[E]:
        """Create a durable run; it is stored when this returns. Starting the same id again returns the same run.

        `at` delays the first step, a lower `priority` goes first, `limits` say how many runs may share a key. The same
        `dedup_key` of a flow again within `dedup_window` (seconds or timedelta) starts nothing and returns the run that was
        started with it. With `tx`, the caller's open transaction on the same store, the run begins to exist when that
        transaction commits. Raises RunExists if the id belongs to another flow or input, CodecError or TooLarge for an
        exchange that cannot be stored.
        """
        options = StartOptions(
            id=id,
            labels=labels,
            at=at,
            priority=priority,
            limits=limits,
            dedup_key=dedup_key,
            dedup_window=dedup_window,
        )
        if tx is not None:  # a connection may be bound to the caller's thread
            return Run(self._loop_thread, self._engine.post(tx, flow, exchange, options))
        with self._handles():
            return Run(self._loop_thread, self._loop_thread.call(self._engine.start_as(flow, exchange, options)))

    def start_many(
        self,
        flow: Flow[E],
        runs: Iterable[tuple[str | None, E | None]],
        *,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
    ) -> list[Run[E]]:
        """Start a run for each (id, exchange), id None for a new one, in as few transactions as they fit into; in order.

        All of them are stored when this returns; if the process dies before, some may be. Raises what `start` raises: for an
        exchange that cannot be stored before anything is started, RunExists for an id of another input after all others were.
        """
        portal = self._loop_thread
        made = self._engine.start_many(flow, runs, labels=labels, at=at, priority=priority, limits=limits)
        with self._handles():
            return [Run(portal, run) for run in portal.call(made)]

    @contextmanager
    def _handles(self) -> Iterator[None]:
        """The run that an error carries is given as a blocking one."""
        try:
            yield
        except RunExists as error:
            raise RunExists(str(error), Run(self._loop_thread, error.run)) from None

    @overload
    def get(self, flow: str, id: None = None) -> Run[Any]: ...
    @overload
    def get(self, flow: Flow[E], id: str) -> Run[E]: ...
    def get(self, flow: Flow[Any] | str, id: str | None = None) -> Run[Any]:  # noqa: A002
        """A handle on a run by its id, `get("order-42")`, or typed, `get(order_flow, "order-42")`; no I/O."""
        portal = self._loop_thread
        if isinstance(flow, Flow):
            return Run(portal, self._engine.get(flow, id))  # type: ignore[arg-type]  # None is refused there
        return Run(portal, self._engine.get(flow, id))  # type: ignore[arg-type]  # anything but None is refused there

    def runs(
        self,
        *,
        flow: str | None = None,
        status: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> list[RunInfo]:
        """Runs, the newest first; `after` is the last id of the page before."""
        return self._loop_thread.call(
            self._engine.runs(flow=flow, status=status, labels=labels, limit=limit, after=after)
        )

    def tally(self) -> dict[str, dict[str, int]]:
        """How many runs there are: `{"order": {"completed": 12, "waiting": 3}}`."""
        return self._loop_thread.call(self._engine.tally())

    def prune(self, older_than: timedelta) -> int:
        """Delete the runs that ended longer ago than that, with their history; how many were deleted."""
        return self._loop_thread.call(self._engine.prune(older_than))

    def run_until_idle(self, advance: bool = False) -> Idle:
        """Advance runs until nothing registered is due, nothing runs here, and nobody who may be dead holds a run.

        With `advance` (virtual clock only) time jumps to the next due time again and again until nothing is scheduled.
        """
        return self._loop_thread.call(self._engine.run_until_idle(advance))

    def run_forever(self) -> None:
        """Advance runs until SIGTERM or SIGINT; then hand back what is held."""
        portal, before, asked = self._loop_thread, {}, threading.Event()

        def stop(*_: object) -> None:
            asked.set()
            portal.run_soon(self._engine.quit)

        async def work() -> None:
            if not asked.is_set():  # else the work begins after the request to end it
                await self._engine.run_forever()

        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                before[signum] = signal.signal(signum, stop)
        try:
            portal.call(work())
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def quit(self) -> None:
        """Let `run_forever`, running in another thread, hand back what it holds and return."""
        self._loop_thread.run_soon(self._engine.quit)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """`with engine.worker():` advances runs in the background meanwhile."""
        background = self._engine.worker()
        self._loop_thread.call(background.__aenter__())
        try:
            yield
        finally:
            self._loop_thread.call(background.__aexit__(None, None, None))


async def _later(fn: Any, *args: Any) -> None:
    fn(*args)
