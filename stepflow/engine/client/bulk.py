"""Bulk: does one thing to many runs, given by their ids or by a filter, in small commits; Affected says what was done."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, define, evolve, frozen

from stepflow.drivers.port.commit import Cancel, Commit, Event, Record
from stepflow.drivers.port.inbox import cancel_of
from stepflow.drivers.port.pauses import Pause
from stepflow.drivers.port.queries import RunQuery
from stepflow.engine.client.filters import RunFilter, matches, narrowed, parse_cursor
from stepflow.engine.client.finder import RunFinder
from stepflow.engine.client.pauses import Pauses
from stepflow.engine.client.payload_check import check_payload
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import LostClaim, RevMismatch, StepflowError, StoreError
from stepflow.model.checks import checked_id
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import OPEN, Status
from stepflow.model.state import STYLE

FIRST, FEWEST, MOST = 20, 5, 100  # runs of one batch of commits
QUICK_S, SLOW_S = 0.010, 0.030  # of a batch, while others that write may wait: then the next one is larger, or smaller
PAGE = 500  # runs that are read at once
GONE = "it changed meanwhile"
KEPT = 100_000  # ids that an answer has, and reasons
TRIES = 20  # of a run that moves on each time
TOGETHER = 16  # runs that take more than one commit, or reads of their own: their commits share transactions, their reads go side by side


@frozen
class Affected:
    """What a verb did to many runs, or with `dry_run` would do.

    `count` is the number of runs that it changed, `ids` has them (at most 100,000), `skipped` says for runs that it left alone why, by id.
    """

    count: int
    ids: list[str]
    skipped: Mapping[str, str] = Factory(dict)
    dry_run: bool = False


class Verb(ABC):
    """One thing to do: to runs of which statuses, by which commit."""

    statuses: tuple[Status, ...]

    @abstractmethod
    def plan(self, record: Record, now: int) -> Commit | None:
        """The commit that does it to a run, None if that takes more than one. Raises StepflowError for a run to which it cannot be done."""

    async def alone(self, record: Record) -> None:  # noqa: B027 - called only after a plan that is None
        """Do it to a run of which `plan` knows no commit; the record is a full one."""

    async def refusals(self, records: Sequence[Record]) -> Mapping[str, str]:  # noqa: ARG002 - for verbs that have to read
        """Find out in a dry run to which of these runs, of which `plan` knew no commit, `alone` could not do it, and why, by id; the records are full ones."""
        return {}

    def done(self, record: Record, notifier: Notifier) -> None:
        """Tell the other parts of the engine that it was done to a run."""
        notifier.run_changed(record.state.id)
        notifier.schedule_at(0)


@define
class CancelVerb(Verb):
    """End it as cancelled."""

    cancel: Callable[[str, Record], Any]
    statuses = tuple(Status(name) for name in OPEN)

    def plan(self, record: Record, now: int) -> Commit | None:
        """Of a workflow more than its record has to be known."""
        state, row = record.state, record.row
        if state.transition.status:
            raise StepflowError(f"it is {state.transition.status}")
        if row is not None and row.owner:
            return Commit(cancel=(Cancel(state.id),))
        return None if STYLE in state.transition.annotations else cancel_of(record, now)

    async def alone(self, record: Record) -> None:
        """As a single run is cancelled."""
        await self.cancel(record.state.id, record)

    def done(self, record: Record, notifier: Notifier) -> None:
        """A holder in this process hears of it at once."""
        if record.row is not None and record.row.owner:
            notifier.cancel_requested(record.state.id)
        else:
            Verb.done(self, record, notifier)


@define
class PublishVerb(Verb):
    """Give it an event."""

    event: Event
    flows: Mapping[str, Flow[Any, Any]]
    statuses: tuple[Status, ...]

    def plan(self, record: Record, now: int) -> Commit | None:
        """The event of the run."""
        if record.state.transition.status not in ("", "failed"):
            raise StepflowError(f"it is {record.state.transition.status}")
        flow, row = self.flows.get(record.created.flow), record.row
        waits = record if row is None or not row.paused else None  # what a paused run has unread is not known here
        check_payload(flow, self.event.name, self.event.payload, waits, now)
        return Commit(publish=(evolve(self.event, run_id=record.state.id, published_at=now),))


@define
class PauseVerb(Verb):
    """Hold it back, or let it go on."""

    paused: bool
    statuses: tuple[Status, ...]

    def plan(self, record: Record, now: int) -> Commit | None:  # noqa: ARG002
        """It is paused, or not."""
        if record.state.transition.status:
            raise StepflowError(f"it is {record.state.transition.status}")
        return Commit(pause=(Pause(record.state.id, self.paused),))


PAUSE = PauseVerb(True, CancelVerb.statuses)
RESUME = PauseVerb(False, (Status.PAUSED,))


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all of it, then raise the first error, if there is one."""
    for error in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(error, BaseException):
            raise error


