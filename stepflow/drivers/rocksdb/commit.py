"""Member: checks one commit against what came before it in its batch, then applies it to a draft."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Committed, Created, Dequeue, Enqueue, Event, Owner, Write
from stepflow.drivers.port.placeholders import filled
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb import limits as control
from stepflow.drivers.rocksdb import queue as rows
from stepflow.drivers.rocksdb.errors import MEMBER_ERRORS, member_error
from stepflow.drivers.rocksdb.keys import Keys, number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import Run, dump_event, dump_position, dump_revision
from stepflow.drivers.rocksdb.revision_index import alone
from stepflow.errors import LostClaim, NotFound, RevMismatch, StepflowError


def apply(batch: Overlay, keys: Keys, commit: Commit, now: int, me: Owner) -> Committed | StepflowError:
    """Apply one commit whole to the draft of its batch, or answer why nothing of it was applied."""
    before, member = batch.head.copy(), batch.member()
    try:
        result = _problem(member, keys, commit, now) or _changes(member, keys, commit, now, me)
    except StepflowError as error:
        result = error
    except MEMBER_ERRORS as error:
        result = member_error(error)
    if isinstance(result, StepflowError):
        batch.head.back(before)
    else:
        batch.absorb(member)
    return result


def _changes(member: Overlay, keys: Keys, commit: Commit, now: int, me: Owner) -> Committed:
    if commit.dedup is not None:
        control.reserve(member, keys, commit.dedup)
    if commit.placeholders:
        rev, blob = member.head.rev + 1, attached.last(member, keys, attached.DATA) + 1
        commit = filled(commit, range(rev, rev + len(commit.writes)), range(blob, blob + len(commit.data)), now)
    revs = tuple([_write(member, keys, write, now) for write in commit.writes])
    epochs: tuple[int, ...] = ()
    if commit.consume or commit.queue or commit.publish or commit.cancel:
        epochs = _rest(member, keys, commit, now, me)
    data_revs = tuple([attached.store(member, keys, data) for data in commit.data])
    offsets = tuple([attached.put(member, keys, delay) for delay in commit.delays])
    return Committed(revs, data_revs, offsets, epochs, now)


def lost(overlay: Overlay, key: str, epoch: int) -> LostClaim | None:
    """The error of a holder whose claim is gone, or None."""
    row = overlay.row(key)
    if row is not None and row.epoch == epoch:
        return None
    return LostClaim(f"run {key!r}: the claim with epoch {epoch} is gone, another worker may hold the run: drop it")


def _problem(overlay: Overlay, keys: Keys, commit: Commit, now: int) -> StepflowError | None:
    fence, dedup = commit.fence, commit.dedup
    if fence is not None and (error := lost(overlay, fence.id, fence.epoch)) is not None:
        return error
    for run_id in commit.unowned:
        row = overlay.row(run_id)
        if row is not None and row.owner:
            return LostClaim(f"run {run_id!r} is held by a worker: cancel it, or wait until it is given back")
    problem = _stale(overlay, commit.writes) or _missing(overlay, keys, commit)
    return problem or (None if dedup is None else control.duplicate(overlay, keys, dedup, now))


def _stale(overlay: Overlay, writes: tuple[Write, ...]) -> RevMismatch | None:
    met: set[str] = set()
    stale = []
    for write in writes:
        state = write.state
        run = overlay.run(state.id)
        if state.id in met or state.rev != (0 if run is None else run.rev):
            stale.append(state.id)
        met.add(state.id)
    return RevMismatch(stale) if stale else None


def _missing(overlay: Overlay, keys: Keys, commit: Commit) -> StepflowError | None:
    if not (commit.consume or commit.queue or commit.publish or commit.cancel):
        return None
    if commit.consume and (gone := _gone(overlay, keys, commit)):
        return NotFound(f"events {gone} of the fenced run are not there any more: read the run again")
    made = {write.state.id for write in commit.writes}
    for part in (*commit.queue, *commit.publish):
        run_id = part.run_id if isinstance(part, Event) else part.id
        if run_id not in made and not isinstance(part, Dequeue) and overlay.run(run_id) is None:
            return NotFound(f"there is no run {run_id!r} in this namespace: start it first")
    queued = {part.id for part in commit.queue}
    for cancel in commit.cancel:
        row = overlay.row(cancel.id)
        if row is None or not row.owner or cancel.id in queued:
            return LostClaim(f"run {cancel.id!r} is not held by a worker: cancel it directly")
    return None


def _gone(overlay: Overlay, keys: Keys, commit: Commit) -> list[int]:
    """The seqs to be consumed that are not pending."""
    run = overlay.run(commit.fence.id) if commit.fence else None
    pending = set() if run is None else {event.seq for event in rows.pending(overlay, keys, run)}
    return sorted(set(commit.consume) - pending)


def _write(overlay: Overlay, keys: Keys, write: Write, now: int) -> int:
    new, exchange = write.state, write.exchange
    overlay.head.rev = rev = overlay.head.rev + 1
    run = overlay.run(new.id)
    if run is None:
        created = write.created or Created(new.transition.to, "", now)
        (
            text(created.flow),
            number(created.created_at),
        )  # parts of index keys: fail now rather than when the batch is written
        maps = (dict(new.labels), dict(new.annotations))
        run = overlay.runs[new.id] = Run(new.id, text(new.id), created, rev, new.transition, *maps, now, rev)
        exchange = "null" if exchange is None else exchange
    else:
        run = overlay.copy(run)
        run.moved(new, rev, now)
    record(overlay, keys, run, new.rev, exchange)
    return rev


def record(overlay: Overlay, keys: Keys, run: Run, prev: int, exchange: str | None) -> None:
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


def _rest(overlay: Overlay, keys: Keys, commit: Commit, now: int, me: Owner) -> tuple[int, ...]:
    epochs: tuple[int, ...] = ()
    if commit.consume and commit.fence is not None:
        rows.consume(overlay, keys, commit.fence.id, commit.consume)
    for part in commit.queue:
        if isinstance(part, Enqueue):
            epochs += rows.enqueue(overlay, keys, part, now, me)
        else:
            rows.dequeue(overlay, keys, part.id, now)
    for event in commit.publish:
        _publish(overlay, keys, event, now)
    for cancel in commit.cancel:
        rows.mark(overlay, cancel.id)
    return epochs


def _publish(overlay: Overlay, keys: Keys, event: Event, now: int) -> None:
    run = overlay.run(event.run_id)
    assert run is not None
    seen = keys.published + run.code + text(event.id)
    if overlay.value(seen) is not None:
        return
    overlay.head.seq = seq = overlay.head.seq + 1
    overlay.puts[seen] = number(seq)
    overlay.loose[keys.events + run.code + number(seq)] = dump_event(event)
    run = overlay.copy(run)
    run.oldest = run.oldest if run.pending else seq
    run.pending += 1
    rows.wake(overlay, run, event.name, now)
