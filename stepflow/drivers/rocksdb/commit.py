"""The general path: one commit, decided by the rules on what came before it in its batch, then written into the batch's overlay."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Committed, Enqueue, Event, Owner, Write
from stepflow.drivers.port.rules import (
    NO_EXCHANGE,
    Changes,
    created_by,
    decide_commit,
    ids_of,
    pending_ids_of,
    publishes_of,
    schedules_of,
)
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.step import is_creation
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb import journal, pauses, schedules
from stepflow.drivers.rocksdb import limits as control
from stepflow.drivers.rocksdb import queue as rows
from stepflow.drivers.rocksdb.errors import MEMBER_ERRORS, member_error
from stepflow.drivers.rocksdb.keys import Keys, number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import RunRecord, dump_event, dump_position, dump_revision
from stepflow.drivers.rocksdb.revision_index import alone
from stepflow.errors import StepflowError
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import after_start


def apply(batch: Overlay, keys: Keys, commit: Commit, now: int, me: Owner) -> Committed | StepflowError:
    """Apply one commit whole to the overlay of its batch, or answer why nothing of it was applied."""
    before, member = batch.head.copy(), batch.member()
    try:
        created = _created(member, keys, commit, now) if is_creation(commit) else None
        result = created or _decided(member, keys, commit, now, me)
    except MEMBER_ERRORS as error:
        result = member_error(error)
    except StepflowError as error:
        result = error
    if isinstance(result, StepflowError):
        batch.head.back(before)
    else:
        batch.absorb(member)
    return result


def _created(member: Overlay, keys: Keys, commit: Commit, now: int) -> Committed | None:
    """The fast path of a new run; None if it exists."""
    (write,) = commit.writes
    if member.run(write.state.id) is not None or member.refuses(write.state.id):
        return None
    _write(member, keys, write, now)
    for part in commit.queue:
        assert isinstance(part, Enqueue)
        row = QueueRow(part.flow, part.due, priority=part.priority, limits=part.limits)
        _check(row)
        rows.place(member, part.id, row, part.priority, after_start(part.limits))
    return Committed((member.head.rev,), committed_at=now)


def _decided(member: Overlay, keys: Keys, commit: Commit, now: int, me: Owner) -> Committed | StepflowError:
    publishes, pending = publishes_of(commit), set(pending_ids_of(commit))
    runs = {key: rows.snapshot(member, keys, key, key in pending, publishes) for key in ids_of(commit)}
    changes = Changes(me.id, "rocksdb://", attached.LARGEST)
    if commit.data or commit.delays:
        changes.last_data = attached.last(member, keys, attached.DATA)
        changes.last_delay = attached.last(member, keys, attached.DELAYS)
    if commit.dedup is not None:
        changes.reserved = control.reserved(member, keys, commit.dedup, now)
    for schedule_id in schedules_of(commit):
        changes.schedules[schedule_id] = schedules.get(member, keys, schedule_id)
    rev = member.head.rev + 1
    revs = tuple(range(rev, rev + len(commit.writes)))
    problem = decide_commit(commit, 0, runs, now, changes, revs)
    if problem is not None:
        return problem
    _write_changes(member, keys, changes, runs, now)
    if changes.held:
        rows.appear(member, keys, me)
    epochs = tuple([row.epoch for _number, run_id in changes.held if (row := member.row(run_id)) is not None])
    data_revs, offsets = changes.numbers.get(0, ((), ()))
    return Committed(revs, data_revs, offsets, epochs, now)


def _write_changes(member: Overlay, keys: Keys, changes: Changes, runs: dict[str, RunSnapshot], now: int) -> None:
    for _slot, write, _creates in changes.writes:
        _write(member, keys, write, now)
    for run_id in dict.fromkeys(run_id for run_id, _seq in changes.consumed):
        rows.consume(member, keys, run_id, {seq for one, seq in changes.consumed if one == run_id})
    for run_id in dict.fromkeys(run_id for run_id, _name in changes.forgets):
        journal.forget(member, keys, run_id, [name for one, name in changes.forgets if one == run_id])
    for run_id, row in changes.journal:
        journal.put(member, keys, run_id, (row,), row.epoch, now)
    for event in changes.events:
        _publish(member, keys, event)
    for key, run in runs.items():
        if run.placed and run.row is not None:
            _check(run.row)
        rows.write(member, keys, key, run)
    for rev, data in changes.data.items():
        attached.store(member, keys, rev, data)
    for offset, delay in changes.delays.items():
        attached.put(member, keys, offset, delay)
    for dedup in changes.reserves:
        control.reserve(member, keys, dedup)
    schedules.write(member, keys, changes)
    pauses.write(member, keys, changes)


def _check(row: QueueRow) -> None:
    """Make the parts of index keys: what cannot be one fails now, not when the batch is written."""
    text(row.flow), number(row.due), number(row.priority), text(row.limits)


def _write(overlay: Overlay, keys: Keys, write: Write, now: int) -> None:
    new, exchange = write.state, write.exchange
    overlay.head.rev = rev = overlay.head.rev + 1
    run = overlay.run(new.id)
    if run is None:
        created = created_by(write, now)
        (
            text(created.flow),
            number(created.created_at),
        )  # parts of index keys: they fail now, not when the batch is written
        maps = (dict(new.labels), dict(new.annotations))
        run = overlay.runs[new.id] = RunRecord(new.id, text(new.id), created, rev, new.transition, *maps, now, rev)
        exchange = NO_EXCHANGE if exchange is None else exchange
    else:
        run = overlay.copy(run)
        run.moved(new, rev, now)
    record(overlay, keys, run, new.rev, exchange)


def record(overlay: Overlay, keys: Keys, run: RunRecord, prev: int, exchange: str | None) -> None:
    """Write the newest revision of a run into the history; `exchange` None keeps the last one."""
    if exchange is not None:
        run.exchange_rev = run.rev
    place, puts = number(run.rev), overlay.puts
    puts[keys.history + run.code + place] = dump_revision(
        prev,
        run.exchange_rev,
        dump_position(run.committed_at, run.transition, run.labels, run.annotations),
        exchange or "",
    )
    key, entry = alone(keys, run.rev, run.committed_at, run.code)
    puts[key] = entry
    for name, value in run.labels.items():
        puts[keys.tagged + text(name) + text(value) + place] = b""


def _publish(overlay: Overlay, keys: Keys, event: Event) -> None:
    run = overlay.run(event.run_id)
    assert run is not None
    overlay.head.seq = seq = overlay.head.seq + 1
    overlay.puts[keys.published + run.code + text(event.id) + text(event.name)] = number(seq)
    overlay.by_prefix[keys.events + run.code + number(seq)] = dump_event(event)
    run = overlay.copy(run)
    run.oldest = run.oldest if run.pending else seq
    run.pending += 1
