"""fields: the stored fields of attrs classes and dataclasses, and what their own code does when an object is made again."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

import attrs

from stepflow.model.pydantic_models import compared, is_pydantic_model
from stepflow.model.scalars import short_repr

_FROZEN_SETATTR = attrs.frozen(type("Frozen", (), {})).__setattr__  # `__setattr__` of every frozen attrs class
_HOOKS = ("__post_init__", "__attrs_post_init__", "__attrs_pre_init__")
_GENERATED = ("__init__", "__new__", "__setattr__")
_QUALIFIERS = (typing.Annotated, typing.Final, typing.Required, typing.NotRequired)
REQUIRED = object()


def has_fields(type_: Any) -> bool:
    """Whether it is an attrs class or a dataclass, with or without type arguments."""
    owner = typing.get_origin(type_) or type_
    return isinstance(owner, type) and (attrs.has(owner) or dataclasses.is_dataclass(owner))


def field_names(type_: Any) -> list[str]:
    """The fields of such a class, in order."""
    return [field.name for field in fields_of(typing.get_origin(type_) or type_)]


def fields_of(owner: Any) -> Iterable[Any]:
    """The fields of such a class as attrs or dataclasses describe them."""
    return attrs.fields(owner) if attrs.has(owner) else dataclasses.fields(owner)


def resolved(type_: Any) -> Any:
    """The class, with all forward references in the annotations of its fields resolved, also nested ones as in `list["Node"]`."""
    owner = typing.get_origin(type_) or type_
    if attrs.has(owner):
        attrs.resolve_types(owner)
    else:
        hints = typing.get_type_hints(owner, include_extras=True)
        for field in dataclasses.fields(owner):
            field.type = hints[field.name]
    return owner


def is_qualifier(origin: Any) -> bool:
    """Whether it says something about a field, and nothing about the type of its values: `ReadOnly` also as typing_extensions has it."""
    return origin in _QUALIFIERS or (origin is not None and getattr(origin, "_name", "") == "ReadOnly")


def _qualifiers(hint: Any) -> Iterator[Any]:
    """Those around the type of a field, from the outside in."""
    while is_qualifier(origin := typing.get_origin(hint)):
        yield origin
        hint = typing.get_args(hint)[0]


def is_typed_dict(type_: Any) -> bool:
    """Whether it is one, of Python or of typing_extensions."""
    return typing.is_typeddict(type_) or (
        isinstance(type_, type) and issubclass(type_, dict) and hasattr(type_, "__required_keys__")
    )


def resolve_typed_dict(owner: Any) -> dict[str, Any]:
    """The type of each key of a typed dict; corrects which ones are required, which Python does not read in text annotations."""
    hints = typing.get_type_hints(owner, include_extras=True)
    marks = {name: set(_qualifiers(hint)) for name, hint in hints.items()}
    optional = {name for name in hints if typing.NotRequired in marks[name]}
    required = {name for name in hints if typing.Required in marks[name]}
    owner.__required_keys__ = frozenset((owner.__required_keys__ | required) - optional)
    owner.__optional_keys__ = frozenset((owner.__optional_keys__ | optional) - required)
    return hints


def computed(owner: Any, field: Any) -> bool:
    """Whether a field is computed from the others and need not be stored: it has `init=False` and cannot be set."""
    if field.init:
        return False
    made_by_dataclasses = getattr(owner, "__dataclass_params__", None)
    if made_by_dataclasses:
        return bool(made_by_dataclasses.frozen)
    return owner.__setattr__ is _FROZEN_SETATTR or field.on_setattr is attrs.setters.frozen


def default_of(field: Any, value: Any) -> Any:
    """The default value of a field of the object `value`; REQUIRED if it has none."""
    if isinstance(field, dataclasses.Field):
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        return REQUIRED if field.default is dataclasses.MISSING else field.default
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # it is a class, for type checkers a function
        return default.factory(value) if default.takes_self else default.factory()
    return REQUIRED if default is attrs.NOTHING else default


def factory_of(field: Any) -> Any:
    """What makes the default value of a field; None if nothing does."""
    if isinstance(field, dataclasses.Field):
        return None if field.default_factory is dataclasses.MISSING else field.default_factory
    return field.default.factory if isinstance(field.default, attrs.Factory) else None  # type: ignore[arg-type]  # as above


def is_compared(field: Any) -> bool:
    """Whether the field counts when two objects are compared."""
    return bool(field.compare if isinstance(field, dataclasses.Field) else field.eq)


def lacking_initvars(owner: Any) -> list[str]:
    """The `InitVar`s of a dataclass that its constructor requires, but that no object keeps."""
    fields = getattr(owner, "__dataclass_fields__", {}).values() if not attrs.has(owner) else ()
    pseudo = [f for f in fields if f._field_type is dataclasses._FIELD_INITVAR]  # type: ignore[attr-defined]  # noqa: SLF001
    return [f.name for f in pseudo if f.default is f.default_factory is dataclasses.MISSING]


def runs_code(owner: Any) -> bool:
    """Whether code of the class runs when an object is made again, so that another one, or none, could come of it."""
    if any(hasattr(owner, hook) for hook in _HOOKS) or any(map(_written_by_hand, map(_member(owner), _GENERATED))):
        return True
    if not _has_constructor(owner):
        return True
    if not attrs.has(owner) and any(
        f._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]  # noqa: SLF001
        for f in owner.__dataclass_fields__.values()
    ):
        return True
    return any(
        computed(owner, field) or getattr(field, "validator", None) or getattr(field, "converter", None)
        for field in fields_of(owner)
    )


def _has_constructor(owner: Any) -> bool:
    """Whether the constructor takes the fields; with `init=False` a class has that of a base, or none."""
    with_fields = next(
        one for one in owner.__mro__ if "__attrs_attrs__" in vars(one) or "__dataclass_fields__" in vars(one)
    )
    return "__init__" in vars(with_fields)


def _member(owner: Any) -> Any:
    return lambda name: getattr(owner, name, None)


def _written_by_hand(member: Any) -> bool:
    """Whether a method is a function that neither attrs nor dataclasses made."""
    if not isinstance(member, FunctionType):
        return False
    file = member.__code__.co_filename
    return not file.startswith("<") and file not in (_FROZEN_SETATTR.__code__.co_filename, typing.__file__)


def undeclared(owner: Any) -> tuple[frozenset[str], list[str]]:
    """(the names that may be in an object's `__dict__`, the slots that are no fields) of a class."""
    names = set(field_names(owner))
    known = names | {name for base in owner.__mro__ for name, one in vars(base).items() if _is_cached(one)}
    cached = _attrs_cached(owner)
    slots = [
        name
        for base in owner.__mro__
        for name, one in vars(base).items()
        if isinstance(one, MemberDescriptorType) and name not in names | cached
    ]
    return frozenset(known), slots


def _is_cached(member: Any) -> bool:
    return isinstance(member, cached_property)


def _attrs_cached(owner: Any) -> set[str]:
    """The cached properties of attrs classes with slots, each of which has a slot."""
    found: set[str] = set()
    for base in owner.__mro__:
        getter = vars(base).get("__getattr__")
        found |= set((getattr(getter, "__kwdefaults__", None) or {}).get("cached_properties", ()))
        for default in getattr(getter, "__defaults__", None) or ():
            found |= set(default) if isinstance(default, dict) else set()
    return found


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Every attribute that an object has of its own: its fields, and what is not declared."""
    owner = type(value)
    known, slots = undeclared(owner)
    names = field_names(owner)
    for name in dict.fromkeys([*names, *slots, *(set(getattr(value, "__dict__", ())) - known)]):
        try:
            yield name, getattr(value, name)
        except AttributeError:
            continue


def difference(left: Any, right: Any, path: str = "$") -> str:
    """The path of the first part in which two values differ, with both parts; empty if they are the same."""
    if type(left) is not type(right):
        return f"{path} is {short_repr(left)} and would come back as {short_repr(right)}"
    if has_fields(type(left)):
        ours, theirs = dict(_attributes(left)), dict(_attributes(right))
        for name in ours.keys() - theirs.keys():
            return f"{path}.{name} would be lost"
        declared = set(field_names(type(left)))
        pairs = (
            (f"{path}.{name}", one, theirs[name])
            for name, one in ours.items()
            if name in declared or not _only_identical(one, theirs[name])
        )
        return next(filter(None, (difference(one, other, at) for at, one, other in pairs)), "")
    if is_pydantic_model(type(left)):
        ours, theirs = compared(left), compared(right)
        found = (difference(ours.get(name), theirs.get(name), f"{path}.{name}") for name in ours | theirs)
        return next(filter(None, found), "")
    if isinstance(left, list | tuple) and len(left) == len(right):
        each = zip(left, right, strict=True)
        return next(filter(None, (difference(a, b, f"{path}[{n}]") for n, (a, b) in enumerate(each))), "")
    if isinstance(left, dict) and left.keys() == right.keys():
        return next(
            filter(None, (difference(one, right[key], f"{path}[{key!r:.80}]") for key, one in left.items())), ""
        )
    return "" if left == right else f"{path} is {short_repr(left)} and would come back as {short_repr(right)}"


def _only_identical(one: Any, other: Any) -> bool:
    """Whether two objects of one class are equal only if they are the same object, as clients and locks are."""
    return type(one) is type(other) and "__eq__" not in _overridden(type(one)) and not has_fields(type(one))


def _overridden(class_: type) -> set[str]:
    return {name for base in class_.__mro__ if base is not object for name in vars(base)}


def has_dict(owner: Any) -> bool:
    """Whether objects of the class can have attributes that it does not declare."""
    return any(isinstance(vars(base).get("__dict__"), GetSetDescriptorType) for base in owner.__mro__)
