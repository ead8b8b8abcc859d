"""converter: the cattrs converter of every codec; it reads what the forms of `type_tree` write, and never with loss.

Plain cattrs turns 1.7 into 1 for an `int`, "false" into True for a `bool`, "abc" into a list of letters, and omits fields
with `init=False`. This converter refuses such values and reads such fields.
"""

from __future__ import annotations

import typing
from base64 import b85decode
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any
from uuid import UUID

from attrs import NOTHING
from cattrs import BaseConverter, Converter
from cattrs.cols import list_structure_factory
from cattrs.errors import AttributeValidationNote, ClassValidationError
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory, override

from stepflow.model.containers import SETS
from stepflow.model.fields import computed, fields_of, has_fields, is_qualifier, resolved
from stepflow.model.forms import KINDS, Form, Spelling, literal_table
from stepflow.model.generics import arguments, substituted
from stepflow.model.pydantic_models import is_pydantic_model, read_model
from stepflow.model.scalars import SCALARS, TypeMismatch, enum_texts, not_one_of, read_decimal, read_member, short_repr
from stepflow.model.times import read_date, read_datetime, read_time, read_timedelta
from stepflow.model.type_tree import TypeTree, stored_names, tags, type_name


def _read_none(value: Any, _type: Any) -> None:
    if value is not None:
        raise TypeMismatch(f"expected None, found {short_repr(value)}")


_READ: dict[type, Callable[[Any, Any], Any]] = {
    **SCALARS,
    Decimal: read_decimal,
    UUID: lambda text, type_: type_(text),
    bytes: lambda text, _type: b85decode(text),
    timedelta: read_timedelta,
    time: read_time,
    date: read_date,
    datetime: read_datetime,
    NoneType: _read_none,
}


@lru_cache(maxsize=1)
def converter() -> Converter:
    """The shared converter."""
    made = Converter(forbid_extra_keys=True)
    for type_, read in _READ.items():
        made.register_structure_hook(type_, read)
    for is_kind, factory in (
        (_is_plain, _read_plain),
        (_is_list, _read_list),
        (_is_collection, _read_collection),
        (_is_fixed, _read_fixed),
        (_is_mapping, _read_mapping),
        (_is_enum, lambda _type, _made: read_member),
        (_is_literal, _read_literal),
        (_is_union, _read_union),
        (_is_named, _read_named),
        (has_fields, _read_fields),
        (is_pydantic_model, read_model),
        (_is_qualified, _read_qualified),
    ):
        made.register_structure_hook_factory(is_kind, factory)
    return made


def _is_qualified(type_: Any) -> bool:
    return is_qualifier(typing.get_origin(type_))


