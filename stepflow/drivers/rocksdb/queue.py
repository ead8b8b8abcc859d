"""Reads runs as snapshots for the rules, writes back what they noted, and claims, releases and reclaims queue rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stepflow.drivers.port.commit import Claim, Event, Fence, Owner, Record, Release
from stepflow.drivers.port.pruning import PRUNED
from stepflow.drivers.port.rules import claimed, decide_release, reclaimed, returned
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import damage
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb.journal import written_by
from stepflow.drivers.rocksdb.keys import Keys, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import UNREADABLE, RunRecord, dump_owner, parse_event
from stepflow.model.blocked import unreadable_run
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import new_tuple


def pending(overlay: Overlay, keys: Keys, run: RunRecord) -> list[Event]:
    """The events of a run that no wait took yet, in order of seq."""
    if not run.pending:
        return []
    prefix = keys.events + run.code
    found = overlay.beneath(prefix, run.oldest)
    try:
        return [parse_event(record, run.id, read_number(key, len(prefix))) for key, record in found.items()]
    except UNREADABLE as error:
        raise unreadable_run(run.id, damage("event", error)) from error


def consume(overlay: Overlay, keys: Keys, run_id: str, seqs: Collection[int]) -> None:
    """Take pending events away."""
    run = overlay.run(run_id)
    assert run is not None
    left = [event.seq for event in pending(overlay, keys, run) if event.seq not in seqs]
    for seq in seqs:
        overlay.by_prefix[keys.events + run.code + number(seq)] = None
    run = overlay.copy(run)
    run.pending, run.oldest = len(left), min(left, default=0)


def appear(overlay: Overlay, keys: Keys, me: Owner) -> None:
    """Make the owner known, so that its rows can be freed if this process dies."""
    overlay.puts[keys.owners + text(me.id)] = dump_owner(me)


def snapshot(
    overlay: Overlay, keys: Keys, key: str, with_pending: bool, publishes: Sequence[tuple[str, str, str]] = ()
) -> RunSnapshot:
    """A run, or a pending delay, for the rules; `publishes` are (run id, name, publish id) to be looked up."""
    run, row = overlay.run(key), overlay.row(key)
    if run is None:
        return _delay_snapshot(overlay, keys, key, row)
    found = RunSnapshot(run.rev, run.rev, None if row is None else row.epoch, row)
    found.at(run.transition)
    found.priority, found.limits = run.priority, run.limits
    for run_id, name, event_id in publishes:
        if run_id == key and _is_stored(overlay, keys.published + run.code + text(event_id), name):
            found.known.add((name, event_id))
    if with_pending:
        found.pending = {event.seq: event.name for event in pending(overlay, keys, run)}
    return found


def _is_stored(overlay: Overlay, at: bytes, name: str) -> bool:
    """Whether an event of this name has the publish id of the key `at`; a key without a name, of an older store, counts for all."""
    return overlay.value(at + text(name)) is not None or overlay.value(at) is not None


def _delay_snapshot(overlay: Overlay, keys: Keys, key: str, row: QueueRow | None) -> RunSnapshot:
    kept = attached.waiting(overlay, keys, key)
    if kept is None:  # a row without a run is released as blocked
        return RunSnapshot(PRUNED if overlay.refuses(key) else 0, 0, None if row is None else row.epoch, row)
    state = kept.delay.state
    found = RunSnapshot(0, state.rev, None if row is None else row.epoch, row, delay=kept.delay.offset)
    found.at(state.transition)
    return found


def write(overlay: Overlay, keys: Keys, key: str, run: RunSnapshot) -> None:
    """Do what the rules noted on a snapshot."""
    if run.fired and (kept := attached.waiting(overlay, keys, key)) is not None:
        attached.fire(overlay, keys, kept)
    if run.marked and not run.placed:
        overlay.rows[key] = run.row
    if not run.placed:
        return
    if run.row is not None:
        place(overlay, key, run.row, run.priority, run.limits)
    elif run.epoch is not None:
        overlay.rows[key] = None


def place(overlay: Overlay, key: str, row: QueueRow, priority: int, limits: str) -> None:
    """Give a run or a delay this row; priority and limits are those of its later rows."""
    overlay.requeue(key, row)
    run = overlay.run(key)
    if run is not None and (run.priority != priority or run.limits != limits):
        run = overlay.copy(run)
        run.priority, run.limits = priority, limits


def take(overlay: Overlay, keys: Keys, key: str, owner: str, record: Record | None) -> Claim:
    """Give a row to an owner; `record` is that of the run with the row as it was."""
    last = overlay.row(key)
    assert last is not None
    rev, epoch = _rev_of(overlay, keys, key), overlay.epoch()
    kept = last.priority, last.crashes, last.cancel, last.limits, last.unfinished
    taken = overlay.rows[key] = claimed(last.flow, last.due, owner, epoch, rev, *kept)
    if record is not None:
        state, created, exchange, _row, *rest = record
        record = new_tuple(Record, (state, created, exchange, taken, *rest))
    return new_tuple(Claim, (new_tuple(Fence, (key, epoch)), taken, record))


def _rev_of(overlay: Overlay, keys: Keys, key: str) -> int:
    """The revision of a run, or of the snapshot of a delay."""
    run = overlay.run(key)
    return snapshot(overlay, keys, key, with_pending=False).newest if run is None else run.rev


def release(overlay: Overlay, keys: Keys, given: Release, now: int) -> bool:
    """Release a claim; False if it had been lost."""
    key = given.fence.id
    run = snapshot(overlay, keys, key, with_pending=given.events != ())
    held = decide_release(given, run, now)
    write(overlay, keys, key, run)
    return held


def reclaim(overlay: Overlay, keys: Keys, key: str, now: int) -> None:
    """Free a row whose owner died."""
    row = overlay.row(key)
    assert row is not None
    if not row.owner:  # it cannot be read
        return
    progress = written_by(overlay, keys, key, row.epoch)
    overlay.requeue(key, reclaimed(row, _rev_of(overlay, keys, key), now, progress))


def leave(overlay: Overlay, keys: Keys, key: str) -> None:
    """Free a row whose owner ends."""
    row = overlay.row(key)
    assert row is not None
    if row.owner:  # else it cannot be read
        overlay.requeue(key, returned(row, _rev_of(overlay, keys, key)))
