"""AsyncFlowEngine: what a flow function may do with its engine: start, find, list and count runs, and all verbs on States."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar, overload

from stepflow.drivers.port.commit import Commit, Created
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.store import Driver, Store
from stepflow.engine.checks import checked_starts
from stepflow.engine.client.bulk import (
    PAUSE,
    RESUME,
    Affected,
    CancelVerb,
    Verb,
    checked_dry_run,
    checked_runs,
    publishing,
)
from stepflow.engine.client.bulk_forks import forking, rewinding
from stepflow.engine.client.bulk_move import moving
from stepflow.engine.client.bulk_repair import RedriveVerb, WakeVerb
from stepflow.engine.client.client import Client, Existing
from stepflow.engine.client.filters import Page, RunFilter, checked_filter, checked_order, of_flow
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.client.start import DEDUP_WINDOW, StartOptions, StartPlanner, pruned_text
from stepflow.engine.client.topics import KEEP, planned_message
from stepflow.engine.clock import uuid7
from stepflow.engine.states.api import AsyncVerbs, VerbParts
from stepflow.errors import Duplicate, RunExists, StepflowError
from stepflow.model.checks import checked_id, checked_labels, checked_limit
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit
from stepflow.steps import StepFlow

In = TypeVar("In")
Out = TypeVar("Out")


class EngineParts(VerbParts, Protocol):
    """What it needs of an open engine beside the parts of the verbs on States."""

    client: Client
    driver: Driver
    store: Store
    flows: dict[str, Flow[Any, Any]]


class AsyncFlowEngine(AsyncVerbs):
    """The engine that a flow function receives; AsyncEngine has the same methods."""

    _parts: EngineParts

    def __init__(self, parts: EngineParts) -> None:
        super().__init__(parts)

    @overload
    async def start(
        self, flow: Flow[None, Out], exchange: None = None, *, id: str | None = None, labels: Mapping[str, str] | None = None,
        at: datetime | None = None, priority: int = 0, limits: Limit | Iterable[Limit] = (), dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW, run_timeout: timedelta | float | None = None, tx: Any = None,
    ) -> AsyncRun[Out]: ...  # fmt: skip
    @overload
    async def start(
        self, flow: Flow[In, Out], exchange: In, *, id: str | None = None, labels: Mapping[str, str] | None = None,
        at: datetime | None = None, priority: int = 0, limits: Limit | Iterable[Limit] = (), dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW, run_timeout: timedelta | float | None = None, tx: Any = None,
    ) -> AsyncRun[Out]: ...  # fmt: skip
    async def start(
        self,
        flow: Flow[Any, Out],
        exchange: Any = None,
        *,
        id: str | None = None,  # noqa: A002
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        run_timeout: timedelta | float | None = None,
        tx: Any = None,
    ) -> AsyncRun[Out]:
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
        options = StartOptions(
            id=id, labels=labels, at=at, priority=priority, limits=limits, dedup_key=dedup_key, dedup_window=dedup_window,
            run_timeout=run_timeout,
        )  # fmt: skip
        commit = self._planned(flow, exchange, options)
        if tx is not None:
            return self._made(flow, commit, (await self._parts.client.post(tx, commit))[0], exchange)
        try:
            found = await self._parts.client.create(commit)
        except Duplicate as earlier:
            return self._handle(earlier.run_id, flow)
        return self._made(flow, commit, found, exchange)

    async def start_many(
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
    ) -> list[AsyncRun[Out]]:
        """Start a run for each (id, exchange), id None for a new one, in as few transactions as they fit into; in order.

        All of them are stored when this returns; if the process dies before, some may be. With `tx`, the caller's open
        transaction on the same store, they begin to exist when that commits. Raises what `start` raises: for an exchange that cannot be
        stored before anything is started (with `tx`, for two inputs of one id, too), RunExists for an id of another input after all others were.
        """
        self._parts.lifetime.check_open()
        shared = StartOptions(labels=labels, at=at, priority=priority, limits=limits, run_timeout=run_timeout)
        planner = StartPlanner(flow, shared, self._parts.clock)
        given = [(exchange, planner.plan(run_id, exchange)) for run_id, exchange in checked_starts(runs)]
        commits, client = [commit for _exchange, commit in given], self._parts.client
        if tx is not None:  # an id of two inputs would be noticed only after the caller's commit
            firsts: dict[str, Created | None] = {}
            for exchange, commit in given:
                start = commit.writes[0]
                self._made(flow, commit, firsts.setdefault(start.state.id, start.created), exchange)
        found = await (client.create_many(commits) if tx is None else client.post(tx, *commits))
        return [
            self._made(flow, commit, created, exchange)
            for (exchange, commit), created in zip(given, found, strict=True)
        ]

    @overload
    def get(self, flow: str, id: None = None) -> AsyncRun[Any]: ...
    @overload
    def get(self, flow: Flow[Any, Out], id: str) -> AsyncRun[Out]: ...
    def get(self, flow: Flow[Any, Any] | str, id: str | None = None) -> AsyncRun[Any]:  # noqa: A002
        """A handle on a run by its id, `get("order-42")`, or typed, `get(order_flow, "order-42")`; no I/O."""
        if isinstance(flow, Flow):
            return self._handle(checked_id(id), flow)
        if id is not None:
            raise StepflowError(f"get({flow!r:.80}, {id!r:.80}): give the flow itself, or the id alone")
        return self._handle(checked_id(flow), None)

    async def runs(
        self,
        filter: RunFilter | None = None,  # noqa: A002
        *,
        flow: str | None = None,
        status: str | Iterable[str] | None = None,
        open: bool | None = None,  # noqa: A002
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
        self._parts.lifetime.check_open()
        given = {"flow": flow, "status": status, "open": open, "labels": labels, "parent": parent}
        wanted = checked_filter(filter, {name: value for name, value in given.items() if value is not None})
        by = checked_order(order, ascending)
        if after is not None and cursor is not None:
            raise StepflowError("runs(after=..., cursor=...): give one of them")
        return await self._parts.client.runs(wanted, by, ascending, checked_limit(limit), after, cursor)

    async def broadcast(
        self,
        labels: Mapping[str, str],
        name: str,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002
    ) -> int:
        """Publish an event to every run that has all of these labels and has not ended; how many these are.

        It reaches every such run that exists when the last of its commits is made; each has the event for itself, as by `run.publish`. Runs that are started
        later do not get it. If the process dies meanwhile, some may have it: repeat the call with the same `id`, and each run gets it once.
        """
        wanted = checked_labels(labels)
        if not wanted:
            raise StepflowError(f"broadcast({labels!r:.80}): give at least one label that the runs have")
        event_id = uuid7(self._parts.clock) if id is None else id
        return await self._parts.client.broadcast(
            self._parts.client.planned_event("*", name, payload, event_id), wanted
        )

    async def publish_topic(
        self,
        name: str,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002
        keep: timedelta = KEEP,
        tx: Any = None,
    ) -> None:
        """Publish a message to a topic, once for any number of runs: those that wait for it, and those that begin to wait while it is kept.

        The same `name` and `id` twice is published once; without an `id` every call is a new message. With `tx`, the caller's open
        transaction on the same store, it is published when that commits. A worker that has registered a workflow wakes the runs that wait.
        """
        parts = self._parts
        parts.lifetime.check_open()
        now = parts.clock.now()
        commit = planned_message(name, payload, uuid7(parts.clock) if id is None else id, keep, now)
        await (parts.client.create(commit) if tx is None else parts.client.post(tx, commit))

    async def cancel(
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
        return await self._affected("cancel", CancelVerb(self._parts.client.cancel), runs, dry_run, report)

    async def redrive(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let failed runs go on at the step that failed: those of a filter, or of ids; `dry_run` and `report` as for `cancel`.

        By its id a blocked or waiting run is looked at again too, as by `run.redrive`.
        """
        return await self._affected("redrive", RedriveVerb(self._parts.client.redrive), runs, dry_run, report)

    async def wake(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let runs be looked at now that sleep, poll or are blocked: those of a filter, or of ids; `dry_run` and `report` as for `cancel`.

        Runs that wait for an event, or whose call has an unknown outcome, are skipped.
        """
        return await self._affected("wake", WakeVerb(), runs, dry_run, report)

    async def pause(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Hold runs back as `run.pause` does: those of a filter that have not ended, or of ids; `dry_run` and `report` as for `cancel`.

        Runs that are started later are not paused: `pause_flow` pauses a flow.
        """
        return await self._affected("pause", PAUSE, runs, dry_run, report)

    async def resume(
        self,
        runs: RunFilter | str | Iterable[str],
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let paused runs go on: those of a filter, or of ids; `dry_run` and `report` as for `cancel`. A paused flow stays paused."""
        return await self._affected("resume", RESUME, runs, dry_run, report)

    async def publish(
        self,
        runs: RunFilter | str | Iterable[str],
        name: str,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Give an event to each of the runs: those of a filter that have not ended (with `status="failed"` failed ones too), or of ids.

        The same `name` and `id` twice is stored once for a run: give an `id`, and a call that was interrupted can be repeated. Runs of a registered
        flow that takes no such payload are skipped. For `dry_run` and `report` see `cancel`, for runs that are started meanwhile `broadcast`.
        """
        event_id = uuid7(self._parts.clock) if id is None else id
        event = self._parts.client.planned_event("*", name, payload, event_id)
        return await self._affected("publish", publishing(event, runs, self._parts.flows), runs, dry_run, report)

    async def move(
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
        verb, wanted = moving(flow, to), checked_runs(runs, "move")
        if isinstance(wanted, RunFilter):
            wanted = of_flow(wanted, flow.name)
        return await self._affected("move", verb, wanted, dry_run, report)

    async def fork(
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
        verb = forking(self._parts.client.forks, self._parts.flows, step, suffix)
        return await self._affected("fork", verb, runs, dry_run, report)

    async def rewind(
        self,
        runs: RunFilter | str | Iterable[str],
        step: str,
        *,
        dry_run: bool | None = None,
        report: Callable[[int], object] | None = None,
    ) -> Affected:
        """Let each of these runs go back to before `step`, as `run.rewind` does; those that a worker holds are skipped. For the rest see `fork`."""
        verb = rewinding(self._parts.client.forks, self._parts.flows, step)
        return await self._affected("rewind", verb, runs, dry_run, report)

    async def _affected(
        self, name: str, verb: Verb, runs: Any, dry_run: bool | None, report: Callable[[int], object] | None
    ) -> Affected:
        self._parts.lifetime.check_open()
        wanted = checked_runs(runs, name)
        return await self._parts.client.bulk.do(verb, wanted, checked_dry_run(dry_run, wanted), report)

    async def tally(self, *, labels: Mapping[str, str] | None = None) -> dict[str, dict[str, int]]:
        """How many runs there are: `{"order": {"completed": 12, "waiting": 3}}`.

        With `labels` only those that have all of them, which are read one after another. Messages of topics and hosts are not counted.
        """
        self._parts.lifetime.check_open()
        return await self._parts.client.tally(checked_labels(labels))

    def _planned(self, flow: Flow[Any, Any], exchange: Any, options: StartOptions) -> Commit:
        self._parts.lifetime.check_open()
        return StartPlanner(flow, options, self._parts.clock).plan(options.id, exchange)

    def _made(self, flow: Flow[Any, Out], commit: Commit, found: Existing | None, exchange: Any) -> AsyncRun[Out]:
        """The run of a start; `found` is how a run of this id was created before, if there is one."""
        run, created = self._handle(commit.writes[0].state.id, flow), commit.writes[0].created
        if isinstance(found, PrunedId):
            raise RunExists(pruned_text(found, self._parts.clock.now()), run)
        if (
            found is not None
            and created is not None
            and not (found.flow == created.flow and self._parts.store.same_input(found.input_hash, created.input_hash))
            and not (found.flow == flow.name and flow.codec.is_former_digest(exchange, found.input_hash))
        ):
            what = f"flow {found.flow!r}" if found.flow != flow.name else "another input"
            raise RunExists(f"run {run.id!r} was started before with {what}: use another id, or get({run.id!r})", run)
        return run

    def _handle(self, run_id: str, flow: Flow[Any, Out] | None) -> AsyncRun[Out]:
        parts = self._parts
        parts.lifetime.check_open()
        return AsyncRun(parts.client, parts.clock, parts.driver.url, parts.flows, run_id, flow)
