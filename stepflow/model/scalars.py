"""scalars: reads numbers, texts and members of enums from stored JSON without lossy conversion; raises TypeMismatch for other values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum, EnumType, Flag
from functools import lru_cache
from types import NoneType
from typing import Any

PLAIN: frozenset[type] = frozenset({str, int, float, bool, NoneType})  # classes whose values are their own JSON
FIELDS = ("__attrs_attrs__", "__dataclass_fields__", "model_fields", "_fields")  # of classes that declare some
LISTED = 20  # choices that the text of an error names


class TypeMismatch(ValueError):
    """A value that does not have the declared type; the message says what was expected and what was found."""


def mismatch(expected: type, value: Any) -> TypeMismatch:
    """The error for a value whose class is not exactly the declared one, so that another value would be restored."""
    text, name = f"expected {expected.__qualname__}, found {short_repr(value)}", type(value).__qualname__
    if isinstance(value, expected):
        declare = f"declare {name} as the type, or " if is_storable(type(value)) else ""
        text += (
            f", of its subclass {name}: {declare}give a {expected.__qualname__} itself,"
            f" because a {expected.__qualname__} would be restored"
        )
    return TypeMismatch(text)


def is_storable(class_: type) -> bool:
    """Whether a subclass of a type that can be stored can be stored itself: one of texts or numbers, or one with declared fields."""
    return issubclass(class_, (str, int, float, Enum)) or any(hasattr(class_, mark) for mark in FIELDS)


def short_repr(value: Any) -> str:
    """The first 200 characters of a value's repr; never raises, even if `__repr__` does."""
    try:
        return f"{value!r:.200}"
    except Exception:  # noqa: BLE001 - __repr__ of the user is broken or recurses too deep
        return f"a value of type {type(value).__qualname__}"


def read_int(value: Any, type_: Any) -> Any:
    """A whole number, or the text of one."""
    if type_ is not int and isinstance(type_, EnumType):
        return read_member(value, type_)
    if isinstance(value, int):
        return _as(type_, int, value)
    if isinstance(value, float) and value.is_integer():
        return _as(type_, int, int(value))
    if isinstance(value, str) and value.removeprefix("-").isdecimal():  # keys of a JSON object are strings
        return _as(type_, int, int(value))
    raise TypeMismatch(f"expected int, found {short_repr(value)}")


def read_float(value: Any, type_: Any) -> Any:
    """A finite number, or the text of one. A whole number stays an int, because type checkers accept one as a float."""
    if type_ is not float and isinstance(type_, EnumType):
        return read_member(value, type_)
    number = value
    if isinstance(value, str):
        try:
            number = float(value)  # a key, see above
        except ValueError:
            raise TypeMismatch(f"expected float, found {short_repr(value)}") from None
    if isinstance(number, int) or (isinstance(number, float) and math.isfinite(number)):
        return number if type_ is float else _as(type_, float, number)
    raise TypeMismatch(f"expected float, found {short_repr(value)}")


def read_decimal(value: Any, type_: Any = Decimal) -> Any:
    """The number of a text, or a number."""
    if isinstance(value, list):  # of its parts, for the class itself
        raise TypeMismatch(f"expected Decimal, found {short_repr(value)}")
    return type_(value)


def read_str(value: Any, type_: Any) -> Any:
    """A text."""
    if type_ is not str and isinstance(type_, EnumType):
        return read_member(value, type_)
    if isinstance(value, str):
        return _as(type_, str, value)
    raise TypeMismatch(f"expected str, found {short_repr(value)}")


def read_bool(value: Any, _type: Any) -> bool:
    """True or False, or the text of one."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):  # a key, see above
        return bool(value == "true")
    raise TypeMismatch(f"expected bool, found {short_repr(value)}")


SCALARS = {int: read_int, float: read_float, str: read_str, bool: read_bool}


def _as(type_: Any, base: type, value: Any) -> Any:
    """The value as a subclass of `base`, if the type is one."""
    return type_(value) if type_ is not base and isinstance(type_, type) else value


def read_member(value: Any, type_: Any) -> Any:
    """The member of an enum that a value stands for, whatever the members are besides: the text "1" is no member of an IntEnum."""
    if issubclass(type_, Flag):
        return _read_flags(value, type_)
    texts, by_name = _read_as(type_)
    if by_name and isinstance(value, str) and value in type_.__members__:
        return type_[value]
    try:
        return type_(value)
    except ValueError:
        raise not_one_of(texts.values(), value) from None


def _read_flags(value: Any, type_: Any) -> Any:
    """The flags of a whole number: 3.0 is 3, as for an int, or it would be read only once a process has met the combination 3."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int):
        raise TypeMismatch(f"expected the number of {type_.__qualname__}, found {short_repr(value)}")
    found = type_(number)
    if not isinstance(found, type_):  # EJECT: the number itself
        raise TypeMismatch(f"{short_repr(value)} is not a valid {type_.__qualname__}")
    return found


@lru_cache(maxsize=1024)
def _read_as(type_: type[Enum]) -> tuple[dict[str, Any], bool]:
    """The JSON values of an enum, and whether some are names."""
    texts = enum_texts(type_)
    return texts, any(json != type_[name].value for name, json in texts.items())


def enum_texts(class_: type[Enum]) -> dict[str, Any]:
    """The JSON value of each member, by the name of the member."""
    members = list(class_)
    by_value = all(type(one._value_) in PLAIN and _made_of_value(class_, one) for one in members)
    return {one._name_: one._value_ if by_value else one._name_ for one in members}


def _made_of_value(class_: type[Enum], member: Enum) -> bool:
    try:
        return class_(member._value_) is member
    except (ValueError, TypeError):
        return False


def not_one_of(choices: Iterable[Any], value: Any) -> TypeMismatch:
    """The error for a value that is none of these."""
    known = list(choices)
    more = ", ..." if len(known) > LISTED else ""
    return TypeMismatch(f"expected one of {', '.join(map(repr, known[:LISTED]))}{more}, found {short_repr(value)}")
