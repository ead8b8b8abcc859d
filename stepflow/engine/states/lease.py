"""Lease: the right to move one State; ExecutionContext: one execution of flow functions, with its lease."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from stepflow.drivers.port.commit import Fence
from stepflow.model.ctx import StateCtx


@define(eq=False)
class Lease:
    """`fence` is the claim on State `id`, whose queue row names flow `to`; None: this engine has no claim on it.

    `commits` counts the commits that moved the State under this lease, `moved_at` is the monotonic time of the last commit,
    `newest` the last claim that a commit gave. `delayed` is set when a delay of the State's present revision will move it on.
    A lease that is kept belongs to revision `rev` and is released at `until`; if `exclusive`, no other engine may execute
    the State.
    """

    id: str = ""
    fence: Fence | None = None
    to: str = ""
    commits: int = 0
    delayed: bool = False
    moved_at: float = 0.0
    rev: int = 0
    until: int = 0
    exclusive: bool = False
    newest: Fence | None = None

    def renew(self, fence: Fence | None) -> None:
        """A commit replaced the queue row, or removed it (None)."""
        self.fence, self.newest = fence, fence or self.newest


@define(eq=False)
class ExecutionContext:
    """One execution of flow functions: the State that it is at, and the lease on it.

    `stopping()` tells that it should come to an end; `waiting` is set while it only waits for news of States, `awaits` while
    an async function runs; `left` are the
    States that it moved and did not execute.
    """

    ctx: StateCtx
    lease: Lease
    stopping: Callable[[], bool]
    waiting: bool = False
    awaits: bool = False
    left: set[str] = field(factory=set)
