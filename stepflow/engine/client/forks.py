"""Forks: begins a new run at an earlier revision or step of another one, or lets a run go back there itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import SAME_PRIORITY, Commit, Created, Enqueue, Record, Write
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.queries import EndedQuery, HistoryQuery, Revision, RunQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.client import fork_plan as plans
from stepflow.engine.client.fork_plan import ForkPoint, Known
from stepflow.engine.client.fork_targets import ForkTargets
from stepflow.engine.clock import Clock
from stepflow.engine.commit.canceller import PAGE, Canceller
from stepflow.engine.commit.committer import Committer
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import LostClaim, NotFound, RevMismatch, StepflowError
from stepflow.model.family import PARENT, PARENT_FAILED, RESERVED, reserved
from stepflow.model.run_timeout import renewed
from stepflow.model.state import CANCEL, CHILDREN, NOTE, TOLD, UNREAD, State

log = logging.getLogger("stepflow")


class Forks:
    """Forks and rewinds of the runs of one namespace."""

    def __init__(
        self,
        clock: Clock,
        committer: Committer,
        notifier: Notifier,
        reader: StoreReader,
        canceller: Canceller,
        store: Store,
    ) -> None:
        self._clock, self._committer, self._notifier, self._reader = clock, committer, notifier, reader
        self._canceller, self._targets = canceller, ForkTargets(store)

    async def fork(
        self, record: Record, rev: int | None, step: str | None, new_id: str, given: Any, known: Known
    ) -> bool:
        """Start the run `new_id` where the run of a full record was, unless the id is taken; `given` replaces the exchange, `...` keeps it."""
        run_id = record.state.id
        _rows, target = await self._target(record, rev, step, known)
        text, created = await self._exchange(target.state), record.created
        if given is not ...:
            if (flow := known(created.flow)) is None:
                raise StepflowError(f"fork of run {run_id!r}: with input= get the run with its flow, get(flow, id)")
            text, created = flow.codec.encode_input(given), created._replace(input_hash=flow.codec.digest(given))
        children = plans.started(run_id, target.rows)
        all_children = [one for some in children.values() for one in some]
        anew = {*await self._open(all_children), *await self._cancelled(all_children, target)}
        kept = plans.copied(run_id, plans.without_open_calls(target.rows), children, anew)
        now, to = self._clock.now(), target.transition.to
        labels = renewed(_users(target.state.labels), now, of=record.state.labels)
        transition = target.transition.with_notes(note=f"forked from run {run_id!r} at revision {target.state.rev}")
        write = Write(
            State(new_id, 0, transition, labels, target.state.annotations),
            text,
            Created(created.flow, created.input_hash, now),
        )
        commit = Commit(unowned=(new_id,), writes=(write,), queue=(Enqueue(new_id, to, now),), journal=kept)
        try:
            await self._committer.submit(commit)
        except (RevMismatch, LostClaim):
            return False
        self._warn(run_id, new_id, kept)
        self._notifier.schedule_at(now)
        return True

    async def rewind(self, record: Record, rev: int | None, step: str | None, known: Known) -> None:
        """Let the run of a full record, which no worker holds, go back; children that it started later are cancelled."""
        run_id = record.state.id
        rows, target = await self._target(record, rev, step, known)
        plans.refuse_unknown(record.state, rows)
        if record.row is not None and record.row.owner:
            raise StepflowError(f"run {run_id!r} is held by a worker: pause it, and rewind it when it is paused")
        anew = await self._anew(run_id, target)
        await self._go_back(record, rows, target, anew, f"rewound to revision {target.state.rev}")

    async def redrive(self, record: Record, commit: Commit) -> None:
        """Let a failed workflow that had children go on behind its failure, by this commit unless some of them were cancelled: these begin anew."""
        run_id = record.state.id
        query = RunQuery(self._clock.now(), status="cancelled", labels={PARENT: run_id}, limit=1)
        if await self._reader.read(query) or await self._reader.read(evolve(query, status=None, open=True)):
            rows, target = await self._reader.call(self._targets.at_revision, record, record.state.rev)
            if anew := await self._anew(run_id, target):
                note = commit.writes[0].state.transition.annotations[NOTE]
                await self._go_back(record, rows, target, anew, note)
                return
        await self._committer.submit(commit)
        self._notifier.run_changed(run_id)
        self._notifier.schedule_at(0)

    async def _anew(self, run_id: str, target: ForkPoint) -> set[str]:
        """The children that the run had at the target, and that were cancelled since then."""
        children = [one for some in plans.started(run_id, target.rows).values() for one in some]
        return set(await self._cancelled(children, target))

    async def _go_back(
        self, record: Record, rows: tuple[JournalRow, ...], target: ForkPoint, anew: set[str], note: str
    ) -> None:
        """Commit that the run goes on from the target; the children `anew` begin again."""
        run_id, state, now = record.state.id, record.state, self._clock.now()
        text = await self._exchange(target.state)
        own, transition = target.state if UNREAD in state.labels else state, target.transition
        labels = renewed({**_users(target.state.labels), **reserved(own.labels)}, now)
        children = plans.started(run_id, target.rows)
        beside = [one for some in children.values() if anew.intersection(some) for one in some]
        unwanted = await self._open([*plans.started_later(run_id, state, target), *beside])
        if plans.is_workflow(transition):
            transition = plans.rewound(transition, state, unwanted)
        transition = transition.with_notes(note=note)
        moved = State(run_id, state.rev, transition, labels, target.state.annotations)
        kept = target.rows if plans.resumes_failed(target) else plans.without_open_calls(target.rows)
        kept = plans.copied(run_id, kept, children, anew) if anew else kept
        queue = Enqueue(run_id, transition.to, now, SAME_PRIORITY)
        changed = () if kept == rows else ("",)
        write = Write(moved, text, None, state.labels if labels != state.labels else None)
        commit = Commit(
            unowned=(run_id,), writes=(write,), queue=(queue,), forget=changed, journal=kept if changed else ()
        )
        try:
            await self._committer.submit(commit)
        except (LostClaim, RevMismatch):
            raise StepflowError(f"run {run_id!r} was moved on meanwhile: pause it, and rewind it then") from None
        self._notifier.run_changed(run_id)
        await self._canceller.cancel_open(unwanted)  # at once; if this process dies here, the next attempt does it
        self._warn(run_id, run_id, kept)
        self._notifier.schedule_at(now)

    async def refusals(
        self, records: Sequence[Record], step: str, known: Known, *, rewinds: bool = False
    ) -> Mapping[str, str]:
        """Why there is no such place to fork the runs of full records at, or to rewind them to, by id."""
        return await self._reader.call(self._targets.refusals, records, step, known, rewinds)

    async def existing(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these ids of which there is a run."""
        found: list[Record] = await self._reader.read(RunQuery(self._clock.now(), ids=tuple(ids)))
        return frozenset(record.state.id for record in found)

    def _warn(self, run_id: str, into: str, rows: tuple[JournalRow, ...]) -> None:
        if used := plans.used_random(rows):
            names = ", ".join(map(repr, used))
            log.warning(
                "run %s goes on with the random values and times of run %s: %s", into, run_id, names,
                extra={"event": "forked", "run_id": into},
            )  # fmt: skip

    async def _target(
        self, record: Record, rev: int | None, step: str | None, known: Known
    ) -> tuple[tuple[JournalRow, ...], ForkPoint]:
        if (rev is None) == (step is None):
            raise StepflowError(
                f"run {record.state.id!r}: give rev=, a revision of its history, or step=, one of the two"
            )
        if rev is not None:
            return await self._reader.call(self._targets.at_revision, record, rev)
        assert step is not None
        return await self._reader.call(self._targets.before, record, step, known)

    async def _open(self, ids: list[str]) -> list[str]:
        """Those of these runs that have not ended."""
        ended = set(await self._reader.read(EndedQuery(tuple(ids)))) if ids else set()
        return [one for one in ids if one not in ended]

    async def _cancelled(self, ids: list[str], target: ForkPoint) -> list[str]:
        """Those of these children that were cancelled after the target, at a failure because of it; some workflows may still undo what they did."""
        if not ids:
            return []
        query, since = RunQuery(self._clock.now(), ids=tuple(ids), limit=len(ids)), plans.moment_of(target)
        records: list[Record] = await self._reader.read(query)
        if target.dropped or target.state.transition.annotations.get(CHILDREN) != TOLD:
            return [record.state.id for record in records if _cancelled_at(record) >= since]
        found = [record.state.id for record in records if _cancelled_at(record) >= 0]
        told: list[Record | None] = []
        for first in range(0, len(found), PAGE):
            told += await self._reader.load(found[first : first + PAGE])
        return [one.state.id for one in told if one is not None and any(e.name == PARENT_FAILED for e in one.events)]

    async def _exchange(self, state: State) -> str:
        query = HistoryQuery(state.id, since_rev=state.rev - 1, until_rev=state.rev, limit=1)
        found: list[Revision] = await self._reader.read(query)
        if not found:
            raise NotFound(f"revision {state.rev} of run {state.id!r} was pruned")
        return found[0].exchange


def _cancelled_at(record: Record) -> float:
    """When the run was cancelled, or asked to end so, microseconds UTC; -1 if it was not."""
    state, row = record.state, record.row
    if state.transition.status:
        return state.committed_at if state.transition.status == "cancelled" else -1
    if row is not None and row.cancel:  # its holder has not noted it yet
        return math.inf
    return int(state.transition.annotations.get(CANCEL, "-1"))


def _users(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that the library did not give."""
    return {name: value for name, value in labels.items() if not name.startswith(RESERVED)}
