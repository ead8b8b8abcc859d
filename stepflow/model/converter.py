"""converter: the cattrs converter of every codec; it converts to JSON and back without loss.

Plain cattrs turns 1.7 into 1 for an `int`, "false" into True for a `bool`, "abc" into a list of letters, and omits fields
with `init=False`. This converter refuses such values and stores such fields.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from types import NoneType
from typing import Any
from uuid import UUID

import attrs
from cattrs import BaseConverter
from cattrs.cols import (
    is_any_set,
    is_namedtuple,
    iterable_unstructure_factory,
    list_structure_factory,
    mapping_unstructure_factory,
    namedtuple_structure_factory,
    namedtuple_unstructure_factory,
)
from cattrs.gen import (
    make_dict_structure_fn,
    make_dict_unstructure_fn,
    make_hetero_tuple_unstructure_fn,
    override,
)
from cattrs.preconf.json import JsonConverter, make_converter

from stepflow.model.scalars import SCALARS, TypeMismatch, read_aware, short_repr, write_aware

_FROZEN_SETATTR = attrs.frozen(type("Frozen", (), {})).__setattr__  # `__setattr__` of every frozen attrs class


def has_fields(type_: Any) -> bool:
    """Whether it is an attrs class or a dataclass, with or without type arguments."""
    owner = typing.get_origin(type_) or type_
    return isinstance(owner, type) and (attrs.has(owner) or dataclasses.is_dataclass(owner))


def field_names(type_: Any) -> list[str]:
    """The stored fields of such a class, in order."""
    return [field.name for field in _fields(typing.get_origin(type_) or type_)]


def _fields(owner: Any) -> Iterable[Any]:
    return attrs.fields(owner) if attrs.has(owner) else dataclasses.fields(owner)


@lru_cache(maxsize=2)
def converter(omit_defaults: bool) -> JsonConverter:
    """The shared converter; with `omit_defaults` it omits fields that have their default value."""
    made = make_converter(forbid_extra_keys=True, omit_if_default=omit_defaults)
    for type_, read in SCALARS.items():
        made.register_structure_hook(type_, read)
    for scalar in (Decimal, UUID):
        made.register_unstructure_hook(scalar, str)
        made.register_structure_hook(scalar, lambda text, t: t(text))
    made.register_unstructure_hook(timedelta, lambda value: value.total_seconds())
    made.register_structure_hook(timedelta, lambda seconds, _t: timedelta(seconds=seconds))
    made.register_unstructure_hook(time, lambda value: value.isoformat())
    made.register_structure_hook(time, lambda text, _t: time.fromisoformat(text))
    made.register_unstructure_hook(date, lambda value: value.isoformat())
    made.register_structure_hook(date, lambda text, _t: date.fromisoformat(text))
    made.register_unstructure_hook(datetime, write_aware)
    made.register_structure_hook(datetime, read_aware)
    made.register_structure_hook_factory(_is_list, _read_list)
    made.register_unstructure_hook_factory(_is_list, _write_list)
    made.register_unstructure_hook_factory(_is_tuple, _write_tuple)
    made.register_unstructure_hook_factory(is_any_set, _write_set)
    made.register_unstructure_hook_factory(_is_mapping, _write_mapping)
    made.register_structure_hook_factory(is_namedtuple, _read_named)
    made.register_unstructure_hook_factory(is_namedtuple, _write_named)
    made.register_structure_hook_factory(has_fields, _read_fields)
    made.register_unstructure_hook_factory(has_fields, _write_all_but_defaults if omit_defaults else _write_fields)
    return made


def _read_fields(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    owner = _resolved(type_)
    overrides: dict[str, Any] = {f.name: override(omit=_computed(owner, f)) for f in _fields(owner)}
    read: Callable[..., Any] = make_dict_structure_fn(
        type_, made, _cattrs_forbid_extra_keys=True, _cattrs_include_init_false=True, **overrides
    )
    return read


def _write_fields(type_: Any, made: BaseConverter, omit_defaults: bool = False) -> Callable[[Any], Any]:
    owner = _resolved(type_)
    overrides: dict[str, Any] = {
        f.name: override(
            omit=_computed(owner, f), unstruct_hook=_scalar_check(f"{owner.__qualname__}.{f.name}", f.type)
        )
        for f in _fields(owner)
    }
    write = make_dict_unstructure_fn(
        type_,
        made,
        _cattrs_omit_if_default=omit_defaults,
        _cattrs_include_init_false=True,
        **overrides,
    )

    def unstructure(value: Any) -> Any:
        if type(value) is not owner:
            _check_class(owner, value)
        return write(value)

    return unstructure


def _base(type_: Any) -> tuple[Any, bool]:
    """(the scalar class of a type or None, whether the type allows None)."""
    args = typing.get_args(type_)
    optional = len(args) == 2 and NoneType in args
    base = next(arg for arg in args if arg is not NoneType) if optional else type_
    return (base if isinstance(base, type) and base in SCALARS else None), optional


def _scalar_check(where: str, type_: Any) -> Callable[[Any], Any] | None:
    """Refuses a value that could not be read back, so that the step that set it fails, not the next claim of the run."""
    base, optional = _base(type_)
    if base is None:
        return None

    def write(value: Any) -> Any:
        if type(value) is not base and not (optional and value is None):
            try:
                SCALARS[base](value, base)
            except TypeMismatch as mismatch:
                raise TypeMismatch(f"{where}: {mismatch}") from None
        return value

    return write


def _element_check(type_: Any, element: Any) -> Callable[[Collection[Any]], None]:
    """Refuses elements of a container that could not be read back; checks each one only if their classes differ."""
    base, optional = _base(element)
    check, usual = _scalar_check(f"an element of {type_}", element), {base, NoneType} if optional else {base}

    def refuse(values: Collection[Any]) -> None:
        if check is not None and not usual.issuperset(map(type, values)):
            for value in values:
                check(value)

    return refuse


def _check_class(owner: Any, value: Any) -> None:
    """Accepts a subclass unless it has fields of its own, which would be lost."""
    if not isinstance(value, owner):
        raise TypeMismatch(f"{short_repr(value)} is not of type {owner.__qualname__}: give one")
    lost = set(field_names(type(value)) if has_fields(type(value)) else ()) - set(field_names(owner))
    if lost:
        raise TypeMismatch(
            f"{short_repr(value)} has fields that {owner.__qualname__} lacks ({', '.join(sorted(lost))}) and that would be lost: "
            f"declare {type(value).__qualname__} as the type, or give an object of {owner.__qualname__} itself"
        )


def _write_all_but_defaults(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    return _write_fields(type_, made, omit_defaults=True)


def _resolved(type_: Any) -> Any:
    """The class, with all forward references in the annotations of its fields resolved, also nested ones as in `list["Node"]`."""
    owner = typing.get_origin(type_) or type_
    if attrs.has(owner):
        attrs.resolve_types(owner)
    else:
        hints = typing.get_type_hints(owner, include_extras=True)
        for field in dataclasses.fields(owner):
            field.type = hints[field.name]
    return owner


def _computed(owner: Any, field: Any) -> bool:
    """Whether a field is computed from the others and need not be stored: it has `init=False` and cannot be set."""
    if field.init:
        return False
    made_by_dataclasses = getattr(owner, "__dataclass_params__", None)
    if made_by_dataclasses:
        return bool(made_by_dataclasses.frozen)
    return owner.__setattr__ is _FROZEN_SETATTR or field.on_setattr is attrs.setters.frozen


def _read_named(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    type_.__annotations__.update(typing.get_type_hints(type_))
    return namedtuple_structure_factory(type_, made)


def _write_named(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    type_.__annotations__.update(typing.get_type_hints(type_))
    return namedtuple_unstructure_factory(type_, made)


def _is_list(type_: Any) -> bool:
    return (typing.get_origin(type_) or type_) in (list, Sequence, MutableSequence)


def _is_tuple(type_: Any) -> bool:
    return typing.get_origin(type_) is tuple and typing.get_args(type_) != ()


def _is_mapping(type_: Any) -> bool:
    return typing.get_origin(type_) in (dict, Mapping, MutableMapping)


def _read_list(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    read = list_structure_factory(type_, made)

    def structure(value: Any, t: Any) -> Any:
        _check_list(value)
        return read(value, t)

    return structure


def _write_list(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    write, refuse = (
        iterable_unstructure_factory(type_, made, unstructure_to=list),
        _element_check(type_, _argument(type_)),
    )

    def unstructure(value: Any) -> Any:
        if not isinstance(value, list):
            _check_list(value)
        raw = write(value)
        refuse(raw)
        return raw

    return unstructure


def _write_tuple(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    args = typing.get_args(type_)
    if len(args) == 2 and args[1] is Ellipsis:
        return _write_list(type_, made)
    write = make_hetero_tuple_unstructure_fn(type_, made, unstructure_to=list)
    checks = [(n, check) for n, arg in enumerate(args) if (check := _scalar_check(f"element {n} of {type_}", arg))]

    def unstructure(value: Any) -> Any:
        _check_list(value)
        if len(value) != len(args):
            raise TypeMismatch(f"expected {len(args)} elements of {type_}, found {short_repr(value)}")
        raw = write(value)
        for n, check in checks:
            check(raw[n])
        return raw

    return unstructure


def _argument(type_: Any, index: int = 0) -> Any:
    """A type argument, Any if there are none."""
    return (*typing.get_args(type_), Any, Any)[index]


def _write_set(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    """Sorts the elements: the order of a set differs between processes, and equal inputs must have equal texts."""
    write, refuse = (
        iterable_unstructure_factory(type_, made, unstructure_to=list),
        _element_check(type_, _argument(type_)),
    )

    def unstructure(value: Any) -> Any:
        raw = write(value)
        refuse(raw)
        try:
            return sorted(raw)
        except TypeError:
            return sorted(raw, key=repr)

    return unstructure


def _write_mapping(type_: Any, made: BaseConverter) -> Callable[[Any], Any]:
    write, refuse = (
        mapping_unstructure_factory(type_, made, unstructure_to=dict),
        _element_check(type_, _argument(type_, 1)),
    )

    def unstructure(value: Any) -> Any:
        raw = write(value)
        refuse(raw.values())
        return raw

    return unstructure


def _check_list(value: Any) -> None:
    """Refuses texts and mappings: they are iterable, but not lists."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeMismatch(f"expected a list, found {short_repr(value)}")
