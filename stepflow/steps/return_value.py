"""Checks of return values: a step returns nothing, a condition a bool; anything else raises BadReturn."""

from __future__ import annotations

import inspect
from typing import Any

from stepflow.errors import DefinitionError
from stepflow.model.generators import lazy_problem
from stepflow.model.scalars import short_repr
from stepflow.steps.values import Check

_FIXED = (str, bytes, int, float, tuple, frozenset)


class BadReturn(DefinitionError):
    """A user function returned a value that is not allowed; a retry cannot help, so no handler is asked."""

    __module__, __qualname__ = "stepflow.errors", "DefinitionError"  # the name that callers see, and can import

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (_kind, args, attributes) = super().__reduce__()
        return rebuild, (DefinitionError, args, attributes)


def step_check(scope: str) -> Check:
    """Check of a step: ignores any value but another exchange; always target 0."""

    def check(value: Any, exchange: Any) -> int:
        if value is not None and value is not exchange:
            refuse_lost_value(scope, value, exchange)
        return 0

    return check


def condition_check(scope: str, met: int) -> Check:
    """Check of a condition: target `met` for True, the other one of 0 and 1 for False."""
    unmet = 1 - met

    def check(value: Any, _exchange: Any) -> int:
        if value is True:
            return met
        if value is False:
            return unmet
        raise bad_bool(scope, "the condition", value)

    return check


def refuse_lost_value(scope: str, value: Any, exchange: Any) -> None:
    """Raise BadReturn if nothing of `value` has run, or if it is a second exchange, whose content would be lost."""
    if _is_awaitable(value):
        raise _unawaited(scope, value)
    if problem := lazy_problem(value):
        raise BadReturn(f"{scope}: {problem}")
    if issubclass(type(value), type(exchange)):
        kind = type(exchange).__name__
        remedy = f"change the {kind} it was given in place and return nothing"
        if isinstance(exchange, _FIXED):
            remedy = f"a {kind} cannot be changed in place, so make the exchange a class or a dict that holds it"
        raise BadReturn(f"{scope}: the function returned another {kind}, which would be lost: {remedy}")


def bad_bool(scope: str, function: str, value: Any) -> BadReturn:
    """The error for a function that must return True or False and returned `value`."""
    if _is_awaitable(value):
        return _unawaited(scope, value)
    if problem := lazy_problem(value):
        return BadReturn(f"{scope}: {problem}")
    return BadReturn(
        f"{scope}: {function} returned {short_repr(value):.100}, it must return True or False: write bool(...) around it"
    )


def _is_awaitable(value: Any) -> bool:
    try:
        return inspect.isawaitable(value)
    except Exception:  # noqa: BLE001 - it asks the value for its `__class__`
        return False


def _unawaited(scope: str, value: Any) -> BadReturn:
    if inspect.iscoroutine(value):
        value.close()
    return BadReturn(
        f"{scope}: the function is not async but returned an awaitable: make it `async def` and await inside"
    )
