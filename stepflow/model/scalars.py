"""scalars: reads numbers, texts and times of stored JSON without bending them, and says what else was found."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from stepflow.errors import CodecError


class Misfit(ValueError):
    """A stored value that its type does not take; the message says what was expected."""


def shown(value: Any) -> str:
    """The beginning of a value's repr; a repr that fails is no reason to fail here."""
    try:
        return f"{value!r:.200}"
    except Exception:  # noqa: BLE001 - a broken __repr__, or one that recurses too deep
        return f"a value of type {type(value).__qualname__}"


def read_int(value: Any, type_: Any) -> Any:
    """A whole number, or the text of one."""
    if isinstance(value, int):
        return _as(type_, int, value)
    if isinstance(value, float) and value.is_integer():
        return _as(type_, int, int(value))
    if isinstance(value, str) and value.removeprefix("-").isdecimal():  # keys of a JSON object are texts
        return _as(type_, int, int(value))
    raise Misfit(f"expected int, found {shown(value)}")


def read_float(value: Any, type_: Any) -> Any:
    """A finite number, or the text of one."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value)  # a key, see above
        except ValueError:
            raise Misfit(f"expected float, found {shown(value)}") from None
    if isinstance(number, (int, float)) and math.isfinite(number):
        return _as(type_, float, float(number))
    raise Misfit(f"expected float, found {shown(value)}")


def read_str(value: Any, type_: Any) -> Any:
    """A text."""
    if isinstance(value, str):
        return _as(type_, str, value)
    raise Misfit(f"expected str, found {shown(value)}")


def read_bool(value: Any, _type: Any) -> bool:
    """True or False, or the text of one."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):  # a key, see above
        return bool(value == "true")
    raise Misfit(f"expected bool, found {shown(value)}")


SCALARS = {int: read_int, float: read_float, str: read_str, bool: read_bool}


def _as(type_: Any, base: type, value: Any) -> Any:
    """The value as a subclass of `base`, e.g. an IntEnum, if the type is one."""
    return type_(value) if type_ is not base and isinstance(type_, type) else value


def write_aware(value: datetime) -> str:
    """A point in time as ISO 8601 with its offset."""
    if value.tzinfo is None:
        raise CodecError(
            f"{value!r} has no time zone: give one, e.g. datetime.now(UTC), so that it means the same everywhere"
        )
    return value.isoformat()


def read_aware(text: str, _type: object) -> datetime:
    """The same, back."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise Misfit(f"{text!r} has no UTC offset")
    return value
