"""unencodable: finds the value inside another one that JSON cannot hold, and tells its path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import NoneType
from typing import Any

from stepflow.model.scalars import is_storable, short_repr

_DEEP = 500  # levels; deeper values may exceed the recursion limit of the JSON encoder


def find_unencodable(raw: Any, exact: bool = False) -> str:
    """The path of the first value in `raw` that JSON cannot hold, e.g. `$.lines[2] is nan: ...`; empty if there is none.

    With `exact` the restored value must also equal it: tuples, subclasses and keys other than texts are found, too.
    """
    stack: list[tuple[str, Any, frozenset[int]]] = [("$", raw, frozenset())]
    while stack:
        path, value, ancestors = stack.pop()
        container = type(value) in (dict, list) if exact else isinstance(value, (dict, list, tuple))
        if container:
            if id(value) in ancestors:
                return f"{path} contains itself"
            if len(ancestors) >= _DEEP:
                return f"{path[:60]}... is nested more than {_DEEP} deep"
            children = list(_children(path, value, exact))
            stack += [(child_path, child, ancestors | {id(value)}) for child_path, child in reversed(children)]
        elif problem := _problem(value, exact):
            return problem if path == "$" else f"{path} is {short_repr(value)}: {problem}"
    return ""


def _children(path: str, value: Any, exact: bool) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield from ((f"{path}[{n}]", child) for n, child in enumerate(value))
        return
    for key, child in value.items():
        is_key = type(key) is str if exact else isinstance(key, (str, int, float, type(None)))
        yield f"a key of {path}", key if is_key else _Key(key, exact)
        yield f"{path}.{key}", child


class _Key:
    """Wraps a key that JSON does not allow, so that `_problem` reports it."""

    def __init__(self, key: Any, exact: bool) -> None:
        self.key, self.exact = key, exact

    def __repr__(self) -> str:
        return short_repr(self.key)


def _problem(value: Any, exact: bool) -> str:
    if exact and type(value) not in _EXACT:
        return f"{type(value).__qualname__} is not a JSON type{_remedy(value)}"
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
        return (
            "JSON restores all keys as texts: use texts, or declare the type of the keys, e.g. dict[int, str]"
            if value.exact
            else "keys must be texts or numbers"
        )
    return f"{type(value).__qualname__} is not a JSON type"


_EXACT = (str, int, float, bool, NoneType, _Key)
_BASES = (dict, list, str, int, float)


def _remedy(value: Any) -> str:
    """What to do about a value that JSON would not restore as it is."""
    name = type(value).__qualname__
    base = next((one for one in _BASES if isinstance(value, one)), list if isinstance(value, tuple) else None)
    if base is None:
        return ""
    declare = f", or declare {name} as the type" if type(value) is tuple or is_storable(type(value)) else ""
    return f", so a {base.__qualname__} would come back: give {base.__qualname__}(...){declare}"
