"""current(): the run, step and attempt that called this code."""

from __future__ import annotations

from contextvars import ContextVar

from attrs import define


@define
class Current:
    """The step that is being executed; valid until the step returns.

    `attempt` counts from 1: it is that of the innermost retry group around the step, and grows with every retry by the run's own
    policy and with every crash of this step. When a group around that one begins anew, and after a redrive, it is 1 again.
    """

    run_id: str
    flow: str
    step: str = ""
    attempt: int = 1

    @property
    def key(self) -> str:
        """`flow/run/step`: the same for all retries and after a crash; use it as an idempotency key for other systems."""
        return f"{self.flow}/{self.run_id}/{self.step}"


_current: ContextVar[Current] = ContextVar("stepflow_current")


def current() -> Current:
    """The run and step that called this code; raises LookupError outside a step."""
    try:
        return _current.get()
    except LookupError:
        raise LookupError("current() was called outside a step: only an engine that runs a step sets it") from None


def current_run() -> str:
    """The id of the run whose step called this code; empty outside a step."""
    found = _current.get(None)
    return "" if found is None else found.run_id


def current_step() -> str:
    """The step that called this code; empty outside a step, and between the steps of a workflow."""
    found = _current.get(None)
    return "" if found is None else found.step


def enter(value: Current) -> None:
    """Make `value` the current step of this thread or task."""
    _current.set(value)
