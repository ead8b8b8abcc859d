"""What a commit or a release does to the runs it touches: decided on locked rows, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from stepflow.drivers.port.commit import Commit, DedupKey, Dequeue, Enqueue, Event, Release, Write
from stepflow.drivers.port.delays import DataWrite, Delay
from stepflow.drivers.port.stored import printable
from stepflow.drivers.postgres.delays import too_large
from stepflow.drivers.postgres.lock_and_read import RunSnapshot
from stepflow.errors import Duplicate, LostClaim, NotFound, RevMismatch, StepflowError
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import after_start

Slot = tuple[int, int]
"""Which commit of the batch, and which of its writes."""
Numbered = tuple[Slot, Write]


@define
class Changes:
    """What a batch writes besides the queue rows, which are marked on the runs.

    `owner` is the committer, `last_data` and `last_delay` are the numbers given so far; `numbers` are those of a commit.
    """

    creations: list[Numbered] = field(factory=list)
    steps: list[Numbered] = field(factory=list)
    consumed: list[tuple[str, int]] = field(factory=list)  # run id, seq
    events: list[Event] = field(factory=list)
    owner: str = ""
    last_data: int = 0
    last_delay: int = 0
    data: dict[int, DataWrite] = field(factory=dict)
    delays: dict[int, Delay] = field(factory=dict)
    numbers: dict[int, tuple[int, ...]] = field(factory=dict)
    reserved: dict[str, str] = field(factory=dict)  # deduplication keys that hold, and the runs started with them
    dedup: list[DedupKey] = field(factory=list)  # those that hold from now on
    held: list[tuple[int, str]] = field(factory=list)  # commit and run of the rows that the committer holds now


def ids_of(commit: Commit) -> Iterable[str]:
    """The runs that a commit touches."""
    if commit.fence is not None:
        yield commit.fence.id
    yield from commit.unowned
    yield from (write.state.id for write in commit.writes)
    yield from (part.id for part in commit.queue)
    yield from (event.run_id for event in commit.publish)
    yield from (cancel.id for cancel in commit.cancel)
    yield from (delay.state.id for delay in commit.delays)
    yield from (data.run_id for data in commit.data)


def decide(
    commit: Commit, number: int, runs: Mapping[str, RunSnapshot], now: int, changes: Changes, revs: Sequence[int]
) -> StepflowError | None:
    """Note what the commit changes, or answer why nothing of it is done; `revs` are those of its writes."""
    problem: StepflowError | None = _lost(commit, runs) or _stale(commit.writes, runs)
    if problem is None and commit.resolve is not None:
        first = changes.last_data + 1
        try:
            commit = commit.resolve(tuple(revs), tuple(range(first, first + len(commit.data))), now)
        except StepflowError as error:
            return error
    problem = problem or _missing(commit, runs) or too_large(commit.data) or _again(commit.dedup, changes)
    if problem is not None:
        return problem
    for index, write in enumerate(commit.writes):
        _write(write, (number, index), runs[write.state.id], changes)
        runs[write.state.id].newest = revs[index]
    for seq in dict.fromkeys(commit.consume):
        assert commit.fence is not None
        del runs[commit.fence.id].pending[seq]
        changes.consumed.append((commit.fence.id, seq))
    _attach(commit, number, changes)
    for part in commit.queue:
        if isinstance(part, Enqueue) and part.owned:
            _hold(part, runs[part.id], changes.owner)
            changes.held.append((number, part.id))
        else:
            _requeue(part, runs[part.id], now)
    for event in commit.publish:
        _publish(event, runs[event.run_id], now, changes)
    for cancel in commit.cancel:
        runs[cancel.id].marked = True
    return None


def _attach(commit: Commit, number: int, changes: Changes) -> None:
    given: list[int] = []
    for data in commit.data:
        changes.last_data += 1
        changes.data[changes.last_data] = data
        given.append(changes.last_data)
    for delay in commit.delays:
        changes.last_delay += 1
        changes.delays[changes.last_delay] = delay
        given.append(changes.last_delay)
    if given:
        changes.numbers[number] = tuple(given)


def _hold(part: Enqueue, run: RunSnapshot, owner: str) -> None:
    """Give a row to the committer, as if it had claimed it; its epoch is drawn later."""
    limits = _limited(run, part)
    cancel = run.row is not None and run.row.cancel
    row = QueueRow(part.flow, part.due, owner, 0, run.newest, part.priority, cancel=cancel, limits=after_start(limits))
    _place(run, row)


def _limits(run: RunSnapshot) -> str:
    """The limits of the run's present row, or of its next one."""
    return run.limits if run.row is None else run.row.limits


def _limited(run: RunSnapshot, part: Enqueue) -> str:
    """The limits of the row that is put; the run keeps its priority, and what holds of the limits once it begins."""
    run.priority = part.priority
    if part.limits:
        run.limits = after_start(part.limits)
    return part.limits or _limits(run)


