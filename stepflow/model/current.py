"""current(): the run, step and attempt that called this code, and the calls that a step makes once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from typing import Any, Protocol, TypeVar, TypeVarTuple, overload

from attrs import define, field

from stepflow.errors import StepflowError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class StepCalls(Protocol):
    """Makes the calls of `once` and `aonce`."""

    def call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The value of a call."""

    async def acall(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The same in an async step."""

    def call_at_most_once(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The value of a call that is not repeated if it is interrupted."""

    async def acall_at_most_once(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The same in an async step."""


class StepCaller(Protocol):
    """Calls the step."""

    def step_calls(self) -> StepCalls:
        """What makes the calls of the present step."""


@define
class Current:
    """The step that is being executed; valid until the step returns.

    `attempt` counts from 1: it is that of the innermost retry group around the step, and grows with every retry by the run's own
    policy, with every death of a process that held the run at this step, and with every interruption of the step, whatever
    else that process had done before. It is 1 again when a group around that one begins anew, and after a redrive; so it is no
    proof that the step is called for the first time: use `key` or `once` for that.
    """

    run_id: str
    flow: str
    step: str = ""
    attempt: int = 1
    renewals: int = field(default=0, kw_only=True)  # how often the workflow has begun anew
    passes: str = field(default="", kw_only=True)  # the same of the loops around the step of a chain, e.g. "2" or "0.1"
    caller: Callable[[], StepCaller | None] | None = field(default=None, eq=False, repr=False)  # a weak reference
    running: bool = field(default=False, init=False, eq=False, repr=False)  # the step is being called

    def once(self, key: str, fn: Callable[[*Ts], T], *args: *Ts, at_most_once: bool = False) -> T:
        """Call `fn(*args)` once for this step of this run: after a crash and at each retry of the step its value comes from the journal.

        The value is durable when this returns, and is dropped with the commit that completes the step, or moves the State of a flow function. It is
        restored from the return annotation of `fn`, also at first; without one only plain JSON values pass. What `fn` raises is raised, and not
        recorded. An attempt uses each `key` once. For the sync steps of chains and sync flow functions, in their own thread.

        With `at_most_once` the intent is durable before the call: if it is interrupted, the run is blocked until `run.resolve(key, value)` or
        `run.resolve_failed(key, error)` tells how it ended. A call that raises has ended: an attempt may make it again.
        """
        calls = self._calls("once", key)
        if at_most_once and _is_true(at_most_once):
            return calls.call_at_most_once(key, fn, args)  # type: ignore[no-any-return]
        return calls.call(key, fn, args)  # type: ignore[no-any-return]

    @overload
    async def aonce(self, key: str, fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, at_most_once: bool = False) -> T: ...
    @overload
    async def aonce(self, key: str, fn: Callable[[*Ts], T], *args: *Ts, at_most_once: bool = False) -> T: ...
    async def aonce(self, key: str, fn: Callable[..., Any], *args: Any, at_most_once: bool = False) -> Any:  # type: ignore[misc]  # mypy compares *args: Any with *args: *Ts
        """`once` in an async step or flow function; `fn` is async, or does not block."""
        calls = self._calls("aonce", key)
        if at_most_once and _is_true(at_most_once):
            return await calls.acall_at_most_once(key, fn, args)
        return await calls.acall(key, fn, args)

    def _calls(self, verb: str, key: str) -> StepCalls:
        if self.caller is None and _current.get(None) is self:
            raise StepflowError(
                f"{verb}({key!r:.80}): only the steps of chains and flow functions have it; a workflow has wf.execute(...)"
            )
        caller = None if self.caller is None or _current.get(None) is not self else self.caller()
        if caller is None:
            raise StepflowError(
                f"{verb}({key!r:.80}) was called outside of its step, or in a thread that the step started"
            )
        return caller.step_calls()

    @property
    def key(self) -> str:
        """`flow/run/step`: the same for all retries and after a crash; use it as an idempotency key for other systems.

        Each pass of a loop of a chain has keys of its own: from the second one on they end with `#` and how often the loop has begun anew, as `#2`; in a loop
        within a loop with the numbers of both, as `#1.2`. So it is after `wf.continue_as_new`: `#` and how often the workflow has begun anew.
        """
        key = f"{self.flow}/{self.run_id}/{self.step}"
        again = self.passes or self.renewals
        return f"{key}#{again}" if again else key


def _is_true(at_most_once: object) -> bool:
    if at_most_once is not True:
        raise StepflowError(f"at_most_once={at_most_once!r:.80}: give True or False")
    return True


_current: ContextVar[Current] = ContextVar("stepflow_current")


def current() -> Current:
    """The run and step that called this code; raises LookupError outside a step."""
    try:
        return _current.get()
    except LookupError:
        raise LookupError("current() was called outside a step: only an engine that runs a step sets it") from None


def current_or_none() -> Current | None:
    """The step that called this code; None outside a step."""
    return _current.get(None)


def current_run() -> str:
    """The id of the run whose step called this code; empty outside a step."""
    found = _current.get(None)
    return "" if found is None else found.run_id


def current_step() -> str:
    """The step that called this code; empty outside a step, and between the steps of a workflow."""
    found = _current.get(None)
    return "" if found is None else found.step


def enter(value: Current) -> Token[Current]:
    """Make `value` the current step of this thread or task; what `leave` takes."""
    return _current.set(value)


def leave(token: Token[Current]) -> None:
    """Make the step the current one that was so before `enter`."""
    _current.reset(token)
