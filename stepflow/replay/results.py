"""Ok and Failed: what became of each item of a map; First: which of several ways came first; UnknownOutcome: that of a call."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from attrs import field, frozen

from stepflow.errors import StepflowError

T_co = TypeVar("T_co", covariant=True)


@frozen
class Ok(Generic[T_co]):
    """The step returned `value`."""

    value: T_co
    ok: Literal[True] = field(default=True, init=False)


@frozen
class Failed:
    """The step raised `error`, or was not made, or cancelled, because enough others had ended: then `cancelled` is true."""

    error: Exception
    cancelled: bool = False
    ok: Literal[False] = field(default=False, init=False)


@frozen
class First(Generic[T_co]):
    """The argument number `index` of a `first_of`, from 0, came first; `value` is its value, None of a timer."""

    index: int
    value: T_co


class UnknownOutcome(StepflowError):
    """A call that is made at most once was interrupted: how it ended is unknown, for the reason `why` (empty: that is unknown too)."""

    def __init__(self, key: str, why: str = "") -> None:
        self.key, self.why = key, why
        super().__init__(f"step {key!r}: the outcome of its call is unknown: {why}")
