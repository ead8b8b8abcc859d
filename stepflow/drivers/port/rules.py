"""The rule book: what commit, publish, wake, claim, release and reclaim do to the runs they touch, decided once for all stores.

A driver locks the runs that `ids_of` names and reads a RunSnapshot of each. It calls `decide_commit` or `decide_release` and
writes what these noted: on each snapshot the new queue row (`placed`), the cancel mark (`marked`) and the end of a delay
(`fired`), in `Changes` everything else. The driver gives a new epoch to every row that was placed. Nothing here reads a store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from attrs import define, field

from stepflow.drivers.port.commit import (
    SAME_PRIORITY,
    Commit,
    Created,
    DedupKey,
    Dequeue,
    Enqueue,
    Event,
    Release,
    Write,
)
from stepflow.drivers.port.delays import DataWrite, Delay
from stepflow.drivers.port.journal import JournalRow, Progress
from stepflow.drivers.port.pauses import FlowPause
from stepflow.drivers.port.placeholders import filled
from stepflow.drivers.port.pruning import PRUNED
from stepflow.drivers.port.refusals import holds, refusal
from stepflow.drivers.port.schedules import ScheduleRow, decide_edit, decide_schedule, run_end_id, run_end_row
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.errors import (
    Duplicate,
    StepflowError,
)
from stepflow.model.family import PARENT, end_event
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import after_start
from stepflow.model.run_timeout import end_of
from stepflow.model.safe_text import storable
from stepflow.model.state import CANCEL, new_tuple

NO_EXCHANGE = "null"  # the exchange of a run that was created without one

Slot = tuple[int, int]
"""The number of a commit in its batch, and the number of one of its writes."""


class NumberedWrite(NamedTuple):
    """A write with its slot; `creates`: the run does not exist before it."""

    slot: Slot
    write: Write
    creates: bool


@define
class Changes:
    """What a batch writes besides queue rows. The first fields are given by the driver, the others are noted by the rules.

    `numbers` are those of the data and then of the delays of a commit, by the number of the commit.
    """

    owner: str = ""  # the committer
    store: str = "the store"  # its name in error texts
    largest_blob: int = 1 << 62  # bytes
    last_data: int = 0  # the last numbers that were given
    last_delay: int = 0
    reserved: dict[str, str] = field(factory=dict)  # deduplication keys that hold, and the runs started with them
    writes: list[NumberedWrite] = field(factory=list)
    consumed: list[tuple[str, int]] = field(factory=list)  # run id, seq
    data: dict[int, DataWrite] = field(factory=dict)
    delays: dict[int, Delay] = field(factory=dict)
    numbers: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = field(factory=dict)
    held: list[tuple[int, str]] = field(factory=list)  # commit and run of the rows that the committer holds now
    events: list[Event] = field(factory=list)
    reserves: list[DedupKey] = field(factory=list)  # keys that hold from now on
    forgets: list[tuple[str, str]] = field(
        factory=list
    )  # run id, name of journal rows; done before the next ones are written
    schedules: dict[str, ScheduleRow | None] = field(factory=dict)  # of the batch, as they are; given by the driver
    scheduled: dict[str, ScheduleRow | None] = field(factory=dict)  # as they shall be
    flow_pauses: list[FlowPause] = field(factory=list)  # a flow that is paused already keeps its time
    journal: list[tuple[str, JournalRow]] = field(
        factory=list
    )  # run id, a row with its epoch and time; no key of a run twice


def ids_of(commit: Commit) -> Collection[str]:
    """The runs that a commit touches, each once."""
    found = [*commit.unowned] if commit.fence is None else [commit.fence.id, *commit.unowned]
    found += [write.state.id for write in commit.writes]
    found += [parent for write in commit.writes if (parent := parent_told(write))]
    found += [part.id for part in commit.queue]
    if commit.publish or commit.cancel:
        found += [event.run_id for event in commit.publish]
        found += [cancel.id for cancel in commit.cancel]
    if commit.pause:
        found += [pause.id for pause in commit.pause]
    if commit.delays or commit.data:
        found += [delay.state.id for delay in commit.delays]
        found += [data.run_id for data in commit.data]
    return dict.fromkeys(found)


def schedules_of(commit: Commit) -> Collection[str]:
    """The schedules that a commit changes."""
    return [change.id for change in (commit.schedule, commit.edit) if change is not None]


def parent_told(write: Write) -> str:
    """The run that hears of it if this write ends its child; empty if it ends none."""
    return write.state.labels.get(PARENT, "") if write.state.transition.status else ""


def publishes_of(commit: Commit) -> Sequence[tuple[str, str, str]]:
    """(run id, name, publish id) of its events: whether they are stored already decides."""
    return [(event.run_id, event.name, event.id) for event in commit.publish]


def pending_ids_of(commit: Commit) -> Sequence[str]:
    """The runs whose pending events decide: those of which events are consumed, and those that stop to wait for an event or are resumed."""
    found = [part.id for part in commit.queue if isinstance(part, Dequeue)]
    if found:
        awaits = {write.state.id: write.state.transition.events for write in commit.writes}
        found = [run_id for run_id in found if awaits.get(run_id, "?")]  # of a run that is not written it is not known
    if commit.pause:
        found += [pause.id for pause in commit.pause if not pause.paused]
    return [*found, commit.fence.id] if commit.consume and commit.fence is not None else found


def created_by(write: Write, now: int) -> Created:
    """What is fixed of the run that a write creates."""
    return write.created or Created(write.state.transition.to, "", now)


def delay_row(delay: Delay) -> QueueRow:
    """The queue row of a new delay."""
    return QueueRow(delay.state.transition.to, delay.due, claim_rev=delay.state.rev)


def decide_commit(
    commit: Commit, number: int, runs: Mapping[str, RunSnapshot], now: int, changes: Changes, revs: Sequence[int]
) -> StepflowError | None:
    """Note what the commit changes, or answer why nothing of it is done; `revs` are the new revisions of its writes."""
    change = commit.schedule or commit.edit
    scheduled = _scheduled(commit, changes, now)
    problem = (
        refusal(commit, runs, changes.largest_blob, changes.store)
        or (scheduled if isinstance(scheduled, StepflowError) else None)
        or _reserve(commit.dedup, changes)
    )
    if problem is not None:
        return problem
    if change is not None:
        assert not isinstance(scheduled, StepflowError)
        changes.schedules[change.id] = changes.scheduled[change.id] = scheduled
    first = changes.last_data + 1
    commit = filled(commit, revs, range(first, first + len(commit.data)), now)
    ends: list[tuple[str, Event]] = []
    for index, write in enumerate(commit.writes):
        run = runs[write.state.id]
        if (parent := parent_told(write)) and not run.status:
            ends.append((parent, _end(parent, write, revs[index], now)))
        changes.writes.append(NumberedWrite((number, index), write, creates=not run.rev))
        run.at(write.state.transition)
        run.rev, run.newest = run.rev or -1, revs[index]  # it exists from now on
        if run.cancelled and CANCEL in write.state.transition.annotations:
            run.row = run.row and run.row._replace(
                cancel=False
            )  # the run carries it out itself, and may sleep meanwhile
        if commit.fence is None and CANCEL in write.state.transition.annotations:
            run.row = run.row and run.row._replace(paused=False)  # a cancel takes place at once
    _note_ends(changes.writes[len(changes.writes) - len(commit.writes) :], revs, changes, moved=commit.fence is None)
    for seq in dict.fromkeys(commit.consume):
        assert commit.fence is not None
        del runs[commit.fence.id].pending[seq]
        changes.consumed.append((commit.fence.id, seq))
    if commit.data or commit.delays:
        changes.numbers[number] = _attach(commit, changes)
    for part in commit.queue:
        _requeue(part, runs[part.id], number, now, changes)
    if commit.forget or commit.journal:
        _journal(commit, now, changes)
    for event in commit.publish:
        _publish(event, runs[event.run_id], now, changes)
    for parent, event in ends:
        if runs[parent].rev not in (0, PRUNED) and runs[parent].status in ("", "failed"):
            _publish(event, runs[parent], now, changes)
    for cancel in commit.cancel:
        run = runs[cancel.id]
        assert run.row is not None
        run.row, run.marked = run.row._replace(cancel=True, paused=False), True
    for pause in commit.pause:
        if pause.paused:
            runs[pause.id].pause()
        else:
            runs[pause.id].resume(now)
    if commit.flow_pause is not None:
        changes.flow_pauses.append(commit.flow_pause)
    return None


def _note_ends(made: Sequence[NumberedWrite], revs: Sequence[int], changes: Changes, *, moved: bool) -> None:
    """Let workers look at the runs of these writes when their time limits are over, until they end or are cancelled; `moved`: from outside, perhaps with new limits."""
    for (_number, index), write, creates in made:
        if (end := end_of(write.state.labels)) is not None:
            transition, name = write.state.transition, run_end_id(write.state.id)
            if transition.status or CANCEL in transition.annotations:
                changes.scheduled[name] = None
            elif creates or moved:
                changes.scheduled[name] = run_end_row(write.state.id, revs[index], end.at)


def _scheduled(commit: Commit, changes: Changes, now: int) -> ScheduleRow | StepflowError | None:
    """The schedule that a commit changes, after that, None if it is gone; or the refusal."""
    if commit.edit is not None:
        return decide_edit(commit.edit, changes.schedules[commit.edit.id], now)
    return decide_schedule(commit.schedule, changes.schedules, now)


def _reserve(dedup: DedupKey | None, changes: Changes) -> Duplicate | None:
    """The refusal of a commit whose key holds; else the key holds from now on."""
    if dedup is None:
        return None
    if dedup.key in changes.reserved:
        return Duplicate(dedup.key, changes.reserved[dedup.key])
    changes.reserved[dedup.key] = dedup.run_id
    changes.reserves.append(dedup)
    return None


def _attach(commit: Commit, changes: Changes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Number data and delays."""
    revs = range(changes.last_data + 1, changes.last_data + 1 + len(commit.data))
    offsets = range(changes.last_delay + 1, changes.last_delay + 1 + len(commit.delays))
    changes.data.update(zip(revs, commit.data, strict=True))
    changes.delays.update(zip(offsets, commit.delays, strict=True))
    changes.last_data += len(revs)
    changes.last_delay += len(offsets)
    return tuple(revs), tuple(offsets)


