"""The type of the exchange: declared, or taken from the annotations of the step functions; and the fields that it stores."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

import attrs

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.fields import has_fields
from stepflow.model.scalars import short_repr
from stepflow.model.type_tree import is_pydantic_model
from stepflow.steps.table import Table
from stepflow.steps.values import Fn

_NO_TYPE = (Any, object, None, type(None))
_FORMS = ("typing", "types", "typing_extensions")  # modules whose objects are types, e.g. dict[str, int]


class UnstorableExchange(DefinitionError, CodecError):
    """A type inside the exchange cannot be stored as JSON; `problems` has its path, e.g. `Order.lines[].price`."""


def is_opaque(type_: Any) -> bool:
    """Whether it is a plain class of the program, which only `apply` can use: an engine refuses it when it is registered."""
    owner = typing.get_origin(type_) or type_
    if not isinstance(owner, type) or has_fields(owner) or is_pydantic_model(owner):
        return False
    return owner.__module__ != "builtins"


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


def _functions(table: Table) -> Iterator[Fn]:
    groups = dict.fromkeys(group for row in table.rows for group in row.retry_scopes())
    yield from (row.fn for row in table.rows)
    yield from (group.handler for group in groups if group.handler is not None)


def _hints(functions: Iterable[Fn]) -> Iterator[Any]:
    for fn in functions:
        hint = _first_hint(fn.raw) if fn.wants_exchange else None
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


def stored_fields(exchange: Any) -> list[str]:
    """Every field of the type and of the types inside it, as sorted `Type.field: type` texts, with `=` if it has a default.

    Members of enums are listed like fields, since they also decide which stored texts can be read.
    """
    fields: set[str] = set()
    seen: list[Any] = []
    todo = [exchange]
    while todo:
        type_ = todo.pop()
        if type_ in seen:
            continue
        seen.append(type_)
        todo += typing.get_args(type_)
        owner = typing.get_origin(type_) or type_
        if isinstance(owner, type):
            names = _field_names(owner)
            hints = _field_hints(owner) if names else {}
            fields |= {f"{owner.__qualname__}.{name}: {hints.get(name)!r}{mark}" for name, mark in names.items()}
            todo += [hints[name] for name in names if name in hints]
    return sorted(fields)


def _field_names(owner: Any) -> dict[str, str]:
    """The stored fields of a type, each with `=` if it has a default."""
    if attrs.has(owner):
        return {field.name: "" if field.default is attrs.NOTHING else "=" for field in attrs.fields(owner)}
    if dataclasses.is_dataclass(owner):
        required = dataclasses.MISSING
        fields = dataclasses.fields(owner)
        return {f.name: "" if f.default is required and f.default_factory is required else "=" for f in fields}
    if typing.is_typeddict(owner):
        return {name: "" if name in owner.__required_keys__ else "=" for name in owner.__annotations__}
    if hasattr(owner, "_fields"):
        return {name: "=" if name in owner._field_defaults else "" for name in owner._fields}
    return {str(member.value): "" for member in owner} if issubclass(owner, Enum) else {}


def _field_hints(owner: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner)
    except Exception:  # noqa: BLE001 - see above; the field names are used alone then
        return {}


def code_text(fn: Any) -> str:
    """A text that changes when the code of a function changes; empty for None."""
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    return getattr(type(fn), "__qualname__", "") if code is None and fn is not None else _code_parts(code)


def _code_parts(code: Any) -> str:
    if not hasattr(code, "co_code"):
        constants = sorted(map(repr, code)) if isinstance(code, frozenset) else code  # its order differs by process
        return "" if code is None else repr(constants)
    return "".join((code.co_code.hex(), repr(code.co_names), *map(_code_parts, code.co_consts)))