def _holds(run: RunSnapshot, epoch: int) -> bool:
    return run.row is not None and run.epoch == epoch and not run.placed


def _lost(commit: Commit, runs: Mapping[str, RunSnapshot]) -> LostClaim | None:
    fence = commit.fence
    if fence is not None and not _holds(runs[fence.id], fence.epoch):
        return LostClaim(
            f"run {fence.id!r}: the claim with epoch {fence.epoch} is gone, another worker may hold the run: drop it"
        )
    for run_id in commit.unowned:
        row = runs[run_id].row
        if row is not None and row.owner:
            return LostClaim(f"run {run_id!r} is held by a worker: cancel it, or wait until it is given back")
    return None


def _again(dedup: DedupKey | None, changes: Changes) -> Duplicate | None:
    """The refusal of a commit whose key holds; else it holds from now on."""
    if dedup is None:
        return None
    if dedup.key in changes.reserved:
        return Duplicate(dedup.key, changes.reserved[dedup.key])
    changes.reserved[dedup.key] = dedup.run_id
    changes.dedup.append(dedup)
    return None


def _stale(writes: Sequence[Write], runs: Mapping[str, RunSnapshot]) -> RevMismatch | None:
    met: set[str] = set()
    stale = []
    for write in writes:
        state = write.state
        if state.id in met or runs[state.id].rev != state.rev:
            stale.append(state.id)
        met.add(state.id)
    return RevMismatch(stale) if stale else None


def _missing(commit: Commit, runs: Mapping[str, RunSnapshot]) -> StepflowError | None:
    held = runs[commit.fence.id].pending if commit.fence else {}
    gone = sorted(set(commit.consume).difference(held))
    if gone:
        return NotFound(f"events {gone} of the fenced run are not there any more: read the run again")
    made = {write.state.id for write in commit.writes}
    for part in (*commit.queue, *commit.publish):
        run_id = part.run_id if isinstance(part, Event) else part.id
        if run_id not in made and not runs[run_id].rev and not isinstance(part, Dequeue):
            return NotFound(f"there is no run {run_id!r} in this namespace: start it first")
    queued = {part.id for part in commit.queue}
    for cancel in commit.cancel:
        row = runs[cancel.id].row
        if row is None or not row.owner or cancel.id in queued:
            return LostClaim(f"run {cancel.id!r} is not held by a worker: cancel it directly")
    return None


def _write(write: Write, slot: Slot, run: RunSnapshot, changes: Changes) -> None:
    transition = write.state.transition
    (changes.steps if run.rev else changes.creations).append((slot, write))
    run.rev = run.rev or -1  # it exists from now on
    run.status, run.event, run.target = transition.status, transition.event, transition.to


def _place(run: RunSnapshot, row: QueueRow | None) -> None:
    run.row, run.placed = row, True


def _requeue(part: Enqueue | Dequeue, run: RunSnapshot, now: int) -> None:
    if run.delay:
        _place(run, None)
        run.fired = True
    if not run.rev:
        return
    limits = _limited(run, part) if isinstance(part, Enqueue) else _limits(run)
    cancel = run.row is not None and run.row.cancel and not run.status
    if isinstance(part, Enqueue):
        _enqueue(run, part.flow, min(part.due, now) if cancel else part.due, limits, cancel)
    elif cancel or (run.event and run.event in run.pending.values()):  # published since the holder looked
        _enqueue(run, run.row.flow if run.row else run.target, now, limits, cancel)
    else:
        _place(run, None)


def _enqueue(run: RunSnapshot, flow: str, due: int, limits: str, cancel: bool = False) -> None:
    _place(run, QueueRow(flow, due, priority=run.priority, cancel=cancel, limits=limits))


def _publish(event: Event, run: RunSnapshot, now: int, changes: Changes) -> None:
    if event.id in run.known:
        return
    run.known.add(event.id)
    changes.events.append(event)
    if run.event != event.name or run.status:
        return
    if run.row is None:
        _enqueue(run, run.target, now, run.limits)
    elif not run.row.owner and run.row.due > now:
        _place(run, run.row._replace(due=now))


def decide_release(release: Release, run: RunSnapshot, now: int) -> bool:
    """Note where the queue row goes; False where the claim is lost."""
    row = run.row
    if row is None or not _holds(run, release.fence.epoch):
        return False
    due = release.due
    cancel = row.cancel and not run.status
    if cancel or (release.event and release.event in run.pending.values()):
        due = now if due is None else min(due, now)
    if due is None:
        _place(run, None)
        return True
    crashes = row.crashes if release.crashes is None else release.crashes
    _place(
        run,
        row._replace(
            owner="", due=due, crashes=crashes, blocked=printable(release.blocked), blocked_by=release.blocked_by
        ),
    )
    return True