def _journal(commit: Commit, now: int, changes: Changes) -> None:
    """Note which journal rows of the fenced or unowned run go and come; those that come without a time get that of the commit."""
    run_id, epoch = commit.fence or (commit.unowned[0], 0)
    changes.forgets += [(run_id, name) for name in commit.forget]
    last = {row.key: row for row in commit.journal}
    changes.journal += [(run_id, row._replace(seq=0, epoch=epoch, at=row.at or now)) for row in last.values()]


def _limits(run: RunSnapshot) -> str:
    """The limits of the run's present row, or of its next one."""
    return run.limits if run.row is None else run.row.limits


def _requeue(part: Enqueue | Dequeue, run: RunSnapshot, number: int, now: int, changes: Changes) -> None:
    if isinstance(part, Dequeue):
        _dequeue(part.id, run, now, changes)
        return
    limits = part.limits or _limits(run)
    if part.priority != SAME_PRIORITY:
        run.priority = part.priority
    if part.limits:
        run.limits = after_start(part.limits)
    if part.owned:  # as if the committer had claimed it; a cancel mark stays
        cancel = run.row is not None and run.row.cancel
        rest = part.flow, part.due, changes.owner, 0, run.newest, run.priority
        run.place(QueueRow(*rest, cancel=cancel, limits=after_start(limits)))
        changes.held.append((number, part.id))
    else:
        cancel = run.cancelled
        run.enqueue(part.flow, min(part.due, now) if cancel else part.due, limits, cancel=cancel)


