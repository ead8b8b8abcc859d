"""The two shapes that most commits have, for which stores keep a short way."""

from __future__ import annotations

from stepflow.drivers.values import Commit, Enqueue, Step


def is_step(commit: Commit) -> bool:
    """Whether this is a fenced write of one run that exists, with nothing else but perhaps a change of its queue row."""
    if type(commit) is Step:
        return True
    fence, writes, queue = commit.fence, commit.writes, commit.queue
    if fence is None or len(writes) != 1 or len(queue) > 1 or commit.publish or commit.consume or _is_rich(commit):
        return False
    state = writes[0].state
    return state.id == fence.id and state.rev > 0 and (not queue or queue[0].id == fence.id)


def is_birth(commit: Commit) -> bool:
    """Whether this creates one run, with nothing else but perhaps its queue row, which nobody holds."""
    writes, queue = commit.writes, commit.queue
    if commit.fence or len(writes) != 1 or len(queue) > 1 or commit.publish or commit.consume or _is_rich(commit):
        return False
    state, _exchange, born = writes[0]
    if state.rev or born is None:
        return False
    return not queue or (isinstance(queue[0], Enqueue) and queue[0].id == state.id and not queue[0].owned)


def _is_rich(commit: Commit) -> bool:
    """Whether it has a part that only commits of other shapes have."""
    return bool(
        commit.unowned or commit.cancel or commit.delays or commit.data or commit.resolve is not None or commit.once
    )
