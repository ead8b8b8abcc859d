"""refusal: says in one line why a value cannot be stored, or a stored one not be restored, and where in it the fault is."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from typing import Any

from cattrs import BaseValidationError, ForbiddenExtraKeysError, StructureHandlerNotFoundError, transform_error
from cattrs.v import format_exception

from stepflow.model.converter import field_names, has_fields
from stepflow.model.scalars import Misfit, shown

_KINDS = "dataclasses, attrs classes, typed dicts, enums, and lists, dicts and scalars of JSON"
_DEEP = 500  # levels; deeper values are cut off by the recursion limit of the JSON encoder sooner or later


def name_of(type_: Any) -> str:
    """A type as its author would write it."""
    return str(type_) if typing.get_args(type_) else getattr(type_, "__qualname__", None) or str(type_)


def explain(error: BaseException) -> str:
    """The validation errors of cattrs, or any other error, in one line."""
    if isinstance(error, BaseValidationError):
        return "; ".join(transform_error(error, path="$", format_exception=_told))
    if isinstance(error, StructureHandlerNotFoundError):
        return f"JSON cannot give {name_of(error.type_)} back: make it one of {_KINDS}"
    if isinstance(error, NameError):
        return f"{error}: define it at the top level of its module, not inside of a function or `if TYPE_CHECKING`"
    return str(error) if isinstance(error, Misfit) else f"{type(error).__name__}: {error}"


def _told(error: BaseException, type_: Any) -> str:
    """One error inside of a value."""
    if isinstance(error, Misfit):
        return str(error)
    if has_fields(type_) and isinstance(error, (AttributeError, TypeError)):
        return expected(type_)
    return format_exception(error, type_)


def expected(type_: Any) -> str:
    """What a class with fields is restored from."""
    return f"expected an object with the fields of {name_of(type_)} ({', '.join(field_names(type_))})"


def has_unknown_fields(error: BaseException) -> bool:
    """Whether stored fields that the type lacks are among the faults."""
    if isinstance(error, ForbiddenExtraKeysError):
        return True
    return isinstance(error, BaseExceptionGroup) and any(has_unknown_fields(e) for e in error.exceptions)


def culprit(raw: Any) -> str:
    """The first thing in `raw` that JSON lacks, with its path, e.g. `$.lines[2] is nan: ...`; empty if there is none."""
    stack: list[tuple[str, Any, frozenset[int]]] = [("$", raw, frozenset())]
    while stack:
        path, value, around = stack.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) in around:
                return f"{path} contains itself"
            if len(around) >= _DEEP:
                return f"{path[:60]}... is nested more than {_DEEP} deep"
            inside = list(_parts(path, value))
            stack += [(at, part, around | {id(value)}) for at, part in reversed(inside)]
        elif fault := _fault(value):
            return fault if path == "$" else f"{path} is {shown(value)}: {fault}"
    return ""


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield from ((f"{path}[{n}]", part) for n, part in enumerate(value))
        return
    for key, part in value.items():
        yield f"a key of {path}", _Key(key) if not isinstance(key, (str, int, float, type(None))) else key
        yield f"{path}.{key}", part


class _Key:
    """Stands for a key that JSON lacks, to be found as the culprit."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __repr__(self) -> str:
        return shown(self.key)


def _fault(value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair is no text: decode the bytes it came from with the right encoding"
        return ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "JSON has no such number, use None or a text"
    if value is None or isinstance(value, int):
        return ""
    if isinstance(value, _Key):
        return "keys must be texts or numbers"
    return f"{type(value).__qualname__} is no type of JSON"
