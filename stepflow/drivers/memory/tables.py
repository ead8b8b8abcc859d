"""The tables of one namespace, and how a commit changes them: decided by the rules first, then applied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from threading import Lock

from attrs import evolve

from stepflow.drivers.memory.counters import Counters
from stepflow.drivers.memory.delays import MemoryDelaysAndData
from stepflow.drivers.memory.limits import MemoryLimits
from stepflow.drivers.memory.queue import ReadyQueue
from stepflow.drivers.memory.run import MemoryRun
from stepflow.drivers.memory.schedules import MemorySchedules
from stepflow.drivers.port.commit import (
    Commit,
    CommitResult,
    Committed,
    Created,
    Dequeue,
    Enqueue,
    Owner,
    Record,
    Write,
)
from stepflow.drivers.port.delays import Delay, delay_key
from stepflow.drivers.port.deltas import applied, is_delta
from stepflow.drivers.port.pruning import PRUNED, PrunedId
from stepflow.drivers.port.rules import (
    NO_EXCHANGE,
    Changes,
    created_by,
    decide_commit,
    delay_row,
    ids_of,
    pending_ids_of,
    publishes_of,
    schedules_of,
)
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.step import Append, Member, Step, answer, ends_more, is_creation, whole
from stepflow.errors import StepflowError
from stepflow.model.lifecycle import EPOCH, QueueRow
from stepflow.model.limits import LimitUsage, after_start
from stepflow.model.state import State, Transition, new_tuple


class MemoryTables:
    """The runs, queue and owners of a namespace."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.runs: dict[str, MemoryRun] = {}
        self.open: set[str] = (
            set()
        )  # ids of runs that have a queue row or may wait for an event, and of some that ended since
        self.log: list[State] = []
        self.owners: dict[str, Owner] = {}
        self.held: defaultdict[str, set[str]] = defaultdict(set)  # owner -> ids of its rows
        self.queue = ReadyQueue(self.row)
        self.attached, self.control = MemoryDelaysAndData(), MemoryLimits()
        self.pruned: dict[str, PrunedId] = {}  # ids that are refused
        self.clearing = Lock()  # held while the log is filtered
        self.schedules = MemorySchedules()
        self.paused_flows: dict[str, int] = {}  # since when
        self.pending: dict[str, MemoryRun] = {}  # delays that have not fired, by the key of their queue row

    def entry(self, key: str) -> MemoryRun | None:
        """The run of this id, or the pending delay of this key."""
        return self.runs.get(key) or self.pending.get(key)

    def load(self, key: str) -> Record | None:
        """The record of a run, or of a pending delay; a delay has the creation data of its run."""
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
        self.open.add(run_id)
        if row.owner:
            self.held[row.owner].add(run_id)
        else:
            self.queue.add(run_id, row)

    def open_runs(self) -> list[MemoryRun]:
        """The runs and delays that have a queue row or wait for an event; what ended costs nothing from now on."""
        found = {key: run for key in self.open if (run := self.runs.get(key)) is not None}
        self.open = {key for key, run in found.items() if run.row is not None or run.state.transition.events}
        return [*(found[key] for key in self.open), *self.pending.values()]

    def shows(self, state: State) -> bool:
        """Whether a revision of the log belongs to a run that was not pruned; a later run may have its id."""
        run = self.runs.get(state.id)
        return run is not None and run.states[0].rev <= state.rev

    def limit_usage(self) -> LimitUsage:
        """What stands against limits now."""
        held = ((run_id, row) for ids in self.held.values() for run_id in sorted(ids) if (row := self.row(run_id)))
        return self.control.limit_usage(held)

    def requeue(self, key: str, row: QueueRow) -> None:
        """Give a run or a delay this row, with a new epoch."""
        self.place(key, new_tuple(QueueRow, (*row[:EPOCH], next(self.counters.epochs), *row[EPOCH + 1 :])))

    def snapshot(self, key: str, pending: bool, publishes: Sequence[tuple[str, str, str]] = ()) -> RunSnapshot:
        """A run, or a pending delay, for the rules; `publishes` are (run id, name, publish id) to be looked up."""
        run = self.entry(key)
        if run is None:
            return RunSnapshot(PRUNED if key in self.pruned else 0)
        state, row, delay = run.state, run.row, run.delay
        found = RunSnapshot(0 if delay else state.rev, state.rev, None if row is None else row.epoch, row)
        found.at(state.transition)
        found.priority, found.limits, found.delay = run.priority, run.limits, delay.offset if delay else 0
        if run.events:
            found.known = {(name, at) for run_id, name, at in publishes if run_id == key and (name, at) in run.events}
            if pending:
                found.pending = {event.seq: event.name for event in run.pending()}
        return found

    def write(self, key: str, run: RunSnapshot) -> None:
        """Do what the rules noted on a snapshot."""
        entry = self.entry(key)
        if entry is None:
            return
        if run.placed:
            entry.priority, entry.limits = run.priority, run.limits
            if run.row is None:
                self.place(key, None)
            else:
                self.requeue(key, run.row)
        elif run.marked:
            entry.row = run.row
        if run.fired:
            del self.pending[key]
            self.attached.fire(run.delay)

    def commit(self, member: Member, now: int, owner: str) -> CommitResult:
        """Apply one commit of the session of this owner, or answer why not."""
        done: CommitResult | None
        if type(member) is Step:
            if (done := self._step(member, now)) is not None:
                return done
        elif type(member) is Append:
            done = self._append(member, now)
        else:
            done = self._creation(whole(member), now) if is_creation(member) else None
        return answer(member, self._decided(whole(member), now, owner)) if done is None else done

    def _step(self, step: Step, now: int) -> tuple[int, ...] | None:
        """The fast path of a step that keeps its queue row or ends its run; None for another one, or one to be refused."""
        run, transition = self.runs.get(step.id), step.transition
        if run is None or (row := run.row) is None or row.epoch != step.epoch or run.state.rev != step.rev:
            return None
        if (part := step.part) is None:
            if row.paused:
                return None
        elif type(part) is not Dequeue or transition.events or (row.cancel and transition.status != "cancelled"):
            return None
        if transition.status:
            if ends_more(step):
                return None
        elif part is not None:
            return None
        rev = self._revise(run, transition, step.labels, step.annotations, step.exchange, now)
        if part is not None:
            self.place(step.id, None)
        return rev, now

    def _append(self, append: Append, now: int) -> Committed | None:
        """The fast path of journal rows; None if the claim is lost or events are used up."""
        run = self.entry(append.id)
        if run is None or run.row is None or run.row.epoch != append.epoch or append.consume or run.row.paused:
            return None
        run.append(append.rows, append.epoch, now, self.counters.journal)
        return Committed(committed_at=now)

    def _creation(self, commit: Commit, now: int) -> Committed | None:
        """The fast path of a new run; None if it exists."""
        (write,), run_id = commit.writes, commit.writes[0].state.id
        if run_id in self.runs or run_id in self.pruned:
            return None
        self._write(write, creates=True, now=now)
        for part in commit.queue:
            assert isinstance(part, Enqueue)
            run = self.runs[run_id]
            run.priority, run.limits = part.priority, after_start(part.limits)
            self.requeue(run_id, QueueRow(part.flow, part.due, priority=part.priority, limits=part.limits))
        return Committed((self.counters.head,), committed_at=now)

    def _decided(self, commit: Commit, now: int, owner: str) -> Committed | StepflowError:
        """The general path: by the rules."""
        publishes, pending = publishes_of(commit), set(pending_ids_of(commit))
        runs = {key: self.snapshot(key, key in pending, publishes) for key in ids_of(commit)}
        attached, head = self.attached, self.counters.head
        changes = Changes(owner, "memory://", last_data=attached.last_blob, last_delay=attached.last_delay)
        if commit.dedup is not None:
            changes.reserved = self.control.reserved_by(commit.dedup, now, self.runs)
        for schedule_id in schedules_of(commit):
            changes.schedules[schedule_id] = self.schedules.get(schedule_id)
        revs = range(head + 1, head + 1 + len(commit.writes))
        problem = decide_commit(commit, 0, runs, now, changes, revs)
        if problem is not None:
            return problem
        for _slot, write, creates in changes.writes:
            self._write(write, creates=creates, now=now)
        for run_id in dict.fromkeys(run_id for run_id, _seq in changes.consumed):
            self.runs[run_id].consume({seq for one, seq in changes.consumed if one == run_id})
        for key, name in changes.forgets:
            self.entry(key).forget(name)  # type: ignore[union-attr] # it was held
        for key, written in changes.journal:
            self.entry(key).append((written,), written.epoch, now, self.counters.journal)  # type: ignore[union-attr]
        for event in changes.events:
            self.runs[event.run_id].events[event.name, event.id] = evolve(event, seq=next(self.counters.seqs))
        for key, run in runs.items():
            self.write(key, run)
        for data in changes.data.values():
            attached.store(data)
        for delay in changes.delays.values():
            self._delay(delay)
        for dedup in changes.reserves:
            self.control.reserved[dedup.key] = dedup
        self.schedules.write(changes.scheduled)
        for pause in changes.flow_pauses:
            if pause.paused:
                self.paused_flows.setdefault(pause.flow, pause.at)
            else:
                self.paused_flows.pop(pause.flow, None)
        epochs = [row.epoch for _number, run_id in changes.held if (row := self.row(run_id)) is not None]
        data_revs, offsets = changes.numbers.get(0, ((), ()))
        return Committed(tuple(revs), data_revs, offsets, tuple(epochs), now)

    def _delay(self, given: Delay) -> None:
        """Keep a delay and queue it."""
        delay = self.attached.put(given)
        run = self.runs.get(delay.state.id)
        created = Created(delay.state.transition.to, "", delay.due)
        key = delay_key(delay.state.id, delay.offset)
        self.pending[key] = MemoryRun(delay.state, created, NO_EXCHANGE if run is None else run.exchange, delay=delay)
        self.requeue(key, delay_row(delay))

    def _write(self, write: Write, *, creates: bool, now: int) -> None:
        new = write.state
        if creates:
            self.runs[new.id] = MemoryRun(State(new.id), created_by(write, now), NO_EXCHANGE)
        self.open.add(new.id)
        self._revise(self.runs[new.id], new.transition, new.labels, new.annotations, write.exchange, now)

    def _revise(
        self,
        run: MemoryRun,
        transition: Transition,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        exchange: str | None,
        now: int,
    ) -> int:
        run_id, _rev, _transition, last_labels, last_annotations, _then = run.state
        counters = self.counters
        counters.head = rev = counters.head + 1
        # Copies, so that the caller's later changes do not reach the store; unchanged maps are shared.
        if labels is not last_labels:
            labels = dict(labels)
        if annotations is not last_annotations:
            annotations = dict(annotations)
        run.state = state = new_tuple(State, (run_id, rev, transition, labels, annotations, now))
        if exchange is not None:
            run.exchange = applied(run.exchange, exchange) if is_delta(exchange) else exchange
        run.states.append(state)
        run.exchanges.append(run.exchange)
        self.log.append(state)
        return rev