def _dequeue(key: str, run: RunSnapshot, now: int, changes: Changes) -> None:
    """Remove the row, unless a cancel was asked for, or an awaited event was published since the holder read the run."""
    if run.delay:
        run.place(None)
        run.fired = True
        changes.forgets.append((key, ""))
    elif run.rev:
        cancel = run.cancelled
        if cancel or run.has_pending(run.awaits):
            run.enqueue(run.row.flow if run.row else run.target, now, _limits(run), cancel=cancel)
        else:
            run.place(None)


def _end(parent: str, write: Write, rev: int, now: int) -> Event:
    """The event of the end of a child; one that is redriven may end again, in another revision."""
    run_id, status = write.state.id, write.state.transition.status
    return Event(parent, end_event(parent, run_id), str(rev), f'"{status}"', now)


def _publish(event: Event, run: RunSnapshot, now: int, changes: Changes) -> None:
    """Store an event that is not known, and wake the run if it waits for it."""
    if (event.name, event.id) in run.known:
        return
    run.known.add((event.name, event.id))
    run.pending[-1 - len(run.pending)] = event.name  # its seq is drawn when it is written
    changes.events.append(event)
    if event.name not in run.awaits or run.status or run.paused:
        return
    if run.row is None:
        run.enqueue(run.target, now, run.limits)
    elif not run.row.owner and run.row.due > now:
        run.place(run.row._replace(due=now))


