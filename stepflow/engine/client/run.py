"""AsyncRun: a handle on one run; making one does no I/O, each method asks the store."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from attrs import evolve

from stepflow.drivers.port.commit import Record
from stepflow.engine.checks import checked_new_id
from stepflow.engine.client import explain as explanation
from stepflow.engine.client.client import Client, payload_text
from stepflow.engine.client.filters import Page
from stepflow.engine.client.info import PLAIN_JSON, HistoryEntry, RunInfo, entry_of, info_of, unreadable
from stepflow.engine.client.payload_check import check_payload
from stepflow.engine.client.resolve import failure_text
from stepflow.engine.client.timeline import TimelineEntry, timeline
from stepflow.engine.clock import Clock, uuid7
from stepflow.errors import CodecError, RunExists
from stepflow.model.checks import checked_limit
from stepflow.model.codec import Codec, Unopened
from stepflow.model.family import child_awaited
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.model.state import STYLE
from stepflow.replay.dry_run import Recording

E = TypeVar("E")
log = logging.getLogger("stepflow")
NO_TEXTS: Mapping[str, str] = MappingProxyType({})


class AsyncRun(Generic[E]):
    """A run of a flow with exchange type `E`; every method raises NotFound if there is no such run."""

    id: str

    def __init__(
        self,
        client: Client,
        clock: Clock,
        store: str,
        flows: dict[str, Flow[Any, Any]],
        run_id: str,
        flow: Flow[Any, E] | None,
    ) -> None:
        self.id = run_id
        self._client, self._clock, self._store, self._flows, self._flow = client, clock, store, flows, flow
        self._codec: Codec[E] = Codec(Any) if flow is None else flow.result_codec

    def __repr__(self) -> str:
        return f"AsyncRun({self.id!r})"

    async def result(self, timeout: timedelta | float | None = None) -> E:  # noqa: ASYNC109 - the public name of the same idea
        """Wait until the run has ended, at most `timeout` (seconds or timedelta); the exchange with which it completed.

        Raises RunFailed with the run's error, RunCancelled, or ResultTimeout (the run goes on).
        """
        try:
            return await self._client.result(self.id, self._codec, timeout)
        except CodecError as error:
            self._tell_of_another_flow(await self._client.load(self.id), error)
            raise

    async def status(self) -> Status:
        """What the run is doing now."""
        return (await self._info(await self._client.load(self.id))).status

    async def info(self, *, tx: Any = None) -> RunInfo:
        """Everything that is known of the run, except its exchange and its history.

        With `tx`, the caller's open transaction on the same store, as that will leave it: with what it has posted. A run that it
        started has revision 0.
        """
        if tx is not None:
            return await self._info(await self._client.load_in(tx, self.id))
        record = await self._client.load(self.id)
        dead = await self._client.finder.dead_owners([record])
        return evolve(await self._info(record, dead), input=await self._input(record))

    async def _info(self, record: Record, dead: Collection[str] = ()) -> RunInfo:
        paused, delay = record.created.flow in await self._client.pauses.names(), await self._client.delay_of(record)
        return info_of(record, self._clock.now(), delay, paused=paused, dead=dead)

    async def _input(self, record: Record) -> Any:
        """The JSON value of the input of a workflow; None of another run, and of one that cannot be read here.

        It is the exchange of the first revision: `continue_as_new` and the result replace it later.
        """
        if STYLE not in record.state.transition.annotations:
            return None
        first = await self._client.first(self.id)
        try:
            return PLAIN_JSON.decode(record.exchange if first is None else first.exchange)
        except CodecError:
            return None

    async def exchange(self) -> E:
        """The exchange as of the last commit; of a workflow its input, and once it has completed its result."""
        record = await self._client.load(self.id)
        if why := unreadable(record):
            raise Unopened(why)
        ended = self._flow is None or record.state.transition.status == "completed"
        codec: Codec[E] = self._codec if self._flow is None or ended else self._flow.codec
        try:
            return codec.decode(record.exchange)
        except CodecError as error:
            self._tell_of_another_flow(record, error)
            raise

    def _tell_of_another_flow(self, record: Record, error: CodecError) -> None:
        """Raises CodecError for a value that does not fit as the handle was made with another flow than that of the run."""
        flow = record.created.flow
        if self._flow is not None and flow not in ("", self._flow.name):  # empty: it cannot be read
            raise CodecError(
                f"run {self.id!r} is of flow {flow!r}, not of {self._flow.name!r}: get it with its own flow: {error}"
            ) from error

    async def unfit_events(self) -> list[str]:
        """Why the waits of the flow cannot take events that are stored for the run, one text for each; needs `get(flow, id)`."""
        flow, record = self._flow, await self._client.load(self.id)
        if flow is None:
            return []
        found = [(event, flow.event_problem(event.name, event.payload)) for event in record.events]
        return [
            f"event {event.name!r} (id {event.id!r}): {why}"
            for event, why in found
            if why and event.name in flow.events
        ]

    async def check_event(self, name: str, payload: Any) -> Flow[Any, Any] | None:
        """Raises CodecError for an event that the wait of the run cannot take, as far as its flow, or what a workflow stored, tells; its flow, if that is known."""
        record = await self._client.load(self.id)
        flow = self._known_flow(record.created.flow)
        check_payload(flow, name, payload_text(payload), record, self._clock.now())
        return flow

    async def recording(self) -> Recording:
        """What is stored of a run of a workflow: its input, its journal and its unread events."""
        return await self._client.recording(self.id)

    async def history(self, limit: int = 1000, *, before: int | None = None) -> list[HistoryEntry]:
        """The newest `limit` revisions, or those before revision `before`, oldest first.

        They are fewer if their exchanges have more than 64 million characters: ask again with `before` the first one's `rev`.
        """
        found = await self._client.history(self.id, checked_limit(limit), before)
        return [entry_of(revision) for revision in found]

    async def timeline(self, limit: int = 100, *, cursor: str | None = None) -> Page[TimelineEntry]:
        """The newest `limit` records, or those behind the `next` of the page before: revisions and calls of the journal, newest first.

        Each tells when it was recorded, and how long after the one before it. It reads no exchange, and no more of a long journal than it shows.
        """
        page = await timeline(self._client.reader, self.id, checked_limit(limit), cursor)
        if not page:
            await self._client.load(self.id)  # NotFound, if there is no such run
        return page

    async def explain(self, *, store: str | None = None) -> str:
        """Why the run does not move, since when, when it will, and the command that moves it: with the URL of this engine's store, or `store`."""
        info, url = await self.info(), store or self._store
        children = await self._client.open_children(self.id, explanation.SHOWN + 1)
        ids = {child_awaited(self.id, name) for name in info.awaits}
        awaited = [child for child in children[: explanation.SHOWN] if child.id in ids]
        return await self._explained(
            info, url, children, {child.id: await self._explained(child, url) for child in awaited}
        )

    async def _explained(
        self, info: RunInfo, url: str, children: Sequence[RunInfo] = (), of_children: Mapping[str, str] = NO_TEXTS
    ) -> str:
        client = self._client
        kept_back, owners = await client.kept_back(info), await client.finder.owners(info)
        hosts = await client.finder.hosts_of(info.to) if info.status is Status.QUEUED else []
        queued = info.status is Status.QUEUED and not hosts
        left = await client.finder.hosts_of(info.to, left=True) if queued else []
        both = info.status is Status.PAUSED and info.paused and info.flow in await client.pauses.names()
        return explanation.explain(
            info, url, self._flows, kept_back, owners, children, hosts, left, flow_paused=both, of_children=of_children
        )

    async def publish(self, name: str, payload: Any = None, *, id: str | None = None, tx: Any = None) -> None:  # noqa: A002
        """Give the run an event; it is kept until one wait of that name takes it.

        The same `name` and `id` twice is stored once; without an `id` every call is a new event. With `tx`, the caller's open
        transaction on the same store, it happens when that transaction commits. Raises RunEnded if the run was completed or
        cancelled. A handle that knows its flow (from `start`, or `get(flow, id)`) logs a warning if the flow does not wait for an event of
        this name, or for another type of payload.
        """
        event_id = uuid7(self._clock) if id is None else id
        event = self._client.planned_event(self.id, name, payload, event_id)
        if self._flow is not None and (problem := self._flow.event_problem(name, event.payload)):
            log.warning("run %s: event %r is published, but %s", self.id, name, problem)
        if tx is not None:
            await self._client.post_event(tx, event)
            return
        await self._client.publish(event)

    async def cancel(self, *, tx: Any = None) -> None:
        """End the run as cancelled. If a worker holds it, its step gets CancelledError at once, or, in a thread, comes to its end.

        When this returns, the run cannot complete or fail any more; until its holder has ended it, `info().cancel_requested` is
        true. A cancelled run stays as it is; RunEnded for one that completed or failed. With `tx`, the caller's open transaction on
        the same store, it happens when that transaction commits.
        """
        if tx is not None:
            await self._client.post_cancel(tx, self.id)
            return
        await self._client.cancel(self.id)

    async def fork(
        self,
        *,
        rev: int | None = None,
        step: str | None = None,
        id: str | None = None,  # noqa: A002
        input: Any = ...,  # noqa: A002
    ) -> AsyncRun[E]:
        """Start a new run where this one was: at revision `rev`, or before `step` (its name, path or position; of a workflow the key of a call).

        It gets the exchange, the labels, and of a workflow the journal of that moment, with the random values and times that were used (a
        warning names them). Children that have ended are its children, too; those that are open are started anew. It gets no events and no
        data. `input` replaces the exchange, for a handle that knows its flow. Raises NotFound for a revision that is not there any more, or a
        step that was not made, StepflowError for a name that several steps have, RunExists for an id that is taken.
        """
        new_id = uuid7(self._clock) if id is None else checked_new_id(id)
        new = AsyncRun(self._client, self._clock, self._store, self._flows, new_id, self._flow)
        record = await self._client.load(self.id)
        if not await self._client.forks.fork(record, rev, step, new_id, input, self._known_flow):
            raise RunExists(f"run {new_id!r} exists, or its id is kept: fork with another id", new)
        return new

    async def rewind(self, *, rev: int | None = None, step: str | None = None) -> None:
        """Let the run go back to revision `rev`, or to the moment before `step`, and go on from there, in a new revision.

        No worker may hold it: `pause` it first. Later rows of the journal are deleted, children that were started later are cancelled.
        Events that were consumed do not come again, what was published is not taken back. Also for a run that has ended. Raises as `fork`.
        """
        await self._client.forks.rewind(await self._client.load(self.id), rev, step, self._known_flow)

    def _known_flow(self, name: str) -> Flow[Any, Any] | None:
        return self._flow if self._flow is not None and self._flow.name == name else self._flows.get(name)

    async def pause(self) -> None:
        """Hold the run back, over all workers, until `resume`: its status is `paused`.

        A worker that holds it releases it when its present step, or call, is stored. Due times and time limits go on, and take effect
        at the resume. Events are stored: those that were published within a wait's time limit count. `cancel` works at once, `result`
        waits. A paused run stays so; RunEnded for one that has ended.
        """
        await self._client.pauses.set_run(self.id, paused=True)

    async def resume(self) -> None:
        """Let a paused run go on; one that is not paused stays as it is. RunEnded for one that has ended."""
        await self._client.pauses.set_run(self.id, paused=False)

    async def resolve(self, step: str, value: Any = None) -> None:
        """Say that an `at_most_once` call whose outcome is unknown took place: the run continues after it.

        `step` is the key of a call of a workflow or of `once`, or the name of a chain's step, its path or position. `value` is what the call
        returned; for a step of a chain it is the exchange after it, None: as it was before. Raises NotFound for another one, StepflowError for
        a run that has no such call.
        """
        await self._client.resolve(self.id, step, None if value is None else payload_text(value), None)

    async def resolve_failed(self, step: str, error: Exception | str) -> None:
        """Say that an `at_most_once` call whose outcome is unknown failed with this error, or did not take place; see `resolve`.

        What would follow if the step had raised it follows: retry groups are asked, a workflow sees the exception; a call of `once` raises it.
        """
        await self._client.resolve(self.id, step, None, failure_text(error))

    async def redrive(self) -> None:
        """Let a failed run go on at the step that failed, a blocked one be tried again, a waiting one be looked at, at once.

        Children that were cancelled when a workflow failed begin anew.
        """
        await self._client.redrive(self.id)

    async def wake(self) -> None:
        """Let the run be looked at now: one that sleeps or polls does not wait for its time, a blocked one is tried again.

        Raises StepflowError for a run that has ended, that waits for an event, or whose call has an unknown outcome.
        """
        await self._client.wake(self.id)
