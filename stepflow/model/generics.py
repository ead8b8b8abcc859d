"""generics: which types the type variables of a generic class stand for, in its fields and in those of its bases."""

from __future__ import annotations

import functools
import operator
import typing
from types import UnionType
from typing import Any


def arguments(type_: Any) -> dict[Any, Any]:
    """Type variable -> type, for a class with type arguments and for the generic bases that it fills."""
    owner = typing.get_origin(type_) or type_
    parameters: tuple[Any, ...] = getattr(owner, "__parameters__", ()) or getattr(owner, "__type_params__", ())
    found = dict(zip(parameters, typing.get_args(type_), strict=False))
    for base in getattr(owner, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, typing.Generic, typing.Protocol):
            found |= arguments(substituted(base, found))
    return found


def substituted(type_: Any, given: dict[Any, Any]) -> Any:
    """The type with the type variables (and `Self`) in it replaced."""
    if isinstance(type_, typing.TypeVar) or type_ is typing.Self:
        return given.get(type_, type_)
    args = typing.get_args(type_)
    origin = typing.get_origin(type_)
    if not args or origin in (None, typing.Literal):
        return type_
    if origin is typing.Annotated:
        return typing.Annotated[(substituted(args[0], given), *type_.__metadata__)]
    replaced = tuple(substituted(one, given) for one in args)
    if replaced == args:
        return type_
    if origin is UnionType:
        return functools.reduce(operator.or_, replaced)
    return type_.copy_with(replaced) if hasattr(type_, "copy_with") else origin[replaced]