def decide_release(release: Release, run: RunSnapshot, now: int) -> bool:
    """Note where the queue row goes; False where the claim is lost."""
    row = run.row
    if row is None or not holds(run, release.fence.epoch):
        return False
    due = release.due
    if run.cancelled or (release.events and run.has_pending(release.events)):
        due = now if due is None else min(due, now)
    if due is None:
        run.place(None)
        return True
    crashes = row.crashes if release.crashes is None else release.crashes
    blocked, blocked_by = storable(release.blocked), release.blocked_by
    unfinished = row.unfinished if release.unfinished is None else release.unfinished
    changed = row._replace(crashes=crashes, blocked=blocked, blocked_by=blocked_by, unfinished=unfinished)
    run.place(changed._replace(owner="", due=due))
    return True


def claimed(
    flow: str,
    due: int,
    owner: str,
    epoch: int,
    rev: int,
    priority: int,
    crashes: int,
    cancel: bool,
    limits: str,
    unfinished: int,
) -> QueueRow:
    """The row, of a run at `rev`, as a claim leaves it: it is not blocked, and keeps the limits that hold after its start."""
    limits = limits and after_start(limits)
    return new_tuple(
        QueueRow, (flow, due, owner, epoch, rev, priority, crashes, cancel, "", "", limits, unfinished, False)
    )


def returned(row: QueueRow, rev: int) -> QueueRow:
    """The row, on a run at `rev`, of an owner that ends: it was due when it was claimed and stays so."""
    return row._replace(owner="", unfinished=row.unfinished if rev == row.claim_rev else 0)


def reclaimed(row: QueueRow, rev: int, now: int, progress: Progress) -> QueueRow:
    """The row, on a run at `rev`, of an owner that died: a run in which it made no progress may have killed it.

    `progress` tells of the journal rows that have the row's epoch.
    """
    moved = rev != row.claim_rev
    unfinished = 1 if moved or progress is Progress.NEXT_CALL else row.unfinished + 1
    crashes = 0 if moved or progress is not Progress.NONE else row.crashes + 1
    return row._replace(owner="", due=now, crashes=crashes, unfinished=unfinished)
