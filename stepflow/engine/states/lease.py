"""Lease: the right to move one State; ExecutionContext: one execution of flow functions, with its lease."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from stepflow.drivers.port.commit import Fence
from stepflow.drivers.port.journal import JournalRow
from stepflow.engine.execution.once_calls import OnceCalls
from stepflow.model.ctx import StateCtx


@define(eq=False)
class Lease:
    """`fence` is the claim on State `id`, whose queue row names flow `to`; None: this engine has no claim on it.

    `commits` counts the commits that moved the State under this lease, `moved_at` is the monotonic time of the last commit,
    `newest` the last claim that a commit gave. `delayed` is set when a delay of the State's present revision will move it on.
    A lease that is kept belongs to revision `rev` and is released at `until`; if `exclusive`, no other engine may execute
    the State. `rows` are the journal rows of the State that are known to be there, by key: the next commit that moves it forgets
    them; `wrote` tells whether one was written under this lease.
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
    rows: dict[str, JournalRow] = field(factory=dict)
    wrote: bool = False

    def renew(self, fence: Fence | None) -> None:
        """A commit replaced the queue row, or removed it (None)."""
        self.fence, self.newest = fence, fence or self.newest


@define(eq=False)
class ExecutionContext:
    """One execution of flow functions: the State that it is at, and the lease on it.

    `stopping()` tells that it should come to an end; `waiting` is set while it only waits for news of States, `awaits` while
    an async function runs; `left` are the
    States that it moved and did not execute. `attempt` is the number of the attempt of the first function, `should_retry_commit`
    tells whether a journal row is written again that the store refused, `once` makes the calls of the present function that are made
    once; `hold_cancels` hears of those that no cancel interrupts. `handed_over`: the last call gave the State to an engine elsewhere. `raised` is what the present function raised.
    """

    ctx: StateCtx
    lease: Lease
    stopping: Callable[[], bool]
    waiting: bool = False
    awaits: bool = False
    left: frozenset[str] = frozenset()
    attempt: int = 1
    should_retry_commit: Callable[[object], bool] = field(default=lambda _refusal: False)
    hold_cancels: Callable[[int], None] = field(default=lambda _change: None)
    once: OnceCalls | None = None
    handed_over: bool = False
    raised: BaseException | None = None
