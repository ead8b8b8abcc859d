"""The type of the exchange: declared, or taken from the annotations of the step functions; and the fields that it stores."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.scalars import short_repr
from stepflow.steps.kinds.base import Placed
from stepflow.steps.table import Table

_NO_TYPE = (Any, object, None, type(None))
_FORMS = ("typing", "types", "typing_extensions")  # modules whose objects are types, e.g. dict[str, int]


class UnstorableExchange(DefinitionError, CodecError):
    """A type inside the exchange cannot be stored as JSON; `problems` has its path, e.g. `Order.lines[].price`."""

    __module__, __qualname__ = "stepflow.errors", "DefinitionError"  # the name that callers see, and can import

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (_kind, args, attributes) = super().__reduce__()
        return rebuild, (DefinitionError, args, attributes)


def type_problem(given: Any) -> str:
    """Why `given` cannot be used as a type, empty if it can."""
    if given is None or isinstance(given, type) or type(given).__module__ in _FORMS:
        return ""
    if isinstance(given, str):
        return f"{given!r:.80} is a text: give the type itself"
    return f"{short_repr(given)} is an object: give its type"


def exchange_type(table: Table, declared: Any) -> Any:
    """The declared type, else the only one that the annotations of the functions name, else Any."""
    if declared is not None:
        return declared
    found: list[Any] = []
    for hint in _hints(_functions(table)):
        if hint not in found:
            found.append(hint)
    return found[0] if len(found) == 1 else Any


def _functions(table: Table) -> Iterator[Any]:
    """The functions that take the exchange, and have annotations as far as that is known."""
    for step in table.steps:
        if isinstance(step, Placed):
            if step.wants_exchange and step.fn.__annotations__:
                yield step.fn
        elif step.fn.wants_exchange:
            yield step.fn.raw
    inner = dict.fromkeys(item.retry_scope for item in table.items)
    groups = dict.fromkeys(group for scope in inner if scope is not None for group in scope.outwards())
    yield from (group.handler.raw for group in groups if group.handler is not None and group.handler.wants_exchange)


def _hints(functions: Iterable[Any]) -> Iterator[Any]:
    for raw in functions:
        hint = _first_hint(raw)
        if hint in _NO_TYPE or isinstance(hint, typing.TypeVar) or getattr(hint, "_is_protocol", False):
            continue
        yield hint


def _first_hint(raw: Any) -> Any:
    """The annotation of the parameter that receives the exchange; None if it has none that can be read."""
    first = next(iter(inspect.signature(raw).parameters.values()), None)
    if isinstance(raw, type) or first is None or first.kind is first.VAR_POSITIONAL or first.annotation is first.empty:
        return None
    owner: Any = raw.func if isinstance(raw, functools.partial) else raw
    if not hasattr(owner, "__code__"):
        owner = getattr(owner, "__func__", None) or owner.__call__
    try:
        return typing.get_type_hints(owner)[first.name]
    except Exception:  # noqa: BLE001 - a name that exists for the type checker only counts as no annotation
        return None
