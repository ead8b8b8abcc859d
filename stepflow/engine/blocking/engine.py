# Generated from stepflow/engine/async_engine.py by `make generate`: do not edit.
# ruff: noqa: A002 - the names of parameters are those of the async face
"""Engine: the blocking face of AsyncEngine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, overload

from stepflow.engine.async_engine import Idle
from stepflow.engine.blocking.engine_base import EngineBase
from stepflow.engine.blocking.schedule import Schedule
from stepflow.engine.client.pauses import PausedFlow
from stepflow.engine.client.schedule import ScheduleInfo
from stepflow.engine.flow_engine import In, Out
from stepflow.engine.health import Health
from stepflow.engine.jumps import MAX_JUMPS
from stepflow.model.flow import Flow


class Engine(EngineBase):
    """A session on a store. It advances runs only inside `run_until_idle`, `run_forever` and `worker`.

    `store` is a URL (`memory://`, `sqlite:///orders.db`) or a driver; `concurrency` is how many runs are advanced at the
    same time. Runs that ended are kept for `keep` (also called `retention`), then they are deleted: a start with such an id is
    a new run, unless `keep_ids` says for how long it is refused (RunExists). Values go through the stages of `payload` before they are
    stored, e.g. `[Zlib(), Fernet(keys)]`. Traces and metrics go to the OpenTelemetry providers that the application has set when the
    engine is opened; `instrument` names others (`OpenTelemetry(...)`), or is False for none. With
    `remote` flow functions that hosts serve are executed there. Use it as `with Engine(...) as engine:`,
    or call `open` and `close`.

    It may be used from any thread but its own event loop's, in the process that opened it.
    """

    @overload
    def schedule(
        self,
        id: str,
        flow: Flow[None, Out],
        input: None = None,
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
    ) -> Schedule[Out]: ...
    @overload
    def schedule(
        self,
        id: str,
        flow: Flow[In, Out],
        input: In,
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
    ) -> Schedule[Out]: ...
    def schedule(
        self,
        id: str,
        flow: Flow[Any, Out],
        input: Any = None,
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
    ) -> Schedule[Out]:
        """Start a run of the flow at each tick: of a `cron` expression in the zone `tz`, or after each interval `every` from now on.

        The run of a tick has the id `<schedule>@<tick in UTC>`. Any worker of the namespace fires a tick, once. `overlap` says what
        happens while a run of the schedule has not ended: `skip` the tick, `queue` it until then, or `cancel` that run. A tick
        that no worker notices within a minute and `catch_up` starts no run. Each run has the `run_timeout`, as `start` takes it. `jitter` delays each tick by a part of it. The same id again changes
        the schedule: it keeps a pause, and with the same timing its next tick. With `tx`, the caller's open transaction on the same store, it takes
        place when that commits. Raises StepflowError for a timing that cannot be meant, and what `start` raises for the input.
        """
        return Schedule(
            self._call_tx(
                tx,
                self._engine.schedule(
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
                    tx=tx,
                ),
            ),
            self._call,
        )  # type: ignore[arg-type, unused-ignore]  # the overloads decide

    def get_schedule(self, id: str) -> Schedule[Any]:
        """A handle on a schedule by its id; no I/O."""
        return Schedule(self._engine.get_schedule(id), self._call)

    def schedules(self) -> list[ScheduleInfo]:
        """All schedules of the namespace, by id; one that cannot be read here is among them, and says why in `unreadable`."""
        return self._call(self._engine.schedules())

    def pause_flow(self, flow: Flow[Any, Any] | str) -> None:
        """Let no worker take runs of this flow until `resume_flow`; runs that are held go on. It takes starts, which are `paused`.

        The pause is stored, so it holds for all workers, and for those that begin later. The flow need not be registered; a warning is logged
        if no worker at work has registered a flow of this name, and no run of it is stored.
        """
        self._call(self._engine.pause_flow(flow))

    def resume_flow(self, flow: Flow[Any, Any] | str) -> None:
        """Let workers take runs of a paused flow again; those that are paused themselves stay so."""
        self._call(self._engine.resume_flow(flow))

    def paused_flows(self) -> list[PausedFlow]:
        """The flows of the namespace that are paused, by name."""
        return self._call(self._engine.paused_flows())

    def prune(self, older_than: timedelta, report: Callable[[int, int], object] | None = None) -> int:
        """Delete the runs that ended longer ago than that, with their history; how many were deleted.

        It goes in short transactions with pauses between them. After each of them `report(runs, revisions)` is called with what was
        deleted so far. Messages of topics go, too, when their time is over: they are no runs, but their revisions count.
        """
        return self._call(self._engine.prune(older_than, report))

    def health(self) -> Health:
        """How the engine's background threads and tasks are: `health().ok`, and the newest error of each. Never blocks."""
        return self._engine.health()

    def run_until_idle(
        self,
        advance: bool = False,
        *,
        until: datetime | timedelta | None = None,
        max_jumps: int = MAX_JUMPS,
        timeout: timedelta | float | None = None,
    ) -> Idle:
        """Advance runs until nothing registered is due, nothing runs here, and no owner that may be dead holds a run.

        With `advance` (virtual clock only) time jumps to the next due time again and again until nothing is scheduled, or
        until `until`: an aware datetime, or the time that may pass. Raises StepflowError when something is still scheduled
        after `max_jumps` jumps, for example a poll whose condition never comes true.
        After `timeout` (seconds or timedelta) no step begins any more; those that have begun get 10 s to end.
        """
        return self._call(self._engine.run_until_idle(advance, until=until, max_jumps=max_jumps, timeout=timeout))
