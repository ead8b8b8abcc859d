"""generators: finds functions whose call runs nothing, because they are generators, also behind wrappers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import AsyncGeneratorType, FunctionType, GeneratorType, MethodType
from typing import Any

_LAZY = (GeneratorType, AsyncGeneratorType, map, filter)


def generator_problem(given: Any) -> str:
    """Why a callable runs nothing when it is called; empty if it is no generator."""
    inner = next((one for one in _layers(given) if _is_generator(one)), None)
    if inner is None:
        return ""
    name = getattr(inner, "__qualname__", None) or repr(inner)
    if inner is given:
        return f"{name} is a generator, so calling it runs nothing: remove the yield"
    return (
        f"{name} is a generator, so calling it through {short_name(given)} runs nothing: remove the yield; "
        "if the wrapper runs it to its end, call it in a function of its own"
    )


def lazy_problem(value: Any) -> str:
    """Why a returned value means that nothing has run; empty if it does not."""
    if not issubclass(type(value), _LAZY):
        return ""
    return f"the function returned a {type(value).__name__}, of which nothing has run: go through it with a loop inside"


def short_name(given: Any) -> str:
    """The name of a callable."""
    return getattr(given, "__qualname__", None) or type(given).__qualname__


def _layers(given: Any) -> Iterator[Any]:
    """A callable, and what it calls: inside partials, methods, decorators with functools.wraps, and `__call__`."""
    if type(given) is FunctionType and not given.__dict__:  # nearly all: it wraps nothing
        yield given
        return
    seen: list[Any] = []
    while given is not None and not any(given is one for one in seen):
        seen.append(given)
        yield given
        if isinstance(given, functools.partial):
            given = given.func
        elif isinstance(given, MethodType):
            given = given.__func__
        elif (wrapped := inspect.getattr_static(given, "__wrapped__", None)) is not None:
            given = wrapped
        elif inspect.isroutine(given) or isinstance(given, type):
            return
        else:
            given = inspect.getattr_static(type(given), "__call__", None)


def _is_generator(given: Any) -> bool:
    return inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given)
