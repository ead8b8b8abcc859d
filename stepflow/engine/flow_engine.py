"""AsyncFlowEngine: what a flow function may do with its engine: start, find, list and count runs, and all verbs on States."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar, overload

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.engine.checks import checked_statuses
from stepflow.engine.client.client import Client, Existing
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.client.start import DEDUP_WINDOW, StartOptions, StartPlanner
from stepflow.engine.clock import moment, uuid7
from stepflow.engine.states.api import AsyncVerbs, VerbParts
from stepflow.errors import Duplicate, RunExists, StepflowError
from stepflow.model.checks import checked_id, checked_labels, checked_limit
from stepflow.model.family import PARENT
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit

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

    async def start(
        self,
        flow: Flow[In, Out],
        exchange: In | None = None,
        *,
        id: str | None = None,  # noqa: A002
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        dedup_key: str | None = None,
        dedup_window: timedelta | float = DEDUP_WINDOW,
        tx: Any = None,
    ) -> AsyncRun[Out]:
        """Create a durable run; it is stored when this returns. Starting the same id again returns the same run.

        `at` delays the first step. A lower `priority` goes first.
        `limits` say how many runs may share a key. The same `dedup_key` of a flow again within `dedup_window` (seconds or
        timedelta) starts nothing and returns the run that was started with it. A run that ended is deleted after the
        engine's `keep` (30 days): the same id then starts a new run, whose steps are done again, unless `keep_ids` refuses it
        (RunExists). With `tx`, the caller's open transaction on the same store, the run begins
        to exist when that transaction commits. Raises RunExists if the id belongs to another flow or input, CodecError or TooLarge for an
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
        commit = self._planned(flow, exchange, options)
        if tx is not None:
            return self._made(flow, commit, await self._parts.client.post(tx, commit), exchange)
        try:
            found = await self._parts.client.create(commit)
        except Duplicate as earlier:
            return self._handle(earlier.run_id, flow)
        return self._made(flow, commit, found, exchange)

    async def start_many(
        self,
        flow: Flow[In, Out],
        runs: Iterable[tuple[str | None, In | None]],
        *,
        labels: Mapping[str, str] | None = None,
        at: datetime | None = None,
        priority: int = 0,
        limits: Limit | Iterable[Limit] = (),
        tx: Any = None,
    ) -> list[AsyncRun[Out]]:
        """Start a run for each (id, exchange), id None for a new one, in as few transactions as they fit into; in order.

        All of them are stored when this returns; if the process dies before, some may be. With `tx`, the caller's open
        transaction on the same store, they begin to exist when that commits. Raises what `start` raises: for an
        exchange that cannot be stored before anything is started, RunExists for an id of another input after all others were.
        """
        self._parts.lifetime.check_open()
        shared = StartOptions(labels=labels, at=at, priority=priority, limits=limits)
        planner = StartPlanner(flow, shared, self._parts.clock)
        given = list(runs)
        commits = [planner.plan(run_id, exchange) for run_id, exchange in given]
        client = self._parts.client
        if tx is not None:
            found = [await client.post(tx, commit) for commit in commits]
        else:
            found = await client.create_many(commits)
        return [
            self._made(flow, commit, created, exchange)
            for (_, exchange), commit, created in zip(given, commits, found, strict=True)
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
        *,
        flow: str | None = None,
        status: str | Iterable[str] | None = None,
        open: bool | None = None,  # noqa: A002
        labels: Mapping[str, str] | None = None,
        parent: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> list[RunInfo]:
        """Runs, the newest first; `after` is the last id of the page before.

        `status` is one status or several; `open=True` leaves out the runs that have ended, `open=False` all others.
        `parent` asks for the direct children of that run.
        """
        self._parts.lifetime.check_open()
        wanted = checked_statuses(status, open)
        wanted_labels = checked_labels(labels) | ({} if parent is None else {PARENT: checked_id(parent)})
        query = RunQuery(self._parts.clock.now(), flow, None, wanted_labels, after, checked_limit(limit))
        return await self._parts.client.runs(query, wanted)

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

    async def tally(self, *, labels: Mapping[str, str] | None = None) -> dict[str, dict[str, int]]:
        """How many runs there are: `{"order": {"completed": 12, "waiting": 3}}`.

        With `labels` only those that have all of them, which are read one after another.
        """
        self._parts.lifetime.check_open()
        return await self._parts.client.tally(checked_labels(labels))

    def _planned(self, flow: Flow[In, Out], exchange: In | None, options: StartOptions) -> Commit:
        self._parts.lifetime.check_open()
        return StartPlanner(flow, options, self._parts.clock).plan(options.id, exchange)

    def _made(self, flow: Flow[Any, Out], commit: Commit, found: Existing | None, exchange: Any) -> AsyncRun[Out]:
        """The run of a start; `found` is how a run of this id was created before, if there is one."""
        run, created = self._handle(commit.writes[0].state.id, flow), commit.writes[0].created
        if isinstance(found, PrunedId):
            raise RunExists(_pruned(found, self._parts.clock.now()), run)
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


def _pruned(gone: PrunedId, now: int) -> str:
    """Why an id cannot be started although there is no run."""
    instead = "use another id, or start it later"
    if gone.is_over(now):
        kept = f"its id was kept until {moment(gone.until).isoformat()} (keep_ids=), and is not freed inside of a caller's transaction"
        instead = "start it without tx=, or after the next pruning"
    elif gone.until:
        kept = f"its id is kept until {moment(gone.until).isoformat()} (keep_ids=)"
    else:
        kept = "its records are being deleted: `stepflow prune` completes that"
    return f"run {gone.id!r} ended, was pruned, and is not done again: {kept}; {instead}"
