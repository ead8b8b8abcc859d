"""The tables of one namespace and how a commit changes them: checked first, then applied, so that it cannot stop half-way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from attrs import evolve

from stepflow.drivers.memory.counters import Counters
from stepflow.drivers.memory.delays import DelaysAndData
from stepflow.drivers.memory.limits import Control
from stepflow.drivers.memory.queue import ReadyQueue
from stepflow.drivers.memory.run import Run, own
from stepflow.drivers.port.commit import (
    Commit,
    CommitResult,
    Committed,
    Created,
    Dequeue,
    Enqueue,
    Event,
    Owner,
    Record,
    Write,
)
from stepflow.drivers.port.delays import Delay, delay_key
from stepflow.drivers.port.placeholders import filled
from stepflow.drivers.port.queries import Revision
from stepflow.drivers.port.step import Member, Step, answer, whole
from stepflow.errors import LostClaim, NotFound, RevMismatch, StepflowError
from stepflow.model.lifecycle import EPOCH, QueueRow
from stepflow.model.limits import LimitUsage, after_start
from stepflow.model.state import State, Transition, new_tuple


class MemoryTables:
    """The runs, queue and owners of a namespace."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.runs: dict[str, Run] = {}
        self.log: list[Revision] = []
        self.owners: dict[str, Owner] = {}
        self.held: defaultdict[str, set[str]] = defaultdict(set)  # owner -> ids of its rows
        self.queue = ReadyQueue(self.row)
        self.attached, self.control = DelaysAndData(), Control()
        self.pending: dict[str, Run] = {}  # delays that have not fired, by the key of their queue row

    def entry(self, key: str) -> Run | None:
        """The run of this id, or the pending delay of this key."""
        return self.runs.get(key) or self.pending.get(key)

    def load(self, key: str) -> Record | None:
        """The record of a run, or of a pending delay; a delay is born as its run was."""
        found = self.entry(key)
        if found is None:
            return None
        run = self.runs.get(found.state.id)
        record = found.record()
        return record if run is None else record._replace(created=run.created)

    def row(self, key: str) -> QueueRow | None:
        """The queue row of a run or a delay, if it has one."""
        run = self.entry(key)
        return None if run is None else run.row

    def place(self, run_id: str, row: QueueRow | None) -> None:
        """Replace a run's queue row and keep the indexes right."""
        run = self.entry(run_id)
        assert run is not None
        if run.row is not None and run.row.owner:
            self.held[run.row.owner].discard(run_id)
        run.row = row
        if row is None:
            return
        if row.owner:
            self.held[row.owner].add(run_id)
        else:
            self.queue.add(run_id, row)

    def limit_usage(self) -> LimitUsage:
        """What stands against limits now."""
        held = ((run_id, row) for ids in self.held.values() for run_id in sorted(ids) if (row := self.row(run_id)))
        return self.control.limit_usage(held)

    def unown(self, run_id: str, row: QueueRow, due: int) -> None:
        """Give a row back to the queue with a new epoch."""
        self.place(run_id, row._replace(owner="", due=due, epoch=next(self.counters.epochs)))

    def fenced(self, run_id: str, epoch: int) -> LostClaim | None:
        """The error of a holder whose claim is gone, or None."""
        row = self.row(run_id)
        if row is not None and row.epoch == epoch:
            return None
        return LostClaim(
            f"run {run_id!r}: the claim with epoch {epoch} is gone, another worker may hold the run: drop it"
        )

    def commit(self, member: Member, now: int, owner: str) -> CommitResult:
        """Apply one commit of the session of this owner, or answer why not."""
        done = self._step(member, now) if type(member) is Step else None
        return answer(member, self._checked(whole(member), now, owner)) if done is None else done

    def _step(self, step: Step, now: int) -> tuple[int, ...] | None:
        """Apply what most commits are: a write of the fenced run and nothing else. None for another, or one to be refused."""
        run = self.runs.get(step.id)
        if run is None or run.row is None or step.part is not None:
            return None
        if run.row[EPOCH] != step.epoch or run.state.rev != step.rev:
            return None
        return (self._revise(run, step.transition, step.labels, step.annotations, step.exchange, now),)

    def _checked(self, commit: Commit, now: int, owner: str) -> Committed | StepflowError:
        problem = self._problem(commit, now)
        if problem is not None:
            return problem
        if commit.dedup is not None:
            self.control.reserved[commit.dedup.key] = commit.dedup
        if commit.placeholders:
            head, blob = self.counters.head + 1, self.attached.last_blob + 1
            commit = filled(commit, range(head, head + len(commit.writes)), range(blob, blob + len(commit.data)), now)
        revs = tuple([self._write(write, now) for write in commit.writes])
        epochs: tuple[int, ...] = ()
        if commit.consume or commit.queue or commit.publish or commit.cancel:
            epochs = self._rest(commit, now, owner)
        data_revs = tuple([self.attached.store(data) for data in commit.data])
        offsets = tuple([self._delay(delay) for delay in commit.delays])
        return Committed(revs, data_revs, offsets, epochs, now)

    def _delay(self, given: Delay) -> int:
        """Keep a delay and queue it; its offset."""
        delay = self.attached.put(given)
        run = self.runs.get(delay.state.id)
        flow, epoch = delay.state.transition.to, next(self.counters.epochs)
        key = delay_key(delay.state.id, delay.offset)
        exchange = "null" if run is None else run.exchange
        self.pending[key] = Run(delay.state, Created(flow, "", delay.due), exchange, delay=delay)
        self.place(key, QueueRow(flow, delay.due, "", epoch))
        return delay.offset

    def _problem(self, commit: Commit, now: int) -> StepflowError | None:
        fence, dedup = commit.fence, commit.dedup
        if fence is not None and (lost := self.fenced(fence.id, fence.epoch)) is not None:
            return lost
        for run_id in commit.unowned:
            row = self.row(run_id)
            if row is not None and row.owner:
                return LostClaim(f"run {run_id!r} is held by a worker: cancel it, or wait until it is given back")
        return (
            self._stale(commit.writes)
            or self._missing(commit)
            or (None if dedup is None else self.control.duplicate(dedup, now, self.runs))
        )

    def _stale(self, writes: tuple[Write, ...]) -> RevMismatch | None:
        if len(writes) == 1:  # the usual case
            state = writes[0].state
            run = self.runs.get(state.id)
            return None if (0 if run is None else run.state.rev) == state.rev else RevMismatch([state.id])
        revs: dict[str, int] = {}
        stale = []
        for write in writes:
            state = write.state
            run = self.runs.get(state.id)
            if state.rev != revs.get(state.id, 0 if run is None else run.state.rev):
                stale.append(state.id)
            revs[state.id] = -1  # a second write of the id cannot know the rev of the first
        return RevMismatch(stale) if stale else None

    def _missing(self, commit: Commit) -> StepflowError | None:
        if not (commit.consume or commit.queue or commit.publish or commit.cancel):
            return None
        if commit.consume:
            run = self.runs.get(commit.fence.id) if commit.fence else None
            seqs = {event.seq for event in run.pending()} if run else set()
            if not seqs.issuperset(commit.consume):
                return NotFound(f"events {sorted(set(commit.consume) - seqs)} of the fenced run are not there any more")
        made = {write.state.id for write in commit.writes}
        for part in (*commit.queue, *commit.publish):
            run_id = part.run_id if isinstance(part, Event) else part.id
            if run_id not in made and run_id not in self.runs and not isinstance(part, Dequeue):
                return NotFound(f"there is no run {run_id!r} in this namespace: start it first")
        queued = {part.id for part in commit.queue}
        for cancel in commit.cancel:
            row = self.row(cancel.id)
            if row is None or not row.owner or cancel.id in queued:
                return LostClaim(f"run {cancel.id!r} is not held by a worker: cancel it directly")
        return None

    def _write(self, write: Write, now: int) -> int:
        new, exchange = write.state, write.exchange
        run = self.runs.get(new.id)
        if run is None:
            created = write.created or Created(new.transition.to, "", now)
            run = self.runs[new.id] = Run(State(new.id), created, "null")
        return self._revise(run, new.transition, new.labels, new.annotations, exchange, now)

    def _revise(
        self,
        run: Run,
        transition: Transition,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        exchange: str | None,
        now: int,
    ) -> int:
        run_id, _rev, _transition, last_labels, last_annotations, _then = run.state
        rev = self.counters.head = next(self.counters.revs)
        maps = own(labels, last_labels), own(annotations, last_annotations)
        run.state = new_tuple(State, (run_id, rev, transition, *maps, now))
        if exchange is not None:
            run.exchange = exchange
        revision = new_tuple(Revision, (run.state, run.exchange))
        run.revisions.append(revision)
        self.log.append(revision)
        return rev

    def _rest(self, commit: Commit, now: int, owner: str) -> tuple[int, ...]:
        """Everything but writes, data and delays; the epochs of the rows that the committer holds now."""
        if commit.consume:
            assert commit.fence is not None
            events = self.runs[commit.fence.id].events
            for event in self.runs[commit.fence.id].pending():
                if event.seq in commit.consume:
                    events[event.id] = None
        epochs = []
        for part in commit.queue:
            if isinstance(part, Enqueue) and part.owned:
                epochs.append(self._hold(part, owner))
            else:
                self._requeue(part, now)
        for event in commit.publish:
            self._publish(event, now)
        for cancel in commit.cancel:
            entry = self.entry(cancel.id)
            assert entry is not None
            assert entry.row is not None
            entry.row = entry.row._replace(cancel=True)
        return tuple(epochs)

    def _hold(self, part: Enqueue, owner: str) -> int:
        """Give a row to the committer, as if it had claimed it."""
        run, epoch = self.runs[part.id], next(self.counters.epochs)
        cancel, limits = run.row is not None and run.row.cancel, run.limited(part)
        row = QueueRow(
            part.flow, part.due, owner, epoch, run.state.rev, part.priority, cancel=cancel, limits=after_start(limits)
        )
        self.place(part.id, row)
        return epoch

    def _requeue(self, part: Enqueue | Dequeue, now: int) -> None:
        if isinstance(part, Dequeue) and part.id in self.pending:
            self._fire(part.id)
            return
        run = self.runs.get(part.id)
        if run is None:
            return
        limits = run.limited(part) if isinstance(part, Enqueue) else run.now_limited()
        cancel = run.row is not None and run.row.cancel and not run.state.transition.status
        event = run.state.transition.event
        if isinstance(part, Enqueue):
            self._enqueue(run, part.flow, min(part.due, now) if cancel else part.due, limits, cancel)
        elif cancel or (event and run.awaited(event)):  # published since the holder looked
            self._enqueue(run, run.row.flow if run.row else run.state.transition.to, now, limits, cancel)
        else:
            self.place(part.id, None)

    def _fire(self, key: str) -> None:
        self.place(key, None)
        delay = self.pending.pop(key).delay
        assert delay is not None
        self.attached.fire(delay.offset)

    def _enqueue(self, run: Run, flow: str, due: int, limits: str, cancel: bool = False) -> None:
        epoch = next(self.counters.epochs)
        self.place(run.state.id, QueueRow(flow, due, "", epoch, priority=run.priority, cancel=cancel, limits=limits))

    def _publish(self, event: Event, now: int) -> None:
        run = self.runs[event.run_id]
        if event.id in run.events:
            return
        run.events[event.id] = evolve(event, seq=next(self.counters.seqs))
        if run.state.transition.event != event.name or run.state.transition.status:
            return
        if run.row is None:
            self._enqueue(run, run.state.transition.to, now, run.limits)
        elif not run.row.owner and run.row.due > now:
            self.unown(event.run_id, run.row, now)
