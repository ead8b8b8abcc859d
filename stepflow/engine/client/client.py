"""Client: what any process may do with runs by their id: start, publish, cancel, redrive, read, wait for the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, TypeVar

from attrs import evolve

from stepflow.drivers.port.commit import (
    Cancel,
    Commit,
    Created,
    Enqueue,
    Event,
    Record,
)
from stepflow.drivers.port.delays import Delay, DelayQuery
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import (
    HistoryQuery,
    LimitUsageQuery,
    PrunedQuery,
    Revision,
    RunQuery,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.store import Store
from stepflow.engine.checks import NAME_BYTES, checked_timeout, is_awaited
from stepflow.engine.client.bulk import Bulk
from stepflow.engine.client.explain import refusal
from stepflow.engine.client.filters import Order, Page, PageCursor, RunFilter, parse_cursor, without_own
from stepflow.engine.client.finder import RunFinder
from stepflow.engine.client.forks import Forks
from stepflow.engine.client.info import RunInfo, info_of
from stepflow.engine.client.pauses import Pauses
from stepflow.engine.client.repair import had_children, redriven, woken
from stepflow.engine.client.resolve import resolved, unresolved
from stepflow.engine.client.waiters import RunWaiters, not_found, too_late
from stepflow.engine.clock import Clock
from stepflow.engine.commit.broadcast import Broadcast
from stepflow.engine.commit.callers import note_post
from stepflow.engine.commit.canceller import Canceller
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.creation import creation
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import NotFound, ResultTimeout, RevMismatch, RunCancelled, RunEnded, StepflowError
from stepflow.model import outcome as outcomes
from stepflow.model.blocked import unreadable_run
from stepflow.model.checks import checked_size, event_problem
from stepflow.model.codec import Codec
from stepflow.model.current import current_run
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status, status_of
from stepflow.model.limits import admission, dump
from stepflow.model.state import FAILED_CALL
from stepflow.replay.dry_run import Recording

T = TypeVar("T")
Existing = Created | PrunedId
FOREVER = (1 << 63) - 1  # microseconds
PAGE = 500  # of runs that are counted one by one


def planned_start(
    flow: Flow[Any, Any],
    exchange: Any,
    run_id: str,
    labels: Mapping[str, str],
    due: int,
    priority: int,
    now: int,
    limits: str = "",
) -> Commit:
    """The commit that creates a run; encodes the exchange, and so refuses what cannot be stored."""
    text, digest = flow.codec.encode_input(exchange), flow.codec.digest(exchange)
    return creation(flow, text, digest, run_id, labels, due, priority, now, limits)


class Client:
    """Operations on runs by id."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: Committer,
        notifier: Notifier,
        reader: StoreReader,
        lifetime: Lifetime,
        waiters: RunWaiters,
        forget_ids: Callable[[], Awaitable[None]],
        canceller: Canceller,
    ) -> None:
        self._store, self._clock, self._committer, self._notifier = store, clock, committer, notifier
        self.reader, self._lifetime, self._waiters = reader, lifetime, waiters
        self._forget_ids, self._canceller = forget_ids, canceller
        self.pauses = Pauses(clock, committer, notifier, reader)
        self.finder = RunFinder(reader, clock, self.pauses)
        self.bulk = Bulk(reader, clock, committer, notifier, self.finder, self.pauses)
        self.forks = Forks(clock, committer, notifier, reader, canceller, store)

    async def create(self, commit: Commit) -> Existing | None:
        """Make a planned start; None, or what there is of this id: how its run was created before, or that this was pruned."""
        while True:
            try:
                await self._committer.submit(commit)
            except RevMismatch as error:
                if (found := (await self._existing(error.ids)).get(error.ids[0])) is not None:
                    return found
                continue  # its run was pruned since, or its id is free again
            for row in commit.queue:
                if isinstance(row, Enqueue):
                    self._notifier.schedule_at(row.due)
            return None

    async def create_many(self, commits: Sequence[Commit]) -> list[Existing | None]:
        """Make planned starts together, in as few transactions as they fit into; the answers of `create` in order.

        An id that exists, or is there twice, does not keep the others from being made.
        """
        answers = await self._committer.submit_all(commits)
        known = [run_id for answer in answers if isinstance(answer, RevMismatch) for run_id in answer.ids]
        for answer in answers:
            if isinstance(answer, StepflowError) and not isinstance(answer, RevMismatch):
                raise answer
        ids = [commit.writes[0].state.id for commit in commits]
        there = await self._existing(known)
        due = [row.due for commit in commits for row in commit.queue if isinstance(row, Enqueue)]
        self._notifier.schedule_at(min(due, default=FOREVER))
        return [
            await self.create(commit) if isinstance(answer, RevMismatch) and run_id not in there else there.get(run_id)
            for run_id, commit, answer in zip(ids, commits, answers, strict=True)
        ]

    async def _existing(self, ids: Sequence[str]) -> dict[str, Existing]:
        """How the runs of these ids were created, or that they were pruned; those of no other id.

        An id whose time is over is none of them: it is freed for the next try, or one of those kept before it is.
        """
        found: dict[str, Existing] = {
            record.state.id: record.created for record in await self.reader.load(ids) if record
        }
        missing = [run_id for run_id in ids if run_id not in found]
        if missing:
            pruned, now = await self.reader.read(PrunedQuery(missing)), self._clock.now()
            found |= {gone.id: gone for gone in pruned if not gone.is_over(now)}
            if any(gone.is_over(now) for gone in pruned):
                await self._forget_ids()
        return found

    async def runs(
        self, wanted: RunFilter, order: Order, ascending: bool, limit: int, after: str | None, cursor: str | None
    ) -> Page[RunInfo]:
        """A page of the wanted runs: the first one, the one behind the run `after`, or that of a cursor."""
        start = None if cursor is None else parse_cursor(cursor, order, ascending)
        if after is not None:
            start = await self._behind(after, order, ascending)
        page = await self.finder.page(wanted, order, ascending, limit, start)
        now, paused, dead = self._clock.now(), await self.pauses.names(), await self.finder.dead_owners(page)
        return Page((info_of(one, now, paused=one.created.flow in paused, dead=dead) for one in page), page.next)

    async def _behind(self, run_id: str, order: Order, ascending: bool) -> PageCursor:
        if order not in ("created", "id"):
            raise StepflowError(
                f"after={run_id!r:.80}: in a list by {order}, runs move: give cursor= the `next` of the page before"
            )
        found: list[Record] = await self.reader.read(RunQuery(0, ids=(run_id,)))
        if not found:
            raise NotFound(f"after={run_id!r}: there is no such run any more; ask for the first page again")
        return PageCursor(order, ascending, RunQuery(0, order=order).key_of(found[0]))

    async def open_children(self, parent: str, limit: int) -> list[RunInfo]:
        """The newest children of a run that have not ended."""
        return await self.runs(RunFilter(parent=parent, open=True), "created", False, limit, None, None)

    async def tally(self, labels: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """The number of runs by flow and status, of those that have all labels."""
        counts: dict[str, dict[str, int]] = {}
        if not labels:
            for row in await self.reader.read(TallyQuery(self._clock.now())):
                counts.setdefault(row.flow, {})[row.status] = row.count
            return without_own(counts)
        query, paused = RunQuery(self._clock.now(), labels=labels, limit=PAGE), await self.pauses.names()
        while page := await self.reader.read(query):
            for record in page:
                of_flow = counts.setdefault(record.created.flow, {})
                flow_paused = record.created.flow in paused
                status = status_of(record.state, record.row, query.now, flow_paused=flow_paused).value
                of_flow[status] = of_flow.get(status, 0) + 1
            query = evolve(query, after=query.key_of(page[-1]))
        return without_own(counts)

    async def kept_back(self, info: RunInfo) -> str:
        """Why the limits of a run that is due keep it from being claimed; empty if they do not."""
        now, text = self._clock.now(), dump(info.limits)
        if info.status is not Status.QUEUED or not text:
            return ""
        (limit_usage,) = await self.reader.read(LimitUsageQuery(text, now))
        return refusal(admission(text, limit_usage, now), limit_usage)

    async def load(self, run_id: str) -> Record:
        """The record of a run; NotFound if there is none."""
        (record,) = await self.reader.load([run_id])
        if record is None:
            raise not_found(run_id)
        return record

    async def recording(self, run_id: str) -> Recording:
        """What is stored of a run of a workflow, all of one moment."""
        while True:
            record = await self.load(run_id)
            (rows,) = await self.reader.read(JournalQuery((run_id,))) if record.journaled else ((),)
            if not rows or (await self.load(run_id)).state.rev == record.state.rev:  # else it may have begun anew
                failed_call = record.state.transition.annotations.get(FAILED_CALL, "")
                return Recording(run_id, record.exchange, rows, record.events, failed_call)

    async def delay_of(self, record: Record) -> Delay | None:
        """The pending delay that will move on a run without a queue row and without a wait; None if there is none."""
        state = record.state
        if record.row is not None or state.transition.status or state.transition.events:
            return None
        found = await self.reader.read(DelayQuery(FOREVER, run_id=state.id, pending=True))
        return next((d for d in found if not d.commit or d.state.rev == state.rev), None)

    async def history(self, run_id: str, limit: int, before: int | None) -> Sequence[Revision]:
        """The newest revisions of a run, those before `before` if it is given, oldest first."""
        until = None if before is None else before - 1
        query = HistoryQuery(run_id, limit=limit, last=True, until_rev=until)
        found: Sequence[Revision] = await self.reader.read(query)
        if not found and before is None:  # each run keeps its newest revision
            raise not_found(run_id)
        return found

    async def first(self, run_id: str) -> Revision | None:
        """The first revision of a run; None if there is none."""
        found: Sequence[Revision] = await self.reader.read_brief(HistoryQuery(run_id, limit=1))
        return found[0] if found else None

    def planned_event(self, run_id: str, name: str, payload: Any, event_id: str) -> Event:
        """An event that is published now, with the payload as text."""
        self._lifetime.check_open()
        return planned_event(run_id, name, payload, event_id, self._clock.now())

    async def publish(self, event: Event) -> None:
        """Store an event for a run; the same name and id twice is stored once."""
        try:
            await self._committer.submit(Commit(publish=(event,)))
        except NotFound:
            raise not_found(event.run_id) from None
        self._notifier.schedule_at(0)

    async def broadcast(self, event: Event, labels: Mapping[str, str]) -> int:
        """Store the event for every run with these labels that has not ended; how many there are."""
        reached = await Broadcast(self._committer, self.reader, self._clock, labels).publish(event)
        self._notifier.schedule_at(0)
        return reached

    async def post(self, tx: Any, *commits: Commit) -> list[Existing | None]:
        """Make planned starts, or publish, through the caller's own transaction; the answers of `create`. If one cannot be posted, none is.

        Raises TypeError for an asynchronous connection that a blocking engine is given, before any statement is sent.
        """
        self._lifetime.check_open()
        note_post()
        return await self._within(tx, self._store.post, self._store.apost, *commits)

    async def post_event(self, tx: Any, event: Event) -> None:
        """Publish through the caller's own transaction."""
        await self.post(tx, Commit(publish=(event,)))

    async def load_in(self, tx: Any, run_id: str) -> Record:
        """The record of a run as the caller's own transaction sees it; NotFound if there is none. Refuses what `post` refuses."""
        record = await self._within(tx, self._store.load_in, self._store.aload_in, run_id)
        if record is None:
            raise not_found(run_id)
        return record

    async def load_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        """A schedule as the caller's own transaction sees it. Refuses what `post` refuses."""
        return await self._within(tx, self._store.load_schedule_in, self._store.aload_schedule_in, schedule_id)

    async def _within(
        self, tx: Any, call: Callable[..., T], acall: Callable[..., Awaitable[T]], *arguments: object
    ) -> T:
        """Make this call of the store through the caller's connection, whichever kind that is."""
        self._lifetime.check_open()
        if not is_awaited(tx, blocking=self._lifetime.blocking):
            return call(tx, *arguments)
        if callable(getattr(tx, "run_sync", None)):  # SQLAlchemy's AsyncConnection or AsyncSession
            found: T = await tx.run_sync(call, *arguments)
            return found
        return await acall(tx, *arguments)

    async def post_cancel(self, tx: Any, run_id: str) -> None:
        """Cancel through the caller's own transaction, unless the run is cancelled already."""
        state = (await self.load_in(tx, run_id)).state
        if state.transition.status not in ("", "cancelled"):
            raise RunEnded(run_id, state.transition.status, "it cannot be cancelled")
        if not state.transition.status:
            await self.post(tx, Commit(cancel=(Cancel(run_id, self._clock.now()),)))

    async def cancel(self, run_id: str, record: Record | None = None) -> None:
        """End a run as cancelled: at once if no worker holds it, else its holder does. `record`: as it was read just now.

        A cancelled run stays as it is; RunEnded for one that completed or failed.
        """
        await self._canceller.cancel(run_id, self.load, record)

    async def redrive(self, run_id: str) -> None:
        """Let a failed run go on at the step that failed, its crashes forgiven; a blocked or waiting one be looked at now."""
        record = await self.load(run_id)
        commit = redriven(record, self._clock.now())
        if had_children(record):
            await self.forks.redrive(record, commit)
        else:
            await self._resume(run_id, commit)

    async def wake(self, run_id: str) -> None:
        """Let a run that sleeps, polls or is blocked be looked at now."""
        await self._resume(run_id, woken(await self.load(run_id), self._clock.now()))

    async def _resume(self, run_id: str, commit: Commit) -> None:
        await self._committer.submit(commit)
        self._notifier.run_changed(run_id)
        self._notifier.schedule_at(0)

    async def unresolved(self, run_id: str) -> list[str]:
        """The names of the calls of a run whose outcome is unknown, as `resolve` takes them."""
        record = await self.load(run_id)
        (rows,) = await self.reader.read(JournalQuery((run_id,))) if record.journaled else ((),)
        return unresolved(record, rows)

    async def resolve(self, run_id: str, step: str, value: str | None, error: str | None) -> None:
        """Store how a call of unknown outcome ended, and let the run go on."""
        record = await self.load(run_id)
        (rows,) = await self.reader.read(JournalQuery((run_id,)))
        await self._resume(run_id, resolved(record, rows, step, value, error, self._clock.now()))

    async def result(self, run_id: str, codec: Codec[T], timeout: timedelta | float | None) -> T:  # noqa: ASYNC109
        """Wait for the end; the exchange with which the run completed. Raises ResultTimeout, RunFailed, RunCancelled, CodecError."""
        limit_s = checked_timeout(timeout)
        record = await self._waiters.ended(run_id) or await self._end(run_id, limit_s)
        transition = record.state.transition
        if transition.problem and transition.status != "completed":
            raise unreadable_run(run_id, transition.problem)
        if transition.status == "failed":
            raise outcomes.failure(run_id, transition)
        if transition.status == "cancelled":
            raise RunCancelled(f"run {run_id!r} was cancelled")
        return codec.decode(record.exchange)

    async def _end(self, run_id: str, limit_s: float | None) -> Record:
        """The record of a run once it has ended."""
        waiter = self._waiters.add(run_id)
        try:
            await self._waiters.look(waiter)
            if waiter.ended.done():
                return waiter.ended.result()
            with self._notifier.step_waits(step) if (step := current_run()) else nullcontext():
                return await asyncio.wait_for(waiter.ended, limit_s)
        except ResultTimeout:
            raise
        except TimeoutError:
            raise too_late(run_id, f"within {limit_s:g} s") from None
        finally:
            self._waiters.remove(waiter)


def planned_event(run_id: str, name: str, payload: Any, event_id: str, now: int) -> Event:
    """An event whose payload is text already."""
    if not isinstance(name, str) or not name:
        raise StepflowError(f"publish({name!r:.80}): give the event's name, a non-empty text")
    if problem := event_problem(name):
        raise StepflowError(f"publish({name!r:.80}): {problem}")
    if not isinstance(event_id, str) or not event_id:
        raise StepflowError(f"publish(..., id={event_id!r:.80}): give a non-empty text, or leave it out")
    checked_size("id", event_id, NAME_BYTES)
    return Event(run_id, name, event_id, payload_text(payload), now)


def payload_text(payload: Any) -> str:
    """A value as JSON text for a receiver whose type is not known."""
    return _payload_codec(type(payload)).encode(payload)


def _payload_codec(type_: type[Any]) -> Codec[Any]:
    """The receiver's type is not known here; plain JSON is written as it is, e.g. a tuple as a list."""
    plain = type_ in (dict, list, tuple, str, int, float, bool, type(None))
    return Codec(Any, exact=False) if plain else Codec(type_)
