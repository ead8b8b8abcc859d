"""What happens to queue rows and pending events: enqueue, wake, claim, release, bury."""

from __future__ import annotations

from stepflow.drivers.port.commit import Claim, Enqueue, Event, Fence, Owner, Record, Release
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb.keys import Keys, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Draft
from stepflow.drivers.rocksdb.records import Run, dump_owner, parse_event
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import standing
from stepflow.model.state import Transition, new_tuple


def pending(draft: Draft, keys: Keys, run: Run) -> list[Event]:
    """The events of a run that no wait took yet, in order of seq."""
    if not run.pending:
        return []
    prefix = keys.events + run.code
    found = draft.beneath(prefix, run.oldest)
    return [parse_event(record, run.id, read_number(key, len(prefix))) for key, record in found.items()]


def awaited(draft: Draft, keys: Keys, run: Run, name: str) -> bool:
    """Whether an event of this name is there."""
    return name != "" and any(event.name == name for event in pending(draft, keys, run))


def consume(draft: Draft, keys: Keys, run_id: str, seqs: tuple[int, ...]) -> None:
    """Take events away; they are there."""
    run = draft.run(run_id)
    assert run is not None
    used = set(seqs)
    left = [event.seq for event in pending(draft, keys, run) if event.seq not in used]
    for seq in used:
        draft.loose[keys.events + run.code + number(seq)] = None
    run = draft.twin(run)
    run.pending, run.oldest = len(left), min(left, default=0)


def appear(draft: Draft, keys: Keys, me: Owner) -> None:
    """Make the owner known, so that its rows can be freed if this process dies."""
    draft.puts[keys.owners + text(me.id)] = dump_owner(me)


def _put(draft: Draft, run: Run, flow: str, due: int, limits: str, cancel: bool = False) -> None:
    row = QueueRow(flow, due, "", draft.epoch(), priority=run.priority, cancel=cancel, limits=limits)
    draft.rows[run.id] = row


def _limits(draft: Draft, run: Run) -> str:
    """The limits of the run's present row, or of its next one."""
    row = draft.row(run.id)
    return run.limits if row is None else row.limits


def _cancelled(draft: Draft, run: Run) -> bool:
    row = draft.row(run.id)
    return row is not None and row.cancel and not run.transition.status


def enqueue(draft: Draft, keys: Keys, part: Enqueue, now: int, me: Owner) -> tuple[int, ...]:
    """Give a run that is there a queue row; the epoch if the committer owns it."""
    run = draft.run(part.id)
    assert run is not None
    text(part.flow), number(part.due), number(part.priority)  # parts of index keys, as in a birth
    if run.priority != part.priority or part.limits:
        run = draft.twin(run)
        run.priority, run.limits = part.priority, standing(part.limits) if part.limits else run.limits
    limits = part.limits or _limits(draft, run)
    text(limits)
    if part.owned:
        appear(draft, keys, me)
        return (_hold(draft, run, part, me, standing(limits)),)
    cancel = _cancelled(draft, run)
    _put(draft, run, part.flow, min(part.due, now) if cancel else part.due, limits, cancel)
    return ()


def _hold(draft: Draft, run: Run, part: Enqueue, me: Owner, limits: str) -> int:
    """Give a row to the committer, as if it had claimed it; a wish to cancel stays. The epoch."""
    last, epoch = draft.row(part.id), draft.epoch()
    cancel = last is not None and last.cancel
    row = QueueRow(part.flow, part.due, me.id, epoch, run.rev, part.priority, cancel=cancel, limits=limits)
    draft.rows[part.id] = row
    return epoch


def dequeue(draft: Draft, keys: Keys, run_id: str, now: int) -> None:
    """Take a queue row away, unless the run is to be cancelled or the event that it waits for came meanwhile."""
    run = draft.run(run_id)
    if run is None:
        kept = attached.waiting(draft, keys, run_id)
        if kept is not None:
            attached.fire(draft, keys, kept)
        return
    row, cancel = draft.row(run_id), _cancelled(draft, run)
    if cancel or awaited(draft, keys, run, run.transition.event):
        _put(draft, run, row.flow if row else run.transition.to, now, _limits(draft, run), cancel)
    elif row is not None:
        draft.rows[run_id] = None


def wake(draft: Draft, run: Run, name: str, now: int) -> None:
    """Make a run due that waits for an event of this name."""
    transition = run.transition
    if transition.event != name or transition.status:
        return
    row = draft.row(run.id)
    if row is None:
        _put(draft, run, transition.to, now, run.limits)
    elif not row.owner and row.due > now:
        draft.unown(run.id, row, now)


def mark(draft: Draft, run_id: str) -> None:
    """Ask the holder of a run to stop."""
    row = draft.row(run_id)
    assert row is not None
    draft.rows[run_id] = row._replace(cancel=True)


def _standing(draft: Draft, keys: Keys, key: str) -> tuple[int, Transition]:
    """Revision and transition of a run, or of the snapshot of a delay."""
    run = draft.run(key)
    if run is not None:
        return run.rev, run.transition
    kept = attached.waiting(draft, keys, key)
    return (0, Transition()) if kept is None else (kept.delay.state.rev, kept.delay.state.transition)


def take(draft: Draft, keys: Keys, key: str, owner: str, record: Record | None) -> Claim:
    """Give a row to an owner; `record` is that of the run with the row as it was."""
    last = draft.row(key)
    assert last is not None
    flow, due, _owner, _epoch, _rev, priority, crashes, cancel, _blocked, _by, limits = last
    rev, epoch = _standing(draft, keys, key)[0], draft.epoch()
    row = (flow, due, owner, epoch, rev, priority, crashes, cancel, "", "", limits and standing(limits))
    taken = draft.rows[key] = new_tuple(QueueRow, row)
    if record is not None:
        state, born, exchange, _row, events, delay = record
        record = new_tuple(Record, (state, born, exchange, taken, events, delay))
    return new_tuple(Claim, (new_tuple(Fence, (key, epoch)), taken, record))


def release(draft: Draft, keys: Keys, given: Release, now: int) -> bool:
    """Give a claim back; False if it had been lost."""
    key = given.fence.id
    row, run = draft.row(key), draft.run(key)
    if row is None or row.epoch != given.fence.epoch:
        return False
    due = given.due
    cancel = row.cancel and not _standing(draft, keys, key)[1].status
    if cancel or (run is not None and awaited(draft, keys, run, given.event)):
        due = now if due is None else min(due, now)
    if due is None:
        draft.rows[key] = None
        return True
    number(due)
    crashes = row.crashes if given.crashes is None else given.crashes
    row = row._replace(blocked=given.blocked, blocked_by=given.blocked_by, crashes=crashes)
    draft.unown(key, row, due)
    return True


def bury(draft: Draft, keys: Keys, key: str, now: int) -> None:
    """Free a row whose owner died."""
    row = draft.row(key)
    assert row is not None
    rev, _transition = _standing(draft, keys, key)
    draft.unown(key, row._replace(crashes=row.crashes + 1 if rev == row.claim_rev else 0), now)
