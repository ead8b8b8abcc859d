# Generated from stepflow/engine/flow_engine.py by `make generate`: do not edit.
# ruff: noqa: A002 - the names of parameters are those of the async face
"""FlowEngine: the blocking face of AsyncFlowEngine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, overload

from stepflow.engine.blocking.flow_engine_base import FlowEngineBase
from stepflow.engine.blocking.run import Run
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import Page, RunFilter
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.start import DEDUP_WINDOW
from stepflow.engine.client.topics import KEEP
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit
from stepflow.steps import StepFlow

In = TypeVar("In")
Out = TypeVar("Out")


class FlowEngine(FlowEngineBase):
    """The engine that a flow function receives; Engine has the same methods."""

    @overload
    def start(
        self,
        flow: Flow[None, Out],
        exchange: None = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        run_timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> Run[Out]: ...
    @overload
    def start(
        self,
        flow: Flow[In, Out],
        exchange: In,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        run_timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> Run[Out]: ...
    def start(
        self,
        flow: Flow[Any, Out],
        exchange: Any = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        run_timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> Run[Out]:
        """Create a durable run; it is stored when this returns. Starting the same id again returns the same run.

        `at` delays the first step. A lower `priority` goes first.
        `limits` say how many runs may share a key. The same `dedup_key` of a flow again within `dedup_window` (seconds or
        timedelta) starts nothing and returns the run that was started with it. A run that ended is deleted after the
        engine's `keep` (30 days): the same id then starts a new run, whose steps are done again, unless `keep_ids` refuses it
        (RunExists). With `tx`, the caller's open transaction on the same store, the run begins
        to exist when that transaction commits. A run that has not ended `run_timeout` (seconds or timedelta) after it was due first
        fails with TimedOut, wherever it is; the default is that of its flow. Raises RunExists if the id belongs to another flow or input, CodecError or TooLarge for an
        exchange that cannot be stored.
        """
        return self._blocking_run(
            self._call_tx(
                tx,
                self._verbs.start(
                    flow,
                    exchange,
                    id=id,
                    labels=labels,
                    at=at,
                    priority=priority,
                    limits=limits,
                    dedup_key=dedup_key,
                    dedup_window=dedup_window,
                    run_timeout=run_timeout,
                    tx=tx,
                ),
            )
        )  # type: ignore[arg-type, unused-ignore]  # the overloads decide

    def start_many(
        self,
        flow: Flow[In, Out],
        runs: Iterable[tuple[str | None, In]],
        *,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        run_timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> list[Run[Out]]:
        """Start a run for each (id, exchange), id None for a new one, in as few transactions as they fit into; in order.

        All of them are stored when this returns; if the process dies before, some may be. With `tx`, the caller's open
        transaction on the same store, they begin to exist when that commits. Raises what `start` raises: for an exchange that cannot be
        stored before anything is started (with `tx`, for two inputs of one id, too), RunExists for an id of another input after all others were.
        """
        found = self._call_tx(
            tx,
            self._verbs.start_many(
                flow, runs, labels=labels, at=at, priority=priority, limits=limits, run_timeout=run_timeout, tx=tx
            ),
        )
        return [self._blocking_run(one) for one in found]

    @overload
    def get(self, flow: str, id: None = None) -> Run[Any]: ...
    @overload
    def get(self, flow: Flow[Any, Out], id: str) -> Run[Out]: ...
    def get(self, flow: Flow[Any, Any] | str, id: str | None = None) -> Run[Any]:
        """A handle on a run by its id, `get("order-42")`, or typed, `get(order_flow, "order-42")`; no I/O."""
        return self._blocking_run(self._verbs.get(flow, id))  # type: ignore[arg-type, unused-ignore]  # the overloads decide

    def runs(
        self,
        filter: RunFilter | None = None,
        *,
        flow: str | None = None,
        status: str | Iterable[str] | None = None,
        open: bool | None = None,
        labels: Mapping[str, str] | None = None,
        parent: str | None = None,
        order: Literal["created", "id", "updated", "due"] = "created",
        ascending: bool = False,
        limit: int = 50,
        after: str | None = None,
        cursor: str | None = None,
    ) -> Page[RunInfo]:
        """A page of runs, the newest first; `page.next` is the `cursor` of the next page, None on the last one.

        Give a RunFilter, or some of its conditions alone. `order` is by time of creation, id, last revision or due time, the
        last first unless `ascending`; by due time only runs that sleep, or wait until a time, are listed. While runs change, a list by creation
        or id has each run that is there all the time once; one by revision or due time has no run twice, and may leave out those that move.
        A call looks at a bounded number of runs: with a `next`, a page may be shorter than `limit`, even empty. `after`, the id of the
        last run of the page before, does for a cursor in lists by creation and id. Messages of topics and hosts are listed if their flow is named.
        """
        return self._call(
            self._verbs.runs(
                filter,
                flow=flow,
                status=status,
                open=open,
                labels=labels,
                parent=parent,
                order=order,
                ascending=ascending,
                limit=limit,
                after=after,
                cursor=cursor,
            )
        )

    def broadcast(self, labels: Mapping[str, str], name: str, payload: Any = None, *, id: str | None = None) -> int:
        """Publish an event to every run that has all of these labels and has not ended; how many these are.

        It reaches every such run that exists when the last of its commits is made; each has the event for itself, as by `run.publish`. Runs that are started
        later do not get it. If the process dies meanwhile, some may have it: repeat the call with the same `id`, and each run gets it once.
        """
        return self._call(self._verbs.broadcast(labels, name, payload, id=id))

    def publish_topic(
        self, name: str, payload: Any = None, *, id: str | None = None, keep: timedelta = KEEP, tx: Any = None
    ) -> None:
        """Publish a message to a topic, once for any number of runs: those that wait for it, and those that begin to wait while it is kept.

        The same `name` and `id` twice is published once; without an `id` every call is a new message. With `tx`, the caller's open
        transaction on the same store, it is published when that commits. A worker that has registered a workflow wakes the runs that wait.
        """
        self._call_tx(tx, self._verbs.publish_topic(name, payload, id=id, keep=keep, tx=tx))

    def cancel(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """End runs as cancelled: those of a filter that have not ended, or those of one id or several.

        With a filter nothing is changed unless `dry_run=False` is given: the answer has the runs that are meant. Runs are changed in
        small commits, between which workers go on; after each of them `report(count)` is called with the number so far.
        A run that cannot be changed is skipped, the answer tells why. If the process dies meanwhile, the same call goes on with the others.
        """
        return self._call(self._verbs.cancel(runs, dry_run=dry_run, report=report))

    def redrive(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let failed runs go on at the step that failed: those of a filter, or of ids; `dry_run` and `report` as for `cancel`.

        By its id a blocked or waiting run is looked at again too, as by `run.redrive`.
        """
        return self._call(self._verbs.redrive(runs, dry_run=dry_run, report=report))

    def wake(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let runs be looked at now that sleep, poll or are blocked: those of a filter, or of ids; `dry_run` and `report` as for `cancel`.

        Runs that wait for an event, or whose call has an unknown outcome, are skipped.
        """
        return self._call(self._verbs.wake(runs, dry_run=dry_run, report=report))

    def pause(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Hold runs back as `run.pause` does: those of a filter that have not ended, or of ids; `dry_run` and `report` as for `cancel`.

        Runs that are started later are not paused: `pause_flow` pauses a flow.
        """
        return self._call(self._verbs.pause(runs, dry_run=dry_run, report=report))

    def resume(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let paused runs go on: those of a filter, or of ids; `dry_run` and `report` as for `cancel`. A paused flow stays paused."""
        return self._call(self._verbs.resume(runs, dry_run=dry_run, report=report))

    def publish(
        self,
        runs: RunFilter | str | Iterable[str],
        name: str,
        payload: Any = None,
        *,
        id: str | None = None,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Give an event to each of the runs: those of a filter that have not ended (with `status="failed"` failed ones too), or of ids.

        The same `name` and `id` twice is stored once for a run: give an `id`, and a call that was interrupted can be repeated. Runs of a registered
        flow that takes no such payload are skipped. For `dry_run` and `report` see `cancel`, for runs that are started meanwhile `broadcast`.
        """
        return self._call(self._verbs.publish(runs, name, payload, id=id, dry_run=dry_run, report=report))

    def move(
        self,
        runs: RunFilter | str | Iterable[str],
        flow: StepFlow[Any],
        to: str | list[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let open runs of a chain go on at another position, for example those whose position a new definition does not know.

        `to` is a position of this definition, e.g. `"completed:order/pay"`: the step behind it is done next, with the exchange as it is. No
        step is called, undone or repeated by that. The runs are those of a filter and this flow, or of ids; those that a worker holds are skipped.
        `dry_run` and `report` are as for `cancel`. Raises UnknownState for a position that the flow does not have.
        """
        return self._call(self._verbs.move(runs, flow, to, dry_run=dry_run, report=report))

    def fork(
        self,
        runs: RunFilter | str | Iterable[str],
        step: str,
        *,
        suffix: str,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Start a new run where each of these runs was before `step`, as `run.fork` does; its id is that of the run with `suffix` behind it.

        A run whose fork exists is skipped, so the same call can be repeated. `dry_run` and `report` are as for `cancel`.
        """
        return self._call(self._verbs.fork(runs, step, suffix=suffix, dry_run=dry_run, report=report))

    def rewind(
        self,
        runs: RunFilter | str | Iterable[str],
        step: str,
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let each of these runs go back to before `step`, as `run.rewind` does; those that a worker holds are skipped. For the rest see `fork`."""
        return self._call(self._verbs.rewind(runs, step, dry_run=dry_run, report=report))

    def tally(self, *, labels: Mapping[str, str] | None = None) -> dict[str, dict[str, int]]:
        """How many runs there are: `{"order": {"completed": 12, "waiting": 3}}`.

        With `labels` only those that have all of them, which are read one after another. Messages of topics and hosts are not counted.
        """
        return self._call(self._verbs.tally(labels=labels))
