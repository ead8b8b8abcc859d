"""scalars: reads numbers, texts and times of stored JSON without lossy conversion; raises TypeMismatch for other values."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any


class TypeMismatch(ValueError):
    """A value that does not have the declared type; the message says what was expected and what was found."""


def mismatch(expected: type, value: Any) -> TypeMismatch:
    """The error for a value whose class is not exactly the declared one, so that another value would be restored."""
    text, name = f"expected {expected.__qualname__}, found {short_repr(value)}", type(value).__qualname__
    if isinstance(value, expected):
        text += (
            f", of its subclass {name}: declare {name} as the type, or give a {expected.__qualname__} itself,"
            f" because a {expected.__qualname__} would be restored"
        )
    return TypeMismatch(text)


def short_repr(value: Any) -> str:
    """The first 200 characters of a value's repr; never raises, even if `__repr__` does."""
    try:
        return f"{value!r:.200}"
    except Exception:  # noqa: BLE001 - __repr__ of the user is broken or recurses too deep
        return f"a value of type {type(value).__qualname__}"


def read_int(value: Any, type_: Any) -> Any:
    """A whole number, or the text of one."""
    if isinstance(value, int):
        return _as(type_, int, value)
    if isinstance(value, float) and value.is_integer():
        return _as(type_, int, int(value))
    if isinstance(value, str) and value.removeprefix("-").isdecimal():  # keys of a JSON object are strings
        return _as(type_, int, int(value))
    raise TypeMismatch(f"expected int, found {short_repr(value)}")


def read_float(value: Any, type_: Any) -> Any:
    """A finite number, or the text of one. A whole number stays an int, because type checkers accept one as a float."""
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
    """The value as a subclass of `base`, e.g. an IntEnum, if the type is one."""
    return type_(value) if type_ is not base and isinstance(type_, type) else value
