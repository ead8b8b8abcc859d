"""What happens to queue rows and pending events: enqueue, wake, claim, release, bury."""

from __future__ import annotations

from stepflow.drivers.port.commit import Claim, Enqueue, Event, Fence, Owner, Record, Release
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb.keys import Keys, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import Run, dump_owner, parse_event
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import after_start
from stepflow.model.state import Transition, new_tuple


def pending(overlay: Overlay, keys: Keys, run: Run) -> list[Event]:
    """The events of a run that no wait took yet, in order of seq."""
    if not run.pending:
        return []
    prefix = keys.events + run.code
    found = overlay.beneath(prefix, run.oldest)
    return [parse_event(record, run.id, read_number(key, len(prefix))) for key, record in found.items()]


def awaited(overlay: Overlay, keys: Keys, run: Run, name: str) -> bool:
    """Whether an event of this name is there."""
    return name != "" and any(event.name == name for event in pending(overlay, keys, run))


def consume(overlay: Overlay, keys: Keys, run_id: str, seqs: tuple[int, ...]) -> None:
    """Take events away; they are there."""
    run = overlay.run(run_id)
    assert run is not None
    used = set(seqs)
    left = [event.seq for event in pending(overlay, keys, run) if event.seq not in used]
    for seq in used:
        overlay.loose[keys.events + run.code + number(seq)] = None
    run = overlay.copy(run)
    run.pending, run.oldest = len(left), min(left, default=0)


def appear(overlay: Overlay, keys: Keys, me: Owner) -> None:
    """Make the owner known, so that its rows can be freed if this process dies."""
    overlay.puts[keys.owners + text(me.id)] = dump_owner(me)


def _put(overlay: Overlay, run: Run, flow: str, due: int, limits: str, cancel: bool = False) -> None:
    row = QueueRow(flow, due, "", overlay.epoch(), priority=run.priority, cancel=cancel, limits=limits)
    overlay.rows[run.id] = row


def _limits(overlay: Overlay, run: Run) -> str:
    """The limits of the run's present row, or of its next one."""
    row = overlay.row(run.id)
    return run.limits if row is None else row.limits


def _cancelled(overlay: Overlay, run: Run) -> bool:
    row = overlay.row(run.id)
    return row is not None and row.cancel and not run.transition.status


def enqueue(overlay: Overlay, keys: Keys, part: Enqueue, now: int, me: Owner) -> tuple[int, ...]:
    """Give a run that is there a queue row; the epoch if the committer owns it."""
    run = overlay.run(part.id)
    assert run is not None
    text(part.flow), number(part.due), number(part.priority)  # parts of index keys, as in a birth
    if run.priority != part.priority or part.limits:
        run = overlay.copy(run)
        run.priority, run.limits = part.priority, after_start(part.limits) if part.limits else run.limits
    limits = part.limits or _limits(overlay, run)
    text(limits)
    if part.owned:
        appear(overlay, keys, me)
        return (_hold(overlay, run, part, me, after_start(limits)),)
    cancel = _cancelled(overlay, run)
    _put(overlay, run, part.flow, min(part.due, now) if cancel else part.due, limits, cancel)
    return ()


def _hold(overlay: Overlay, run: Run, part: Enqueue, me: Owner, limits: str) -> int:
    """Give a row to the committer, as if it had claimed it; a wish to cancel stays. The epoch."""
    last, epoch = overlay.row(part.id), overlay.epoch()
    cancel = last is not None and last.cancel
    row = QueueRow(part.flow, part.due, me.id, epoch, run.rev, part.priority, cancel=cancel, limits=limits)
    overlay.rows[part.id] = row
    return epoch


def dequeue(overlay: Overlay, keys: Keys, run_id: str, now: int) -> None:
    """Take a queue row away, unless the run is to be cancelled or the event that it waits for came meanwhile."""
    run = overlay.run(run_id)
    if run is None:
        kept = attached.waiting(overlay, keys, run_id)
        if kept is not None:
            attached.fire(overlay, keys, kept)
        return
    row, cancel = overlay.row(run_id), _cancelled(overlay, run)
    if cancel or awaited(overlay, keys, run, run.transition.event):
        _put(overlay, run, row.flow if row else run.transition.to, now, _limits(overlay, run), cancel)
    elif row is not None:
        overlay.rows[run_id] = None


def wake(overlay: Overlay, run: Run, name: str, now: int) -> None:
    """Make a run due that waits for an event of this name."""
    transition = run.transition
    if transition.event != name or transition.status:
        return
    row = overlay.row(run.id)
    if row is None:
        _put(overlay, run, transition.to, now, run.limits)
    elif not row.owner and row.due > now:
        overlay.unown(run.id, row, now)


def mark(overlay: Overlay, run_id: str) -> None:
    """Ask the holder of a run to stop."""
    row = overlay.row(run_id)
    assert row is not None
    overlay.rows[run_id] = row._replace(cancel=True)


def _standing(overlay: Overlay, keys: Keys, key: str) -> tuple[int, Transition]:
    """Revision and transition of a run, or of the snapshot of a delay."""
    run = overlay.run(key)
    if run is not None:
        return run.rev, run.transition
    kept = attached.waiting(overlay, keys, key)
    return (0, Transition()) if kept is None else (kept.delay.state.rev, kept.delay.state.transition)


def take(overlay: Overlay, keys: Keys, key: str, owner: str, record: Record | None) -> Claim:
    """Give a row to an owner; `record` is that of the run with the row as it was."""
    last = overlay.row(key)
    assert last is not None
    flow, due, _owner, _epoch, _rev, priority, crashes, cancel, _blocked, _by, limits = last
    rev, epoch = _standing(overlay, keys, key)[0], overlay.epoch()
    row = (flow, due, owner, epoch, rev, priority, crashes, cancel, "", "", limits and after_start(limits))
    taken = overlay.rows[key] = new_tuple(QueueRow, row)
    if record is not None:
        state, created, exchange, _row, events, delay = record
        record = new_tuple(Record, (state, created, exchange, taken, events, delay))
    return new_tuple(Claim, (new_tuple(Fence, (key, epoch)), taken, record))


def release(overlay: Overlay, keys: Keys, given: Release, now: int) -> bool:
    """Give a claim back; False if it had been lost."""
    key = given.fence.id
    row, run = overlay.row(key), overlay.run(key)
    if row is None or row.epoch != given.fence.epoch:
        return False
    due = given.due
    cancel = row.cancel and not _standing(overlay, keys, key)[1].status
    if cancel or (run is not None and awaited(overlay, keys, run, given.event)):
        due = now if due is None else min(due, now)
    if due is None:
        overlay.rows[key] = None
        return True
    number(due)
    crashes = row.crashes if given.crashes is None else given.crashes
    row = row._replace(blocked=given.blocked, blocked_by=given.blocked_by, crashes=crashes)
    overlay.unown(key, row, due)
    return True


def reclaim(overlay: Overlay, keys: Keys, key: str, now: int) -> None:
    """Free a row whose owner died."""
    row = overlay.row(key)
    assert row is not None
    rev, _transition = _standing(overlay, keys, key)
    overlay.unown(key, row._replace(crashes=row.crashes + 1 if rev == row.claim_rev else 0), now)
