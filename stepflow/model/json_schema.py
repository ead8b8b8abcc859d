"""json_schema: the JSON schema of the form in which values of a type are stored, for forms and documents made of types."""

from __future__ import annotations

import json
import typing
from collections import Counter, deque
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import EJECT, STRICT, Enum, Flag
from functools import lru_cache, partial
from types import MappingProxyType, NoneType, UnionType
from typing import Any, cast
from uuid import UUID

from stepflow.model.containers import DICTS, LISTS, MAPPINGS, SETS
from stepflow.model.converter import base_of
from stepflow.model.fields import (
    REQUIRED,
    computed,
    default_of,
    factory_of,
    fields_of,
    has_fields,
    is_qualifier,
    is_typed_dict,
    resolve_typed_dict,
    resolved,
)
from stepflow.model.forms import literal_table
from stepflow.model.generics import arguments, substituted
from stepflow.model.pydantic_models import is_pydantic_model
from stepflow.model.scalars import PLAIN, enum_texts

Schema = dict[str, Any]
UNKNOWN = object()
LONGEST = 4_000  # characters of a schema that is stored with a wait
_SCALARS: Mapping[Any, Schema] = MappingProxyType(
    {
        bool: {"type": "boolean"},
        int: {"type": "integer"},
        float: {"type": "number"},
        str: {"type": "string"},
        datetime: {"type": "string", "format": "date-time"},
        date: {"type": "string", "format": "date"},
        time: {"type": "string", "format": "time"},
        timedelta: {"anyOf": [{"type": "number"}, {"type": "string"}], "format": "seconds", "description": "seconds"},
        Decimal: {"type": "string", "format": "decimal"},
        UUID: {"type": "string", "format": "uuid"},
        bytes: {"type": "string", "format": "base85", "contentEncoding": "base85"},
    }
)


class _NoSchemaError(Exception):
    """A type whose values cannot be stored, or of which nothing is known."""


def json_schema(type_: Any) -> Schema | None:
    """The schema of the stored form of a type; `{}` of Any and of None, which a codec takes for any JSON; None of a type that cannot be stored or that has no schema. It is shared: do not change it."""
    if type_ is None:
        return {}
    try:
        return _cached(type_)
    except TypeError:  # it cannot be a key of the cache
        return _made(type_)


def _made(type_: Any) -> Schema | None:
    made = _Schemas()
    try:
        found = made.of(type_)
    except Exception:  # noqa: BLE001 - a type of a user, whose annotations cannot be read, or whose code fails
        return None
    return {**found, "$defs": made.defs} if made.defs else found


_cached = lru_cache(maxsize=512)(_made)


@lru_cache(maxsize=512)
def _text_of(type_: Any) -> str:
    schema = json_schema(type_)
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":")) if schema else ""
    return text if len(text) <= LONGEST else ""


def schemas_text(types: Mapping[str, Any], stored: str = "") -> str:
    """The JSON text `{name: schema}` of these types; without those that have none, or one longer than LONGEST. Empty if none is left.

    It is `stored` if that takes the same values. Types are equal whose choices have another order, so that the text depends on
    which of them a process has met first.
    """
    found = []
    for name, type_ in types.items():
        try:
            text = _text_of(type_)
        except TypeError:  # it cannot be a key of the cache
            text = ""
        if text:
            found.append(f"{json.dumps(name, ensure_ascii=False)}:{text}")
    text = "{" + ",".join(found) + "}" if found else ""
    return stored if text and stored and (text == stored or _bare(text) == _bare(stored)) else text


def _bare(text: str) -> Any:
    """The schemas of a text without what does not say which values they take: defaults, words, the order of choices."""
    return {name: _bare_schema(schema) for name, schema in json.loads(text).items()}