def _read_qualified(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    inner = typing.get_args(type_)[0]
    read = made.get_structure_hook(inner)
    return lambda value, _type: read(value, inner)


def _is_plain(type_: Any) -> bool:
    return type_ is Any or type_ is object or isinstance(type_, typing.TypeVar)


def _read_plain(_type: Any, _made: BaseConverter) -> Callable[..., Any]:
    return lambda value, _type: value


def _read_fields(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    owner = resolved(type_)
    overrides: dict[str, Any] = {f.name: override(omit=computed(owner, f)) for f in fields_of(owner)}
    read: Callable[..., Any] = make_dict_structure_fn(
        type_, made, _cattrs_forbid_extra_keys=True, _cattrs_include_init_false=True, **overrides
    )
    given = {**arguments(type_), typing.Self: type_}
    later = {
        one.name: substituted(Any if one.type is None else one.type, given)
        for one in fields_of(owner)
        if not one.init and not computed(owner, one)
    }
    return _read_again(read, later, made) if later else read


def _read_again(read: Callable[..., Any], later: Mapping[str, Any], made: BaseConverter) -> Callable[..., Any]:
    """Reads the fields that the constructor does not take a second time: cattrs drops their errors."""

    def structure(value: Any, type_: Any) -> Any:
        found = read(value, type_)
        for name, field_type in later.items():
            try:
                if name in value or getattr(found, name, NOTHING) is NOTHING:
                    made.structure(value[name], field_type)
            except Exception as error:  # noqa: BLE001 - raised again
                error.add_note(AttributeValidationNote(f"attribute {name}", name, field_type))
                raise ClassValidationError(f"while structuring {type_name(type_)}", [error], type_) from None
        return found

    return structure


def _is_named(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, tuple) and hasattr(type_, "_fields")


def _read_named(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    """Reads a list as a named tuple; elements that an older text lacks get their defaults."""
    hints = typing.get_type_hints(type_, include_extras=True)
    types = [hints.get(name, Any) for name in type_._fields]
    required = len(types) - len(type_._field_defaults)

    def structure(value: Any, _type: Any) -> Any:
        _check_list(value)
        if not required <= len(value) <= len(types):
            raise TypeMismatch(f"expected {len(types)} elements of {type_.__qualname__}, found {short_repr(value)}")
        return type_(*(made.structure(one, t) for one, t in zip(value, types, strict=False)))

    return structure


def _is_list(type_: Any) -> bool:
    return (typing.get_origin(type_) or type_) in (list, Sequence, MutableSequence)


def _read_list(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    read = list_structure_factory(type_, made)

    def structure(value: Any, t: Any) -> Any:
        _check_list(value)
        return read(value, t)

    return structure


def _is_collection(type_: Any) -> bool:
    owner = typing.get_origin(type_) or type_
    return isinstance(owner, Hashable) and (owner in SETS or owner in (deque, tuple)) and not _is_fixed(type_)


def _read_collection(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    """Reads a list, and makes a set, a deque or a tuple of it."""
    owner, args = typing.get_origin(type_) or type_, typing.get_args(type_)
    listed: Any = list[args[0] if args else Any]  # type: ignore[misc]
    make = SETS.get(owner, owner)
    read = list_structure_factory(listed, made)

    def structure(value: Any, _type: Any) -> Any:
        _check_list(value)
        return make(read(value, listed))

    return structure


def _is_fixed(type_: Any) -> bool:
    args = typing.get_args(type_)
    return typing.get_origin(type_) is tuple and not (len(args) == 2 and args[1] is Ellipsis)


def _read_fixed(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    """Reads a list as a tuple with one type per element."""
    types = typing.get_args(type_)

    def structure(value: Any, _type: Any) -> Any:
        _check_list(value)
        if len(value) != len(types):
            raise TypeMismatch(f"expected {len(types)} elements of {type_name(type_)}, found {short_repr(value)}")
        return tuple(made.structure(one, t) for one, t in zip(value, types, strict=True))

    return structure


def _check_list(value: Any) -> None:
    """Refuses texts and mappings: they are iterable, but not lists."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeMismatch(f"expected a list, found {short_repr(value)}")


def _is_mapping(type_: Any) -> bool:
    return (typing.get_origin(type_) or type_) in (dict, Mapping, MutableMapping, Counter, OrderedDict, defaultdict)


def _read_mapping(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    """Reads the values with the texts as keys, then the keys."""
    owner, args = typing.get_origin(type_) or type_, typing.get_args(type_)
    key_type, value_type = (*args, int)[:2] if args else (str, int if owner is Counter else Any)
    read = mapping_structure_factory(dict[str, value_type], made, dict, key_type=str, val_type=value_type)  # type: ignore[valid-type]
    read_key = _key_reader(key_type, made)

    def make(found: dict[Any, Any]) -> Any:
        if owner is defaultdict:
            return defaultdict(typing.get_origin(value_type) or value_type, found)
        return owner(found) if owner in (Counter, OrderedDict) else found

    def structure(value: Any, t: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeMismatch(f"expected an object, found {short_repr(value)}")
        found = read(value, t)
        return make(found if read_key is None else {read_key(key): child for key, child in found.items()})

    return structure


def _key_reader(type_: Any, made: BaseConverter) -> Callable[[str], Any] | None:
    """Reads a key; None if it is a text already."""
    base = base_of(type_)
    if base is str or _is_plain(base):
        return None
    if base is float:
        return lambda text: int(text) if text.removeprefix("-").isdecimal() else SCALARS[float](text, float)
    if isinstance(base, type) and issubclass(base, Enum):
        members = {str(json): base[name] for name, json in enum_texts(base).items()}
        return lambda text: members[text] if text in members else base(text)
    read = made.get_structure_hook(base)
    return lambda text: read(text, base)


def base_of(type_: Any) -> Any:
    """The type without the names and notes around it."""
    if is_qualifier(typing.get_origin(type_)):
        return base_of(typing.get_args(type_)[0])
    if isinstance(type_, typing.NewType):
        return base_of(type_.__supertype__)
    return base_of(type_.__value__) if hasattr(type_, "__value__") else type_


def _is_enum(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Enum)


def _is_literal(type_: Any) -> bool:
    return typing.get_origin(type_) is typing.Literal


def _read_literal(type_: Any, _made: BaseConverter) -> Callable[..., Any]:
    choices = typing.get_args(type_)
    table = {(type(json), json): given for (_, given), json in literal_table(choices).items()}

    def structure(value: Any, _type: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):
            raise not_one_of(choices, value) from None

    return structure


def _is_union(type_: Any) -> bool:
    return typing.get_origin(type_) in (typing.Union, UnionType)


def _read_union(type_: Any, made: BaseConverter) -> Callable[..., Any]:
    """Chooses the member by the kind of JSON, and among classes by their fields."""
    tree = TypeTree(Spelling())
    members = [(one, tree.form(one, ""), made.get_structure_hook(one)) for one in typing.get_args(type_)]
    plain = any(_is_plain(one) for one, _, _ in members)
    classes = [one for one, form, _ in members if form.kinds == frozenset({"object"}) and has_fields(one)]

    if len(members) == 2 and NoneType in typing.get_args(type_):
        return _read_optional(*(one for one in members if one[0] is not NoneType))

    def structure(value: Any, _type: Any) -> Any:
        if plain or (value is None and NoneType in typing.get_args(type_)):
            return value
        kind = KINDS.get(type(value), "")
        fitting = [one for one in members if _fits(one[1], kind, value)]
        if len(classes) > 1 and kind == "object":
            chosen = _class_for(classes, value)
            fitting = [one for one in members if one[0] is chosen]
        if not fitting:  # e.g. 3.0 for an int: only one member can be meant
            fitting = [one for one in members if one[0] is not NoneType]
        if len(fitting) == 1 or all(form.plain for _, form, _ in fitting):
            return _first(fitting, value)
        raise TypeMismatch(f"expected {type_name(type_)}, found {short_repr(value)}")

    return structure


def _read_optional(member: tuple[Any, Form, Callable[..., Any]]) -> Callable[..., Any]:
    type_, _, read = member
    return lambda value, _type: None if value is None else read(value, type_)


def _first(members: list[tuple[Any, Form, Callable[..., Any]]], value: Any) -> Any:
    """What the first member that takes the value makes of it; the error of the last one if none does."""
    for type_, _, read in members[:-1]:
        try:
            return read(value, type_)
        except TypeMismatch:
            continue
    type_, _, read = members[-1]
    return read(value, type_)


def _fits(form: Form, kind: str, value: Any) -> bool:
    return kind in form.kinds and (form.values is None or (type(value), value) in form.values)


def _class_for(classes: list[Any], raw: Mapping[str, Any]) -> Any:
    """The class that wrote an object: its tags agree, and it has the same fields; in older texts, as many as possible."""

    def agrees(one: Any) -> bool:
        return all(name not in raw or (type(raw[name]), raw[name]) in values for name, values in tags(one).items())

    names = raw.keys()
    return max(
        filter(agrees, classes),
        key=lambda one: (stored_names(one) == names, len(stored_names(one) & names), -len(stored_names(one))),
        default=classes[0],
    )