def publishing(event: Event, runs: Any, flows: Mapping[str, Flow[Any, Any]]) -> PublishVerb:
    """The verb for an event, of which runs of the `flows` that are known take no unfit payload; failed runs get it if they are asked for by their ids or status."""
    named = isinstance(runs, RunFilter) and Status.FAILED.value in (
        runs.status if isinstance(runs.status, frozenset) else (runs.status,)
    )
    return PublishVerb(event, flows, (*CancelVerb.statuses, *((Status.FAILED,) if named else ())))


class Bulk:
    """Does verbs to many runs."""

    def __init__(
        self,
        reader: StoreReader,
        clock: Clock,
        committer: Committer,
        notifier: Notifier,
        finder: RunFinder,
        pauses: Pauses,
    ) -> None:
        self._reader, self._clock, self._committer, self._notifier = reader, clock, committer, notifier
        self._finder, self._pauses = finder, pauses

    async def do(
        self, verb: Verb, runs: RunFilter | Sequence[str], dry_run: bool, report: Callable[[int], object] | None
    ) -> Affected:
        """Do it to the runs, or only find out to which; `report` is called with the number of runs so far."""
        wanted = narrowed(runs, verb.statuses) if isinstance(runs, RunFilter) else None
        work, size, way_s = _Work(self, verb, wanted, dry_run), FIRST, await self._way_s()
        async for records in self._found(wanted, runs if not isinstance(runs, RunFilter) else (), work):
            left = list(records)
            while left:
                piece, left = left[:size], left[size:]
                try:
                    took_s = await work.do(piece) - way_s
                except StoreError as trouble:
                    trouble.add_note(f"{work.count} runs were changed before this; repeat the call for the others")
                    raise
                size = min(2 * size, MOST) if took_s < QUICK_S else max(size // 2, FEWEST) if took_s > SLOW_S else size
                if report is not None:
                    report(work.count)
                await asyncio.sleep(0)
        return Affected(work.count, work.ids, work.skipped, dry_run)

    async def _way_s(self) -> float:
        """How long a question takes whose answer is no work for the store: its way, which delays nothing else there."""
        times = [self.monotonic()]
        for _try in range(2):
            await self._reader.time()
            times.append(self.monotonic())
        return min(times[1] - times[0], times[2] - times[1])

    async def _found(
        self, wanted: RunFilter | None, ids: Sequence[str], work: _Work
    ) -> AsyncIterator[Sequence[Record]]:
        """The records of the runs, in pieces."""
        if wanted is None:
            known = list(dict.fromkeys(ids))
            for first in range(0, len(known), PAGE):
                some = known[first : first + PAGE]
                records = await self.read(some)
                for run_id in some:
                    if run_id not in records:
                        work.skip(run_id, "there is no such run")
                yield [records[run_id] for run_id in some if run_id in records]
            return
        cursor = None
        while True:
            page = await self._finder.page(wanted, "created", False, PAGE, cursor)
            yield page
            if page.next is None:
                return
            cursor = parse_cursor(page.next, "created", False)

    async def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The records of those of these runs that are there, by id."""
        found: list[Record] = await self._reader.read(RunQuery(self.now(), ids=tuple(ids)))
        return {record.state.id: record for record in found}

    async def means(self, wanted: RunFilter, record: Record) -> bool:
        """Whether a filter means a run."""
        return matches(wanted, record, self._clock.now(), await self._pauses.names())

    def now(self) -> int:
        """The time."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return self._clock.monotonic()

    async def load(self, ids: Sequence[str]) -> list[Record | None]:
        """The full records of these runs, None for one that is not there any more."""
        return await self._reader.load(ids)

    async def commit(self, commits: Sequence[Commit]) -> list[Any]:
        """Make the commits together; the answer or the error of each."""
        return await self._committer.submit_all(commits)

    def done(self, verb: Verb, record: Record) -> None:
        """Tell that it was done to a run."""
        verb.done(record, self._notifier)


@define
class _Work:
    """One call of a verb, and what it did so far."""

    bulk: Bulk
    verb: Verb
    wanted: RunFilter | None
    dry_run: bool
    count: int = 0
    ids: list[str] = Factory(list)
    skipped: dict[str, str] = Factory(dict)

    async def do(self, records: Sequence[Record]) -> float:
        """Do it to these runs: in one batch, and to those that it cannot have, or that moved on meanwhile, alone. The seconds that the batch took."""
        planned, apart = list[tuple[Record, Commit]](), list[str]()
        for record in records:
            if (commit := self._planned(record)) is not None:
                planned.append((record, commit))
            elif record.state.id not in self.skipped:
                apart.append(record.state.id)
        moved, took_s, before = [], 0.0, len(self.ids)
        if self.dry_run:
            for record, _commit in planned:
                self._count(record.state.id)
        elif planned:
            began = self.bulk.monotonic()
            answers = await self.bulk.commit([commit for _record, commit in planned])
            took_s = self.bulk.monotonic() - began
            for (record, _commit), answer in zip(planned, answers, strict=True):
                if isinstance(answer, RevMismatch | LostClaim):
                    moved.append(record.state.id)
                else:
                    self._answered(record, answer)
        size = MOST if self.dry_run else TOGETHER
        for first in range(0, len(apart), size):
            some = apart[first : first + size]
            full = await self.bulk.load(some)
            await (self._look_at(some, full) if self.dry_run else _all(map(self._apart, some, full)))
        for first in range(0, len(moved), TOGETHER):
            await _all(map(self._again, moved[first : first + TOGETHER]))
        self._sort(records, before)
        return took_s

    def _sort(self, records: Sequence[Record], before: int) -> None:
        """Put the ids that came after the first `before`, and the reasons, in the order of the runs: those side by side came as they were ready."""
        order = {record.state.id: place for place, record in enumerate(records)}
        self.ids[before:] = sorted(self.ids[before:], key=order.__getitem__)
        self.skipped |= {run_id: self.skipped.pop(run_id) for run_id in order if run_id in self.skipped}

    async def _look_at(self, ids: Sequence[str], records: Sequence[Record | None]) -> None:
        """Find out to which of these runs, of which `plan` knows no commit, it could be done."""
        refused = await self.verb.refusals([record for record in records if record is not None])
        for run_id, record in zip(ids, records, strict=True):
            if record is None or run_id in refused:
                self.skip(run_id, refused.get(run_id, GONE))
            else:
                self._count(run_id)

    async def _apart(self, run_id: str, record: Record | None) -> None:
        """Do it to a run of which `plan` knows no commit."""
        if record is None:
            return self.skip(run_id, GONE)
        try:
            await self.verb.alone(record)
        except StoreError:
            raise
        except StepflowError as refusal:
            return self.skip(run_id, str(refusal))
        return self._count(run_id)

    async def _again(self, run_id: str) -> None:
        """Do it to a run that moved on, as it is now."""
        for _try in range(TRIES):
            record = (await self.bulk.read((run_id,))).get(run_id)
            if record is None or (self.wanted and not await self.bulk.means(self.wanted, record)):
                return self.skip(run_id, GONE)
            commit = self._planned(record)
            if run_id in self.skipped:
                return None
            if commit is None:
                return await self._apart(run_id, *await self.bulk.load([run_id]))
            (answer,) = await self.bulk.commit([commit])
            if not isinstance(answer, RevMismatch | LostClaim):
                return self._answered(record, answer)
        return self.skip(run_id, "it moves on all the time: try again")

    def _planned(self, record: Record) -> Commit | None:
        """The commit for a run; one to which it cannot be done is skipped."""
        try:
            return self.verb.plan(record, self.bulk.now())
        except StepflowError as refusal:
            self.skip(record.state.id, str(refusal))
            return None

    def _answered(self, record: Record, answer: Any) -> None:
        if isinstance(answer, StoreError):
            raise answer
        if isinstance(answer, StepflowError):
            return self.skip(record.state.id, str(answer))
        self.bulk.done(self.verb, record)
        return self._count(record.state.id)

    def _count(self, run_id: str) -> None:
        self.count += 1
        if len(self.ids) < KEPT:
            self.ids.append(run_id)

    def skip(self, run_id: str, why: str) -> None:
        """Note why a run is left alone."""
        if len(self.skipped) < KEPT:
            self.skipped[run_id] = why


def checked_runs(runs: Any, verb: str) -> RunFilter | list[str]:
    """The runs of a verb: a filter, or ids."""
    if isinstance(runs, RunFilter):
        return runs
    if isinstance(runs, str):
        return [checked_id(runs)]
    if not isinstance(runs, Iterable) or isinstance(runs, Mapping | bytes):
        raise StepflowError(f"{verb}({runs!r:.80}): give the id of a run, several, or RunFilter(...)")
    return [checked_id(run_id) for run_id in runs]


def checked_dry_run(dry_run: Any, runs: RunFilter | list[str]) -> bool:
    """Whether nothing is to be changed; by default so for a filter."""
    if dry_run is None:
        return isinstance(runs, RunFilter)
    if not isinstance(dry_run, bool):
        raise StepflowError(f"dry_run={dry_run!r:.80}: give True to see which runs are meant, False to change them")
    return dry_run
