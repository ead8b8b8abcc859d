"""converter: the cattrs converter behind every codec; it loses nothing on the way to JSON and back.

cattrs alone turns 1.7 into 1 for an `int`, "false" into True for a `bool`, "abc" into a list of letters, and leaves fields
with `init=False` out. Here such a value is refused, and such a field is stored.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import attrs
from cattrs import BaseConverter
from cattrs.cols import is_sequence, iterable_unstructure_factory, list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn
from cattrs.preconf.json import JsonConverter, make_converter

from stepflow.errors import CodecError

_FROZEN_SETATTR = attrs.frozen(type("Frozen", (), {})).__setattr__  # what attrs gives to every frozen class


class Misfit(ValueError):
    """A stored value that its type does not take; the message says what was expected."""


def has_fields(type_: Any) -> bool:
    """Whether it is a class that attrs or dataclasses made, perhaps with type arguments."""
    owner = typing.get_origin(type_) or type_
    return isinstance(owner, type) and (attrs.has(owner) or dataclasses.is_dataclass(owner))


def field_names(type_: Any) -> list[str]:
    """The stored fields of such a class, in order."""
    owner = typing.get_origin(type_) or type_
    return [field.name for field in (attrs.fields(owner) if attrs.has(owner) else dataclasses.fields(owner))]


@lru_cache(maxsize=2)
def converter(omit_defaults: bool) -> JsonConverter:
    """The one converter; with `omit_defaults` it leaves out fields that have their default."""
    made = make_converter(forbid_extra_keys=True, omit_if_default=omit_defaults)
    for type_, hook in ((int, _int), (float, _float), (str, _str), (bool, _bool)):
        made.register_structure_hook(type_, hook)
    for scalar in (Decimal, UUID):
        made.register_unstructure_hook(scalar, str)
        made.register_structure_hook(scalar, lambda text, t: t(text))
    made.register_unstructure_hook(timedelta, lambda value: value.total_seconds())
    made.register_structure_hook(timedelta, lambda seconds, _t: timedelta(seconds=seconds))
    made.register_unstructure_hook(time, lambda value: value.isoformat())
    made.register_structure_hook(time, lambda text, _t: time.fromisoformat(text))
    made.register_unstructure_hook(date, lambda value: value.isoformat())
    made.register_structure_hook(date, lambda text, _t: date.fromisoformat(text))
    made.register_unstructure_hook(datetime, _aware)
    made.register_structure_hook(datetime, _read_aware)
    made.register_structure_hook_factory(is_sequence, _read_list)
    made.register_unstructure_hook_factory(is_sequence, _write_list)
    made.register_structure_hook_factory(has_fields, _read_fields)
    made.register_unstructure_hook_factory(has_fields, _write_all_but_defaults if omit_defaults else _write_fields)
    return made


def _read_fields(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    owner = _resolved(type_)
    read: Callable[..., Any] = make_dict_structure_fn(
        type_, made, _cattrs_forbid_extra_keys=True, _cattrs_include_init_false=not _frozen(owner)
    )
    return read


def _write_fields(type_: Any, made: BaseConverter, omit_defaults: bool = False) -> Callable[[Any], Any]:
    owner = _resolved(type_)
    return make_dict_unstructure_fn(
        type_, made, _cattrs_omit_if_default=omit_defaults, _cattrs_include_init_false=not _frozen(owner)
    )


def _write_all_but_defaults(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    return _write_fields(type_, made, omit_defaults=True)


def _resolved(type_: Any) -> Any:
    """The class itself, its annotations no texts any more."""
    owner = typing.get_origin(type_) or type_
    if attrs.has(owner):
        attrs.resolve_types(owner)
    return owner


def _frozen(owner: Any) -> bool:
    """Whether its fields without `init` can only be computed from the others, and therefore need no storing."""
    made_by_dataclasses = getattr(owner, "__dataclass_params__", None)
    return bool(made_by_dataclasses.frozen) if made_by_dataclasses else owner.__setattr__ is _FROZEN_SETATTR


def _read_list(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    read = list_structure_factory(type_, made)

    def structure(value: Any, t: Any) -> Any:
        _check_list(value)
        return read(value, t)

    return structure


def _write_list(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    write = iterable_unstructure_factory(type_, made, unstructure_to=list)

    def unstructure(value: Any) -> Any:
        if not isinstance(value, list):
            _check_list(value)
        return write(value)

    return unstructure


def _check_list(value: Any) -> None:
    """A text has letters, and an object keys, but they are not the elements of a list."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise Misfit(f"expected a list, found {value!r:.80}")


def _int(value: Any, _type: Any) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.removeprefix("-").isdecimal():  # keys of a JSON object are texts
        return int(value)
    raise Misfit(f"expected int, found {value!r:.80}")


def _float(value: Any, _type: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)  # a key, see above
        except ValueError:
            raise Misfit(f"expected float, found {value!r:.80}") from None
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    raise Misfit(f"expected float, found {value!r:.80}")


def _str(value: Any, _type: Any) -> str:
    if isinstance(value, str):
        return value
    raise Misfit(f"expected str, found {value!r:.80}")


def _bool(value: Any, _type: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):  # a key, see above
        return bool(value == "true")
    raise Misfit(f"expected bool, found {value!r:.80}")


def _aware(value: datetime) -> str:
    if value.tzinfo is None:
        raise CodecError(
            f"{value!r} has no time zone: give one, e.g. datetime.now(UTC), so that it means the same everywhere"
        )
    return value.isoformat()


def _read_aware(text: str, _type: object) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise Misfit(f"{text!r} has no UTC offset")
    return value
