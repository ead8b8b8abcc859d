"""Refusals: why a commit may not be applied to the runs that it touches, decided once for all stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.drivers.port.commit import Commit, Enqueue, Write
from stepflow.drivers.port.delays import DataWrite
from stepflow.drivers.port.pruning import PRUNED
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.errors import (
    CancelRequested,
    LostClaim,
    NotFound,
    PauseRequested,
    RevMismatch,
    RunEnded,
    StepflowError,
    StoreError,
    TooLarge,
)
from stepflow.model.state import TIMED_OUT


def refusal(commit: Commit, runs: Mapping[str, RunSnapshot], largest: int, store: str) -> StepflowError | None:
    """Why the runs do not allow this commit; `largest` is the size of data in bytes that `store` takes."""
    problem: StepflowError | None = _lost(commit, runs) or _stale(commit.writes, runs)
    return (
        problem
        or _cancelled(commit, runs)
        or _paused(commit, runs)
        or _missing(commit, runs)
        or _ended(commit, runs)
        or _too_large(commit.data, largest, store)
    )


def lost_claim(run_id: str, epoch: int) -> LostClaim:
    """The refusal of a holder whose claim is gone."""
    return LostClaim(f"run {run_id!r}: the claim with epoch {epoch} is gone, another worker may hold the run: drop it")


def holds(run: RunSnapshot, epoch: int) -> bool:
    """Whether the claim of this epoch still holds the run, as far as the batch has come."""
    return run.row is not None and run.epoch == epoch and not run.placed


def _lost(commit: Commit, runs: Mapping[str, RunSnapshot]) -> LostClaim | StoreError | None:
    fence = commit.fence
    if fence is not None and not holds(runs[fence.id], fence.epoch):
        return lost_claim(fence.id, fence.epoch)
    if fence is None and (commit.journal or commit.forget) and len(commit.unowned) != 1:
        return StoreError("journal rows are those of a claim, or of the one unowned run: give the commit its fence")
    for run_id in commit.unowned:
        row = runs[run_id].row
        if row is not None and row.owner:
            return LostClaim(f"run {run_id!r} is held by a worker: cancel it, or wait until it is released")
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


def _cancelled(commit: Commit, runs: Mapping[str, RunSnapshot]) -> CancelRequested | None:
    """The refusal of a holder that ends its run otherwise than as cancelled, or since its time limit is over, although a cancel was requested."""
    if commit.fence is None or not runs[commit.fence.id].cancelled:
        return None
    for write in commit.writes:
        transition = write.state.transition
        if write.state.id != commit.fence.id or transition.status in ("", "cancelled"):
            continue
        if TIMED_OUT not in transition.annotations:
            return CancelRequested(f"run {commit.fence.id!r}: a cancel was requested, end the run as cancelled")
    return None


def _paused(commit: Commit, runs: Mapping[str, RunSnapshot]) -> PauseRequested | None:
    """The refusal of a commit that would keep or take the claim on runs that are paused."""
    held = [part.id for part in commit.queue if isinstance(part, Enqueue) and part.owned and runs[part.id].paused]
    if commit.fence is not None and not commit.despite_pause and runs[commit.fence.id].paused:
        run_id = commit.fence.id
        ends = any(write.state.id == run_id and write.state.transition.status for write in commit.writes)
        if not ends and all(part.id != run_id for part in commit.queue):
            held.append(run_id)
    if not held:
        return None
    return PauseRequested(held, [row.flow for run_id in held if (row := runs[run_id].row) is not None])


def _missing(commit: Commit, runs: Mapping[str, RunSnapshot]) -> StepflowError | None:
    if commit.consume:
        pending = runs[commit.fence.id].pending if commit.fence else {}
        if taken := sorted(set(commit.consume).difference(pending)):
            return NotFound(f"events {taken} of the fenced run are not there any more: read the run again")
    needed = [part.id for part in commit.queue if isinstance(part, Enqueue)]
    if commit.publish:
        needed += [event.run_id for event in commit.publish]
    if commit.fence is None and (commit.journal or commit.forget):
        needed += commit.unowned
    if commit.pause:
        needed += [pause.id for pause in commit.pause]
    missing = [run_id for run_id in needed if runs[run_id].rev in (0, PRUNED)]
    if missing:
        created = {write.state.id for write in commit.writes}
        if gone := [run_id for run_id in missing if run_id not in created]:
            return NotFound(f"there is no run {gone[0]!r} in this namespace: start it first")
    if commit.cancel:
        queued = {part.id for part in commit.queue}
        for cancel in commit.cancel:
            row = runs[cancel.id].row
            if row is None or not row.owner or cancel.id in queued:
                return LostClaim(f"run {cancel.id!r} is not held by a worker: cancel it directly")
    return None


def _ended(commit: Commit, runs: Mapping[str, RunSnapshot]) -> RunEnded | None:
    """The refusal of a pause or of a new event for a run that goes nowhere: only a failed run may go on, after a redrive."""
    for pause in commit.pause:
        if status := runs[pause.id].status:
            other = "; redrive lets it go on" if status == "failed" else ""
            return RunEnded(pause.id, status, f"it cannot be paused or resumed{other}")
    for event in commit.publish:
        run = runs[event.run_id]
        if run.status not in ("", "failed") and (event.name, event.id) not in run.known:
            return RunEnded(event.run_id, run.status, f"event {event.name!r} was not stored")
    return None


def _too_large(data: Sequence[DataWrite], largest: int, store: str) -> TooLarge | None:
    for one in data:
        if len(one.blob) > largest:
            return TooLarge(
                f"the data of run {one.run_id!r} has {len(one.blob)} bytes, {store} stores at most {largest}: split it"
            )
    return None
