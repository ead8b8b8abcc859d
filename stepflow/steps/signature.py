"""Signatures of user functions: with or without the exchange, sync or async; read once at compile time.

A function is called by its *required positional* parameters: with one fewer than the full signature it is called without
the exchange, so `lambda i=i: send(i)` is a step without exchange. `*args` takes everything. Required keyword-only
parameters, generators and any other number of parameters are mistakes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from attrs import frozen

from stepflow.model.flow import Flow
from stepflow.model.generators import generator_problem
from stepflow.steps.values import Fn

_GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_VARARGS, _COROUTINE = inspect.CO_VARARGS, inspect.CO_COROUTINE
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@frozen
class Signature:
    """The full list of arguments, the exchange first; `what`, `example` and `kinds`, what may be given, are for messages."""

    what: str
    arguments: tuple[str, ...]
    kinds: str = "a function"

    @property
    def example(self) -> str:
        """Both allowed forms, e.g. `fn(exchange, error) or fn(error)`."""
        return f"fn({', '.join(self.arguments)}) or fn({', '.join(self.arguments[1:])})"


STEP = Signature("a step", ("exchange",))
CONDITION = Signature("a condition", ("exchange",))
HANDLER = Signature("an error handler", ("exchange", "error"), "a RetryPolicy or a function")
TRANSACTION = Signature("a function in a transaction", ("exchange", "connection"))
THEN = Signature("an event's function", ("exchange", "payload"))


def _never(*_args: Any) -> None:
    """Replaces a function that was refused; the compile fails before it could be called."""


def read_function(given: Any, expected: Signature) -> tuple[Fn, str]:
    """(the function as the machine calls it, the problem or "")."""
    full = len(expected.arguments)
    if type(given) is FunctionType and (count := plain_count(given, full)) is not None and full - 1 <= count <= full:
        return _adapt(given, count == full, expected), ""
    problem = _problem_of(given, expected.kinds)
    if not problem:
        try:
            parameters = list(inspect.signature(given).parameters.values())
        except (ValueError, TypeError):
            problem = f"the parameters of {given!r} cannot be read: wrap it in a lambda or def"
        else:
            problem = _parameter_problem(given, parameters, expected)
            if not problem:
                return _adapt(given, _count(parameters, expected) == len(expected.arguments), expected), ""
    return Fn(given, _never, False, False), problem


def _problem_of(given: Any, kinds: str) -> str:
    if inspect.iscoroutine(given):
        given.close()  # it never runs; close() prevents the warning that Python prints about that
        return f"{given.__qualname__}() was called here: give the function itself, without ()"
    if isinstance(given, Flow):
        return f"{given!r} is compiled: give the chain that it was made of to .steps(name, chain)"
    if callable(getattr(given, "compile", None)) and not callable(given):
        return f"{given!r} is a chain: use .steps(name, chain)"
    if not callable(given):
        return f"{given!r:.200} is not callable: give {kinds}"
    return generator_problem(given)


def plain_count(given: Any, full: int) -> int | None:
    """What `_count` answers for a `def` or lambda that nothing wraps, at a tenth of the cost of `inspect.signature`.

    None for everything else, generators included.
    """
    if type(given) is not FunctionType or given.__dict__:
        return None
    code = given.__code__
    if code.co_kwonlyargcount or code.co_flags & _GENERATOR:
        return None
    required = code.co_argcount - len(given.__defaults__ or ())
    return max(required, full) if code.co_flags & _VARARGS else required


def _count(parameters: list[inspect.Parameter], expected: Signature) -> int:
    """The number of required positional parameters; `*args` counts as the full number."""
    required = sum(p.kind in _POSITIONAL and p.default is p.empty for p in parameters)
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return max(required, len(expected.arguments)) if takes_rest else required


def _parameter_problem(given: Any, parameters: list[inspect.Parameter], expected: Signature) -> str:
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if keywords:
        return f"{_name(given)} requires keyword {', '.join(keywords)}: give it a default or bind it, e.g. with functools.partial"
    count, full = _count(parameters, expected), len(expected.arguments)
    if full - 1 <= count <= full:
        return ""
    taken = ", ".join(str(p) for p in parameters)
    return (
        f"{_name(given)}({taken}) has {count} required parameters; {expected.what} is {expected.example}: "
        "bind the rest, e.g. with functools.partial or a bound method"
    )


def _adapt(given: Any, full: bool, expected: Signature) -> Fn:
    call: Callable[..., Any] = given
    if not full:
        call = _without_exchange(given) if len(expected.arguments) == 1 else _without_first(given)
    return Fn(given, call, full, is_async(given))


def _without_exchange(fn: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda _exchange: fn()


def _without_first(fn: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda _exchange, value: fn(value)


def is_async(given: Any) -> bool:
    """Whether a call returns an awaitable: `async def`, a partial of one, or an object with an async `__call__`."""
    if type(given) is FunctionType and not given.__dict__:
        return bool(given.__code__.co_flags & _COROUTINE)
    return inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(getattr(type(given), "__call__", None))  # noqa: B004


def _name(given: Any) -> str:
    return getattr(given, "__qualname__", None) or repr(given)
