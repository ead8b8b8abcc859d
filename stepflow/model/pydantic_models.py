"""pydantic_models: how models of pydantic are written and read, by their own methods and without an import of pydantic."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from typing import Any

from stepflow.model.error_text import kind_of, message_of
from stepflow.model.forms import Form, Spelling
from stepflow.model.scalars import TypeMismatch, mismatch, short_repr

OBJECT = frozenset({"object"})
ANY_KIND = frozenset({"null", "bool", "int", "float", "text", "list", "object"})
_SORTED = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


class UnknownKeys(TypeMismatch):
    """A stored object has keys that the model lacks."""


def is_pydantic_model(type_: Any) -> bool:
    """Whether it is a class of pydantic's models, found without an import of pydantic."""
    return isinstance(type_, type) and any(
        base.__name__ == "BaseModel" and base.__module__.split(".")[0] == "pydantic" for base in type_.__mro__
    )


def model_problem(owner: Any) -> str:
    """Why models of this class cannot be stored; empty if they can. Raises NameError for annotations that cannot be read."""
    read = getattr(owner, "model_validate_json", None)
    if read is None or "extra" not in inspect.signature(read).parameters:
        return "is a model of an old pydantic: stepflow needs 2.12 or newer (pip install 'stepflow[pydantic]')"
    if not owner.__pydantic_complete__:
        owner.model_rebuild()
    return ""


def model_fields(owner: Any) -> dict[str, str]:
    """The stored fields of a model, each with `=` if it has a default."""
    return {name: "" if field.is_required() else "=" for name, field in owner.model_fields.items()}


def model_form(owner: Any, spelling: Spelling) -> Form:
    """The form of models of exactly the class `owner`: their own JSON, with the names of the fields and without computed ones."""

    def write(value: Any) -> Any:
        if type(value) is not owner:
            raise mismatch(owner, value)
        try:
            raw = _dump(value, "json", spelling.omit)
            return _ordered(_dump(value, "python", spelling.omit), raw) if spelling.canonical else raw
        except TypeMismatch:
            raise
        except Exception as error:
            raise TypeMismatch(f"{short_repr(value)} cannot be stored: {_told(error)}") from error

    return Form(write, ANY_KIND if _is_root(owner) else OBJECT, frozenset({owner}))


def read_model(owner: Any, _made: Any = None) -> Callable[[Any, Any], Any]:
    """Reads what `model_form` wrote. Keys that the model lacks are refused, unless it says that it keeps them (`extra="allow"`)."""

    def read(raw: Any, _type: Any) -> Any:
        text = json.dumps(raw)
        try:
            return owner.model_validate_json(text, extra="forbid", by_alias=True, by_name=True)
        except Exception as error:
            unknown = _unknown(error)
            if unknown is None:
                raise TypeMismatch(_told(error)) from error
        found = owner.model_validate_json(text, by_alias=True, by_name=True)
        kept = _dump(found, "json", omit=False)
        lost = [path for path in unknown if not _has(kept, path)]
        if lost:
            raise UnknownKeys(f"{owner.__qualname__} lacks {', '.join('.'.join(map(str, path)) for path in lost)}")
        return found

    return read


def compared(value: Any) -> dict[str, Any]:
    """What must come back of a model: its fields, the other keys that it keeps, and its private attributes."""
    fields = {name: vars(value)[name] for name in type(value).model_fields if name in vars(value)}
    more = {"__pydantic_extra__": value.__pydantic_extra__, "__pydantic_private__": value.__pydantic_private__}
    return fields | {name: one for name, one in more.items() if one}


def _dump(value: Any, mode: str, omit: bool) -> Any:
    return type(value).model_dump(
        value, mode=mode, by_alias=False, round_trip=True, exclude_defaults=omit, warnings="error"
    )


def _is_root(owner: Any) -> bool:
    return bool(getattr(owner, "__pydantic_root_model__", False))


def _ordered(value: Any, raw: Any) -> Any:
    """`raw`, the JSON of `value`, where sets have an order that does not change from process to process."""
    if isinstance(raw, list) and isinstance(value, set | frozenset):
        return sorted(raw, key=_SORTED)
    if isinstance(raw, list) and isinstance(value, list | tuple):
        return [_ordered(one, child) for one, child in zip(value, raw, strict=True)]
    if isinstance(raw, dict) and isinstance(value, dict):
        return {key: _ordered(one, child) for one, (key, child) in zip(value.values(), raw.items(), strict=True)}
    return raw


def _unknown(error: Any) -> list[tuple[Any, ...]] | None:
    """The paths of the keys that the model lacks, if an error of pydantic reports nothing else; else None."""
    if not hasattr(error, "errors"):
        return None
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [one["loc"] for one in found] if all(one["type"] == "extra_forbidden" for one in found) else None


def _told(error: Any) -> str:
    """An error of pydantic in one line, with the paths."""
    if not hasattr(error, "errors"):
        return " ".join(f"{kind_of(error)}: {message_of(error)}".split())
    found: Iterable[Any] = error.errors(include_url=False, include_context=False)
    return "; ".join(
        f"{one['msg']}, found {short_repr(one['input'])} @ $.{'.'.join(map(str, one['loc']))}" for one in found
    )


def _has(value: Any, path: Iterable[Any]) -> bool:
    """Whether a JSON value has something at this path."""
    for name in path:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            return False
    return True
