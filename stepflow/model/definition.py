"""definition: what of a flow's code and types decides whether another version of it can go on with stored runs."""

from __future__ import annotations

import dataclasses
import typing
from enum import Enum
from typing import Any

import attrs

from stepflow.model.fields import is_typed_dict
from stepflow.model.pydantic_models import is_pydantic_model, model_fields


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
    if is_pydantic_model(owner):
        return model_fields(owner)
    if is_typed_dict(owner):
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