def _bare_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _bare_schema(one) for name, one in value.items()}
        elif key in ("anyOf", "enum", "also", "required"):
            found[key] = sorted(map(_bare_schema, value), key=partial(json.dumps, sort_keys=True))
        elif key not in ("default", "title", "description"):
            found[key] = _bare_schema(value)
    return found


class _Schemas:
    """The schemas of a type and of all types inside it; classes with fields are definitions, which others refer to."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def of(self, type_: Any) -> Schema:
        """The schema of a type."""
        if type_ is Any or type_ is object or isinstance(type_, typing.TypeVar):
            return {}
        if type_ is None or type_ is NoneType:
            return {"type": "null"}
        origin, args = typing.get_origin(type_), typing.get_args(type_)
        if is_qualifier(origin):
            return self.of(args[0])
        if isinstance(type_, typing.NewType):
            return self.of(type_.__supertype__)
        if hasattr(type_, "__value__"):
            return self.of(substituted(type_.__value__, arguments(type_)))
        if origin in (typing.Union, UnionType):
            return {"anyOf": [self.of(one) for one in args]}
        if origin is typing.Literal:
            found: Schema = {"enum": list(literal_table(args).values())}
            return found if all(type(one) in PLAIN for one in args) else {**found, "made": True}
        if origin is tuple and not args:
            return {"type": "array", "prefixItems": [], "minItems": 0, "maxItems": 0}
        return self._container(origin or type_, args) or self._class(type_, origin or type_)

    def _container(self, owner: Any, args: tuple[Any, ...]) -> Schema | None:
        if owner is tuple and args and args[-1] is not Ellipsis:
            size = len(args)
            return {"type": "array", "prefixItems": [self.of(one) for one in args], "minItems": size, "maxItems": size}
        if owner in LISTS or owner in SETS or owner in (tuple, deque):
            return {"type": "array", "items": self.of(args[0] if args else Any)}
        if owner in DICTS or owner in MAPPINGS:
            value = int if owner is Counter else args[1] if len(args) > 1 else Any
            found: Schema = {"type": "object", "additionalProperties": self.of(value)}
            keys = self.of(args[0]) if args else {}
            return found if keys in ({}, _SCALARS[str]) else {**found, "keys": _as_keys(args[0], keys)}
        return None

    def _class(self, type_: Any, owner: Any) -> Schema:
        if owner in _SCALARS:
            return dict(_SCALARS[owner])
        if not isinstance(owner, type):
            raise _NoSchemaError(owner)
        if issubclass(owner, Enum):
            return _enum(owner)
        if is_pydantic_model(owner):
            return self._model(owner)
        if has_fields(owner) or is_typed_dict(owner):
            return self._object(type_, owner)
        if issubclass(owner, tuple) and hasattr(owner, "_fields"):
            hints = typing.get_type_hints(owner, include_extras=True)
            whole = self._container(tuple, tuple(hints.get(name, Any) for name in owner._fields)) or {}
            optional: Mapping[str, Any] = getattr(owner, "_field_defaults", {})
            return {**whole, "minItems": len(owner._fields) - len(optional)}
        for base in (bool, int, float, str):
            if issubclass(owner, base):
                return {**_SCALARS[base], "made": True}
        if owner.__module__.partition(".")[0] == "pathlib":
            return {"type": "string", "made": True}
        raise _NoSchemaError(owner)

    def _object(self, type_: Any, owner: Any) -> Schema:
        if type_ not in self._names:
            name = getattr(type_, "__qualname__", str(type_)) if type_ is owner else str(type_)
            if name in self.defs:
                name = f"{name} {len(self.defs)}"
            self._names[type_], self.defs[name] = name, {}  # there before its fields, which may refer to it
            properties, required = self._properties(type_, owner)
            self.defs[name] = {
                "title": owner.__name__,
                "type": "object",
                "properties": properties,
                "additionalProperties": False,
            }
            if required:
                self.defs[name]["required"] = required
        return {"$ref": f"#/$defs/{self._names[type_]}"}

    def _properties(self, type_: Any, owner: Any) -> tuple[dict[str, Schema], list[str]]:
        given = {**arguments(type_), typing.Self: type_}
        if is_typed_dict(owner):
            hints = resolve_typed_dict(owner)
            found = {name: self.of(substituted(hint, given)) for name, hint in hints.items()}
            return found, [name for name in hints if name in owner.__required_keys__]
        found, required = {}, list[str]()
        resolved(type_)
        for one in fields_of(owner):
            if computed(owner, one):
                continue
            found[one.name] = self.of(substituted(Any if one.type is None else one.type, given))
            default = _default(one)
            if default is REQUIRED:
                required.append(one.name)
            elif default is not UNKNOWN:
                found[one.name] = {**found[one.name], "default": default}
        return found, required

    def _model(self, owner: Any) -> Schema:
        if any(
            getattr(owner.__pydantic_decorators__, kind, None)
            for kind in ("model_validators", "field_validators", "validators")
        ):
            raise _NoSchemaError(owner)  # they may take what the types do not tell
        schema: Schema = {**owner.model_json_schema(by_alias=False), "lax": True}
        if schema != {**owner.model_json_schema(), "lax": True}:
            _take_aliases(schema)
        for name, one in schema.pop("$defs", {}).items():
            if self.defs.setdefault(name, one) != one:
                raise _NoSchemaError(owner)
        return schema


def _take_aliases(part: Any) -> None:
    """Change a schema of pydantic to one that takes other names of fields, too."""
    if isinstance(part, dict) and "properties" in part:
        part.pop("required", None)
        part["additionalProperties"] = True
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _take_aliases(one)


def _enum(owner: type[Enum]) -> Schema:
    """The schema of an enum: its stored texts, and `also` what else is read as one of its members."""
    if issubclass(owner, Flag):
        return _flags(owner)
    texts = enum_texts(owner)
    names = () if all(owner[name]._value_ == json for name, json in texts.items()) else owner.__members__
    stored = list(texts.values())
    also = [one for one in (*names, *(member._value_ for member in owner)) if one not in stored and _is_json(one)]
    found: Schema = {"enum": stored, "made": True, "also": also}
    if _has_code(owner):
        found["open"] = True  # its code takes what no schema tells
    return found


def _flags(owner: type[Flag]) -> Schema:
    """The schema of a Flag: its numbers, and `bits`, of which they are sums unless other bits are dropped or kept."""
    found: Schema = {"type": "integer", "format": "flags", "made": True}
    bits, class_ = [member.value for member in owner], cast("Any", owner)
    if class_._boundary_ in (STRICT, EJECT) and sum(bits) == class_._flag_mask_ and not _has_code(owner):
        found["bits"] = bits
    return found


def _has_code(owner: type[Enum]) -> bool:
    """Whether a class of the user tells what else its members can be made of."""
    return any("_missing_" in vars(base) for base in owner.__mro__ if base.__module__ != Enum.__module__)


def _is_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _as_keys(type_: Any, schema: Schema) -> Schema:
    """The schema of the texts that are keys of that type."""
    owner = base_of(type_)
    if not (isinstance(owner, type) and issubclass(owner, Enum)):
        return schema
    also = [one._value_ for one in owner if isinstance(one._value_, str)]
    return {**schema, "enum": [str(one) for one in schema["enum"]], "also": also}


def _default(field: Any) -> Any:
    """The default of a field as JSON; UNKNOWN if it is not plain, or code makes it; REQUIRED if there is none."""
    factory = factory_of(field)
    if factory is not None:
        return factory() if factory in (list, dict) else UNKNOWN
    value = default_of(field, None)
    if isinstance(value, Enum) and not isinstance(value, Flag):
        return enum_texts(type(value))[value._name_]
    plain = value is REQUIRED or type(value) in PLAIN
    return value if plain else UNKNOWN
