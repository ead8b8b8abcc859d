"""The hot path: a step of a run that is held, which changes no index and needs no layer of its own."""

from __future__ import annotations

from stepflow.drivers.rocksdb.draft import Draft
from stepflow.drivers.rocksdb.keys import Keys
from stepflow.drivers.rocksdb.member import lost, record
from stepflow.drivers.rocksdb.problems import MEMBER_ERRORS, member_error
from stepflow.drivers.values import Commit, CommitResult
from stepflow.errors import RevMismatch


def is_step(commit: Commit) -> bool:
    """Whether this is a fenced write of one run that goes on, with nothing else."""
    fence, writes = commit.fence, commit.writes
    if fence is None or len(writes) != 1 or commit.queue or commit.publish or commit.consume:
        return False
    if commit.resolve is not None or commit.delays or commit.data or commit.once is not None:
        return False
    state = writes[0].state
    return state.id == fence.id and not state.transition.status and not commit.unowned and not commit.cancel


def step(draft: Draft, keys: Keys, commit: Commit, now: int) -> CommitResult | None:
    """Apply a step, or answer why not; None when it changes more than the history: take the usual way."""
    fence, write = commit.fence, commit.writes[0]
    assert fence is not None
    run_id, new = fence.id, write.state
    row = draft.row(run_id)
    if row is None or row.epoch != fence.epoch:
        return lost(draft, run_id, fence.epoch)
    run = draft.run(run_id)
    if run is None or run.rev != new.rev:
        return RevMismatch([run_id])
    if not row.owner or run.transition.status or (new.labels is not run.labels and new.labels != run.labels):
        return None
    rev, before = draft.head.rev + 1, (run.transition, run.annotations, run.committed_at, run.exchange_rev)
    try:
        run.moved(new, rev, now)
        record(draft, keys, run, new.rev, write.exchange)
    except MEMBER_ERRORS as error:
        run.rev = new.rev
        run.transition, run.annotations, run.committed_at, run.exchange_rev = before
        return member_error(error)
    draft.head.rev = rev
    return (rev,)
