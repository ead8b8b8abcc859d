"""StepFunction: what a workflow has to know of a function that it calls as a step, found out once for each function."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from types import FunctionType, MethodType, NoneType
from typing import Any
from weakref import WeakKeyDictionary

from attrs import frozen

from stepflow.errors import CodecError, DefinitionError, StepflowError
from stepflow.model.codec import Codec
from stepflow.model.flow import Flow
from stepflow.model.generators import generator_problem, lazy_problem, short_name

PLAIN = frozenset({str, int, bool, NoneType})  # values that come back from JSON as they are
_HINT = "annotate what the function returns, e.g. `-> Order`"

# of partials and closures, weakly: they hold their arguments, which may be large
_HOLDING: WeakKeyDictionary[Any, StepFunction] = WeakKeyDictionary()


@frozen
class StepFunction:
    """`name` is the `__qualname__`, empty for lambdas and partials; `codec` restores what the function returns."""

    name: str
    codec: Codec[Any]
    is_async: bool


def step_function(fn: Any) -> StepFunction:
    """What there is to know of a function; DefinitionError for what cannot be a step."""
    owner: Any = fn if type(fn) is not MethodType else fn.__func__
    if type(owner) is FunctionType and owner.__closure__ is None and owner.__defaults__ is None:
        return _read(owner)
    try:
        known = _HOLDING.get(owner)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        known = None
    if known is None:
        known = _read.__wrapped__(owner)
        with suppress(TypeError):
            _HOLDING[owner] = known
    return known


@lru_cache(maxsize=1024)
def _read(fn: Any) -> StepFunction:
    if isinstance(fn, Flow) and fn.kind != "function":
        raise DefinitionError(f"{fn!r:.200} is a flow, not a function: wf.start_child(key, flow, input) starts it")
    if not callable(fn):
        raise DefinitionError(f"{fn!r:.200} is not callable: give the function itself, and its arguments after it")
    if problem := generator_problem(fn):
        raise DefinitionError(problem)
    inner = _annotated(fn)
    is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004
    return StepFunction(_name(fn), result_codec(inner), is_async)


def round_trip(step: StepFunction, value: Any) -> tuple[str, Any]:
    """The text of a value, and the value as a replay restores it."""
    codec = step.codec
    if type(value) is int and codec.type is int:
        return str(value), value
    if problem := lazy_problem(value):
        raise StepflowError(problem)
    try:
        text = codec.encode(value)
        return text, value if type(value) in PLAIN else codec.restored(value, text)
    except CodecError as error:
        raise CodecError(f"what {step.name or 'the step'} returned: {error}") from error


def result_codec(fn: Any) -> Codec[Any]:
    """The codec of what a function returns: of its annotation; without one plain JSON values pass."""
    type_ = hints(fn).get("return", Any)
    return Codec(Any, hint=_HINT) if type_ in (Any, object) or isinstance(type_, typing.TypeVar) else Codec(type_)


def hints(fn: Any) -> dict[str, Any]:
    """The annotations of a function; DefinitionError for one that names what does not exist."""
    if isinstance(fn, type) or not hasattr(fn, "__annotations__"):
        return {"return": fn} if isinstance(fn, type) else {}
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception as error:
        raise DefinitionError(
            f"the annotations of {short_name(fn)} cannot be read: {error}; define the types at the top level of a module that"
            " is imported when the program runs"
        ) from error


def _annotated(fn: Any) -> Callable[..., Any]:
    """The function that has the annotations: inside partials and methods, or the `__call__` of an object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, MethodType):
        fn = fn.__func__
    if inspect.isroutine(fn) or isinstance(fn, type):
        return fn
    return type(fn).__call__


def _name(fn: Any) -> str:
    name = getattr(fn, "__qualname__", "")
    return "" if name.endswith("<lambda>") else name
