"""Engine: the sync face of AsyncEngine; each call runs on a background event loop and blocks until it is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from stepflow.drivers.base import Driver
from stepflow.engine.async_engine import AsyncEngine, Idle
from stepflow.engine.clock import Clock
from stepflow.engine.portal import Portal
from stepflow.engine.runs import AsyncRun
from stepflow.engine.sync_verbs import Verbs
from stepflow.engine.views import HistoryEntry, RunInfo
from stepflow.errors import RunExists, StepflowError
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status

E = TypeVar("E")


class Run(Generic[E]):
    """A handle on a run of a flow with exchange type `E`; see AsyncRun, whose methods it has without `await`."""

    def __init__(self, portal: Portal, run: AsyncRun[E]) -> None:
        self.id = run.id
        self._portal, self._run = portal, run

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def result(self, timeout: float | None = None) -> E:
        """Wait until the run has ended, at most `timeout` seconds; the exchange with which it completed.

        Raises RunFailed with the run's error, RunCancelled, or ResultTimeout (the run goes on).
        """
        return self._portal.call(self._run.result(timeout))

    def status(self) -> Status:
        """What the run is doing now."""
        return self._portal.call(self._run.status())

    def info(self) -> RunInfo:
        """Everything that is known of the run, except its exchange and its history."""
        return self._portal.call(self._run.info())

    def exchange(self) -> E:
        """The exchange as of the last commit."""
        return self._portal.call(self._run.exchange())

    def history(self, limit: int = 1000) -> list[HistoryEntry]:
        """The newest `limit` revisions, oldest first."""
        return self._portal.call(self._run.history(limit))

    def explain(self) -> str:
        """Why the run does not move, since when, when it will, and the command that would move it."""
        return self._portal.call(self._run.explain())

    def publish(self, name: str, payload: Any = None, *, id: str | None = None, tx: Any = None) -> None:  # noqa: A002
        """Give the run an event; it is kept until one wait of that name takes it. The same `id` twice is stored once."""
        if tx is not None:
            return self._run.post(tx, name, payload, id=id)
        return self._portal.call(self._run.publish(name, payload, id=id))

    def cancel(self) -> None:
        """End the run as cancelled, after its present step if a worker holds it. An ended run stays as it is."""
        self._portal.call(self._run.cancel())

    def redrive(self) -> None:
        """Let a failed run go on at the step that failed, or a blocked one be tried again at once."""
        self._portal.call(self._run.redrive())


class Engine(Verbs):
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
        self._open_portal: Portal | None = None

    def _blocking(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            portal = self._portal
        except StepflowError:
            work.close()
            raise
        return portal.call(work)

    @property
    def _portal(self) -> Portal:
        if self._open_portal is None:
            raise StepflowError("the engine is not open: use it inside `with Engine(...) as engine:`")
        return self._open_portal

    def __enter__(self) -> Engine:
        if self._open_portal is not None:
            raise StepflowError("this engine is open already: make another Engine for a second session")
        portal = Portal()
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
        portal = self._portal
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
            self._portal.call(_later(self._engine.register, *flows))

    def start(
        self,
        flow: Flow[E],
        exchange: E | None = None,
        *,
        id: str | None = None,  # noqa: A002
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tx: Any = None,
    ) -> Run[E]:
        """Create a durable run; it is stored when this returns. Starting the same id again returns the same run.

        `at` delays the first step, a lower `priority` goes first. With `tx`, the caller's open transaction on the same
        store, the run begins to exist when that transaction commits. Raises RunExists if the id belongs to another flow
        or input, CodecError or TooLarge for an exchange that cannot be stored.
        """
        portal = self._portal
        if tx is not None:  # a connection may be bound to the caller's thread
            run = self._engine.post(tx, flow, exchange, id=id, labels=labels, at=at, priority=priority)
            return Run(portal, run)
        made = self._engine.start(flow, exchange, id=id, labels=labels, at=at, priority=priority)
        try:
            return Run(portal, portal.call(made))
        except RunExists as error:
            raise RunExists(str(error), Run(portal, error.run)) from None

    @overload
    def get(self, flow: str, id: None = None) -> Run[Any]: ...
    @overload
    def get(self, flow: Flow[E], id: str) -> Run[E]: ...
    def get(self, flow: Flow[Any] | str, id: str | None = None) -> Run[Any]:  # noqa: A002
        """A handle on a run by its id, `get("order-42")`, or typed, `get(order_flow, "order-42")`; no I/O."""
        portal = self._portal
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
        return self._portal.call(self._engine.runs(flow=flow, status=status, labels=labels, limit=limit, after=after))

    def tally(self) -> dict[str, dict[str, int]]:
        """How many runs there are: `{"order": {"completed": 12, "waiting": 3}}`."""
        return self._portal.call(self._engine.tally())

    def prune(self, older_than: timedelta) -> int:
        """Delete the runs that ended longer ago than that, with their history; how many were deleted."""
        return self._portal.call(self._engine.prune(older_than))

    def run_until_idle(self, advance: bool = False) -> Idle:
        """Advance runs until nothing registered is due, nothing runs here, and nobody who may be dead holds a run.

        With `advance` (virtual clock only) time jumps to the next due time again and again until nothing is scheduled.
        """
        return self._portal.call(self._engine.run_until_idle(advance))

    def run_forever(self) -> None:
        """Advance runs until SIGTERM or SIGINT; then hand back what is held."""
        portal, before, asked = self._portal, {}, threading.Event()

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
        self._portal.run_soon(self._engine.quit)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """`with engine.worker():` advances runs in the background meanwhile."""
        background = self._engine.worker()
        self._portal.call(background.__aenter__())
        try:
            yield
        finally:
            self._portal.call(background.__aexit__(None, None, None))


async def _later(fn: Any, *args: Any) -> None:
    fn(*args)
