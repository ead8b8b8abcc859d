"""codec_errors: explains in one line why a value cannot be encoded or decoded, and at which path inside it."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from typing import Any

from cattrs import BaseValidationError, ForbiddenExtraKeysError, StructureHandlerNotFoundError, transform_error
from cattrs.v import format_exception

from stepflow.model.converter import field_names, has_fields
from stepflow.model.error_text import kind_of, message_of
from stepflow.model.scalars import TypeMismatch, short_repr

_KINDS = "dataclasses, attrs classes, typed dicts, enums, and lists, dicts and scalars of JSON"
_DEEP = 500  # levels; deeper values may exceed the recursion limit of the JSON encoder


def type_name(type_: Any) -> str:
    """The name of a type as it is written in code."""
    return str(type_) if typing.get_args(type_) else getattr(type_, "__qualname__", None) or str(type_)


def one_line(error: BaseException) -> str:
    """An error of cattrs, or any other error, in one line."""
    if isinstance(error, BaseValidationError):
        return "; ".join(transform_error(error, path="$", format_exception=_format))
    if isinstance(error, StructureHandlerNotFoundError):
        return f"{type_name(error.type_)} cannot be restored from JSON: make it one of {_KINDS}"
    if isinstance(error, NameError):
        return f"{error}: define it at the top level of its module, not inside a function or `if TYPE_CHECKING`"
    return str(error) if isinstance(error, TypeMismatch) else f"{kind_of(error)}: {message_of(error)}"


def _format(error: BaseException, type_: Any) -> str:
    """One error inside a value."""
    if isinstance(error, TypeMismatch):
        return str(error)
    if has_fields(type_) and isinstance(error, (AttributeError, TypeError)):
        return expected_fields(type_)
    return format_exception(error, type_)


def expected_fields(type_: Any) -> str:
    """The message for stored JSON that is not an object with the fields of the class."""
    return f"expected an object with the fields of {type_name(type_)} ({', '.join(field_names(type_))})"


def has_unknown_fields(error: BaseException) -> bool:
    """Whether the error reports stored fields that the type lacks."""
    if isinstance(error, ForbiddenExtraKeysError):
        return True
    return isinstance(error, BaseExceptionGroup) and any(has_unknown_fields(e) for e in error.exceptions)


def find_unencodable(raw: Any) -> str:
    """The path of the first value in `raw` that JSON cannot hold, e.g. `$.lines[2] is nan: ...`; empty if there is none."""
    stack: list[tuple[str, Any, frozenset[int]]] = [("$", raw, frozenset())]
    while stack:
        path, value, ancestors = stack.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) in ancestors:
                return f"{path} contains itself"
            if len(ancestors) >= _DEEP:
                return f"{path[:60]}... is nested more than {_DEEP} deep"
            children = list(_children(path, value))
            stack += [(child_path, child, ancestors | {id(value)}) for child_path, child in reversed(children)]
        elif problem := _problem(value):
            return problem if path == "$" else f"{path} is {short_repr(value)}: {problem}"
    return ""


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield from ((f"{path}[{n}]", child) for n, child in enumerate(value))
        return
    for key, child in value.items():
        yield f"a key of {path}", _Key(key) if not isinstance(key, (str, int, float, type(None))) else key
        yield f"{path}.{key}", child


class _Key:
    """Wraps a key that JSON does not allow, so that `_problem` reports it."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __repr__(self) -> str:
        return short_repr(self.key)


def _problem(value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair cannot be encoded as UTF-8: decode the bytes it came from with the right encoding"
        return ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "JSON has no such number, use None or a text"
    if value is None or isinstance(value, int):
        return ""
    if isinstance(value, _Key):
        return "keys must be texts or numbers"
    return f"{type(value).__qualname__} is not a JSON type"
