"""forms: how values of scalar types, enums and literals are written as JSON; every value is compared with its type first.

A `Form` is made once per type. What it writes is read back as an equal value of the same type; for any other value it
raises TypeMismatch, so that the step that left the value fails, and not the next load of the run.
"""

from __future__ import annotations

import math
import typing
from base64 import b85encode
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from types import NoneType
from typing import Any
from uuid import UUID

from attrs import evolve, frozen

from stepflow.model.scalars import PLAIN, TypeMismatch, enum_texts, mismatch, short_repr
from stepflow.model.times import (
    duration_text,
    same_instant,
    same_time,
    write_date,
    write_datetime,
    write_time,
    write_timedelta,
)
from stepflow.model.unencodable import find_unencodable

Write = Callable[[Any], Any]
KINDS = {NoneType: "null", bool: "bool", int: "int", float: "float", str: "text", list: "list", dict: "object"}
_NUMBERS = frozenset({"bool", "int", "float"})
_BASES = (date, time, timedelta, Decimal, UUID, bytes, tuple, frozenset)  # what an enum's members may not be as well


@frozen(eq=False)
class Form:
    """How the values of one type are written.

    `kinds` are the JSON kinds that it writes (values of KINDS), `classes` the exact classes that it accepts, `same` those
    whose values are their own JSON. `key` writes a value as the key of an object; None if it cannot be one. `values` are all
    JSON values, each with its class, if there are only a few. `plain` forms write every value as it is. `again(value)` makes of
    a value that was written the one that would be read back, without a text in between; None if only the text tells.
    """

    write: Write
    kinds: frozenset[str]
    classes: frozenset[type]
    same: frozenset[type] = frozenset()
    key: Callable[[Any], str] | None = None
    values: frozenset[tuple[type, Any]] | None = None
    plain: bool = False
    again: Callable[[Any], Any] | None = None


@frozen
class Spelling:
    """Which text equal values have.

    Stored texts keep the spelling (`Decimal("1.50")`); a `canonical` one is shared by all values that are equal; `former` is
    how versions before `[zone]` wrote times. With `omit`, fields with their default value are left out.
    """

    omit: bool = False
    canonical: bool = False
    former: bool = False


def text_form(class_: type, write: Write) -> Form:
    """The form of a class whose values are written as texts, also as keys."""
    return Form(write, frozenset({"text"}), frozenset({class_}), key=write)


def exact(class_: type, text: Callable[[Any], Any]) -> Write:
    """Writes `text(value)` for objects of exactly that class."""

    def write(value: Any) -> Any:
        if type(value) is not class_:
            raise mismatch(class_, value)
        return text(value)

    return write


def number_form(class_: Any, also: Iterable[type], spelling: Spelling) -> Form:
    """The form of int, float or bool; `also` are classes that type checkers accept for it, and that come back as they are."""
    classes = frozenset({class_, *also})

    def write(value: Any) -> Any:
        if type(value) not in classes:
            raise mismatch(class_, value)
        return value

    def write_canonical(value: Any) -> Any:
        return _canonical_number(write(value), class_)

    def key(value: Any) -> str:
        if type(value) is not class_ and not (class_ is float and type(value) is int):
            raise mismatch(class_, value)
        if class_ is bool:
            return "true" if value else "false"
        return _number_key(_canonical_number(value, class_) if spelling.canonical else value)

    kinds = frozenset(KINDS[one] for one in classes)
    if spelling.canonical and class_ is not bool:
        return Form(write_canonical, kinds, classes, key=key, plain=True)
    return Form(write, kinds, classes, same=classes, key=key, plain=True)


