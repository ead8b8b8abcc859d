"""FunctionCalls: the calls that a flow function makes by `current().once` and `aonce`: recorded in the journal of the State that it holds."""

from __future__ import annotations

from weakref import ref

from attrs import define, field

from stepflow.drivers.port.commit import Fence
from stepflow.engine.clock import Clock
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.once_calls import OnceCalls
from stepflow.engine.intents import once_since
from stepflow.engine.states.lease import ExecutionContext
from stepflow.errors import StepflowError
from stepflow.model.current import Current
from stepflow.model.function import FlowFunction
from stepflow.model.scalars import short_repr


@define(eq=False)
class FunctionCalls:
    """Those of one execution; `current` is the function that it calls at present.

    The rows belong to the place where the State is: the revision at which the function began, or which it made itself meanwhile,
    the number of transits before it that are not committed, and the function. A commit that moves the State makes another place,
    and forgets the rows of the last one; a commit that only lets the function be tried again notes that the place is the same.
    """

    at: ExecutionContext
    executor: Executor
    clock: Clock
    current: Current = field(init=False)
    _rev: int = field(init=False, default=0)  # at which the present function began
    _moves: int = field(init=False, default=0)  # the transits that came after that revision
    _once: OnceCalls | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        # A weak reference, so that an execution that has ended is freed at once.
        self.current = Current(self.at.ctx.id, "", caller=ref(self))

    def begin(self, flow: FlowFunction) -> None:
        """This function is called now."""
        at, current, name = self.at, self.current, flow.name
        ctx = at.ctx
        current.run_id, current.flow, current.step, current.attempt = ctx.id, name, name, at.attempt
        self._rev, self._moves, self._once = ctx.committed.rev, len(ctx.transitions), None
        current.running, at.awaits = True, flow.is_async

    def end(self) -> None:
        """It has returned, or raised."""
        self.current.running = self.at.awaits = False

    @property
    def awaits(self) -> bool:
        """Whether the function is async."""
        return self.at.awaits

    @property
    def fence(self) -> Fence:
        """The claim on the State."""
        fence = self.at.lease.fence
        if fence is None:
            raise StepflowError(
                f"once in {self.current.flow!r}: this execution does not hold State {self.at.ctx.id!r}, so its calls cannot be"
                " recorded: commit a transit of the State to the function before it is executed, and make the calls before"
                " the function parks the State"
            )
        return fence

    @property
    def place(self) -> str:
        """The beginning of the keys of its rows."""
        state = self.at.ctx.committed
        return f"{self.current.step}@{once_since(state)}.{self._moves if state.rev == self._rev else 0}"

    @property
    def at_most_once(self) -> bool:
        """No function is itself called at most once."""
        return False

    def hold_cancels(self, change: int) -> None:
        """A call that no cancel of the State interrupts begins (1), or has ended (-1)."""
        self.at.hold_cancels(change)

    def step_calls(self) -> OnceCalls:
        """What makes the calls, made for the first of them."""
        if self._once is None:
            self.at.once = self._once = _FunctionOnceCalls(
                self, self.executor.committer, self.at.lease.rows, self.executor.loop
            )
        return self._once

    def should_retry_commit(self, refusal: object) -> bool:
        """Whether to write a row again that the store refused."""
        return self.at.should_retry_commit(refusal)

    def note_progress(self) -> None:
        """A row was written: the function does not hang, and its process does not die of it."""
        self.at.lease.wrote, self.at.lease.moved_at = True, self.clock.monotonic()


class _FunctionOnceCalls(OnceCalls):
    """Those of a flow function, which needs a claim on its State."""

    def _check_place(self, verb: str, key: str) -> None:
        super()._check_place(verb, key)
        try:
            self.attempt.fence  # noqa: B018 - raises
        except StepflowError as error:
            raise StepflowError(f"{verb}({short_repr(key)}): {error}") from None