def _number_key(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeMismatch(f"{value!r} cannot be a key: JSON has no such number")
    return repr(value)


def _canonical_number(value: Any, class_: type) -> Any:
    """Equal numbers of a type have the same text: 10 and 10.0 as float, True and 1 as int."""
    if class_ is int:
        return int(value)
    if class_ is bool or not isinstance(value, int | float):
        return value
    try:
        number = float(value)
    except OverflowError:
        return value
    return number + 0.0 if isinstance(value, float) or int(number) == value else value  # + 0.0: -0.0 equals 0.0


def scalar_forms(spelling: Spelling) -> dict[type, Form]:
    """The forms of all scalar classes."""
    canonical, former = spelling.canonical, spelling.former

    def write_text(value: Any) -> str:
        if type(value) is not str:
            raise mismatch(str, value)
        return value

    times: dict[type, Write] = {
        datetime: write_datetime,
        date: write_date,
        time: write_time,
        Decimal: exact(Decimal, _decimal),
        UUID: exact(UUID, str),
        bytes: exact(bytes, lambda value: b85encode(value).decode()),
    }
    if canonical:
        times |= {datetime: _checked(write_datetime, same_instant), time: _checked(write_time, same_time)}
        times[Decimal] = exact(Decimal, _same_decimal)
    if former:
        times |= {datetime: exact(datetime, datetime.isoformat), time: exact(time, time.isoformat)}
    seconds: Write = exact(timedelta, timedelta.total_seconds) if former else write_timedelta
    return {
        str: Form(write_text, frozenset({"text"}), frozenset({str}), frozenset({str}), write_text, plain=True),
        int: number_form(int, (bool,), spelling),
        float: number_form(float, (int, bool), spelling),
        bool: number_form(bool, (), spelling),
        timedelta: Form(
            seconds, frozenset({"float", "text"}), frozenset({timedelta}), key=exact(timedelta, duration_text)
        ),
        **{class_: text_form(class_, write) for class_, write in times.items()},
    }


def _checked(check: Write, write: Write) -> Write:
    def checked(value: Any) -> Any:
        check(value)
        return write(value)

    return checked


def _decimal(value: Decimal) -> str:
    if value.is_nan():
        raise TypeMismatch(f"{value!r} is not equal to itself: use None for a missing number")
    return str(value)


def _same_decimal(value: Decimal) -> str:
    text = _decimal(value)
    if not value.is_finite():
        return text
    sign, digits, exponent = value.as_tuple()
    number = "".join(map(str, digits))
    short = number.rstrip("0")
    return f"{'-' if sign else ''}{short.lstrip('0')}E{int(exponent) + len(number) - len(short)}" if short else "0"


def none_form() -> Form:
    """The form of None."""
    classes = frozenset({NoneType})
    return Form(exact(NoneType, lambda value: value), frozenset({"null"}), classes, classes, plain=True)


def any_form(spelling: Spelling) -> Form:
    """The form of `Any`: plain JSON values, which are their own JSON."""
    write = _canonical_plain if spelling.canonical else checked_plain
    return Form(write, frozenset(KINDS.values()), frozenset(), PLAIN - {float} if spelling.canonical else PLAIN)


def checked_plain(value: Any) -> Any:
    """The value, if JSON restores exactly it: dicts with texts as keys, lists, texts, numbers, True, False and None."""
    if not _comes_back(value):
        raise TypeMismatch(find_unencodable(value, exact=True))
    return value


def _comes_back(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        for key, child in value.items():
            if type(key) is not str:
                return False
            if type(child) is not str and type(child) not in PLAIN and not _comes_back(child):
                return False
        return True
    if kind is list:
        return _is_plain(map(type, value)) or all(type(one) in PLAIN or _comes_back(one) for one in value)
    return kind in PLAIN


_is_plain = PLAIN.issuperset
_has_no_floats = (PLAIN - {float}).issuperset


def _canonical_plain(value: Any) -> Any:
    return _whole(checked_plain(value))


def _whole(value: Any) -> Any:
    """Plain JSON with 1 instead of 1.0, which is equal."""
    if isinstance(value, dict):
        return value if _has_no_floats(map(type, value.values())) else {k: _whole(v) for k, v in value.items()}
    if isinstance(value, list):
        return value if _has_no_floats(map(type, value)) else [_whole(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def subclass_form(class_: type, base: type) -> Form:
    """The form of a subclass of str, int or float; its objects are made of the text or number again."""
    methods: dict[type, Write] = {str: str.__str__, int: int.__int__, float: float.__float__}
    plain = methods[base]

    def write(value: Any) -> Any:
        if type(value) is not class_:
            raise mismatch(class_, value)
        if getattr(value, "__dict__", None):
            raise TypeMismatch(f"{short_repr(value)} has attributes ({', '.join(vars(value))}), which would be lost")
        return plain(value)

    def key(value: Any) -> str:
        raw = write(value)
        return raw if base is str else _number_key(raw)

    return Form(write, frozenset({KINDS[base]}), frozenset({class_}), key=key)


def enum_form(class_: type[Enum]) -> Form | str:
    """The form of an enum: members are written as their value, or as their name if a value is no text and no number.

    A text tells why the enum cannot be stored.
    """
    names = enum_texts(class_)
    if issubclass(class_, Flag):
        return Form(exact(class_, lambda value: value.value), frozenset({"int"}), frozenset({class_}))
    if not class_.__members__:
        return "has no members"
    if issubclass(class_, _BASES):
        return "has members that are dates, numbers or bytes as well: make it a plain Enum"
    keys = {name: str(json) if type(json) in (str, int) else None for name, json in names.items()}
    usable = None not in keys.values() and len(set(keys.values())) == len(keys)
    values = frozenset((type(json), json) for json in names.values())
    form = Form(
        exact(class_, lambda value: names[value._name_]),
        frozenset(KINDS[kind] for kind, _ in values),
        frozenset({class_}),
        values=values,
    )
    return evolve(form, key=exact(class_, lambda value: keys[value._name_])) if usable else form


def literal_form(type_: Any, choices: tuple[Any, ...]) -> Form | str:
    """The form of a Literal; a text tells why it cannot be stored."""
    table = literal_table(choices)
    values = frozenset((type(json), json) for json in table.values())
    if not all(kind in PLAIN for kind, _ in values) or len(values) < len(table):
        return (
            "has values that JSON cannot tell from each other, or cannot hold: use texts, numbers and members of enums"
        )

    def write(value: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):
            given = ", ".join(map(repr, typing.get_args(type_)))
            raise TypeMismatch(f"expected one of {given}, found {short_repr(value)}") from None

    kinds, classes = frozenset(KINDS[kind] for kind, _ in values), frozenset(kind for kind, _ in table)
    key = write if kinds == {"text"} else None
    return Form(write, kinds, classes, key=key, values=values, plain=classes <= PLAIN)


def literal_table(choices: tuple[Any, ...]) -> dict[tuple[type, Any], Any]:
    """(class, value) -> JSON value of each choice."""
    return {(type(one), one): enum_texts(type(one))[one._name_] if isinstance(one, Enum) else one for one in choices}


def merged(members: list[tuple[str, Form]], canonical: bool) -> Form | str:
    """The form of a union: the class of a value tells its member, the kind of JSON tells it again when it is read.

    A text tells which two members have the same JSON, so that the union cannot be stored.
    """
    table: dict[type, list[Write]] = {}
    for n, (name, form) in enumerate(members):
        for other, earlier in members[:n]:
            if not _apart(form, earlier):
                return f"has members with the same JSON ({other}, {name}): declare one of them, or a class for each"
        for class_ in form.classes:
            table.setdefault(class_, []).append(form.write)
    if canonical and len(table.keys() & {int, float}) == 2:
        table |= {int: [_canonical_plain], float: [_canonical_plain]}
    expected = " | ".join(name.replace("NoneType", "None") for name, _ in members)
    others = [form for _, form in members if NoneType not in form.classes]

    def write(value: Any) -> Any:
        writers = table.get(type(value), [])
        for write in writers:
            try:
                return write(value)
            except TypeMismatch:
                if write is writers[-1]:
                    raise
        if len(others) == 1:
            return others[0].write(value)  # its refusal says more
        raise TypeMismatch(f"expected {expected}, found {short_repr(value)} of type {type(value).__qualname__}")

    values = [form.values for _, form in members]
    return Form(
        write,
        frozenset().union(*(form.kinds for _, form in members)),
        frozenset(table),
        frozenset().union(*(form.same for _, form in members)),
        values=None if None in values else frozenset().union(*filter(None, values)),
        plain=all(form.plain for _, form in members),
    )


def _apart(one: Form, other: Form) -> bool:
    """Whether every JSON value is written by one of the two forms only, or means the same to both."""
    if not one.kinds & other.kinds or (one.plain and other.plain):
        return True
    return one.values is not None and other.values is not None and not one.values & other.values
