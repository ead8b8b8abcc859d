"""Enums of every kind, each with values of it, and values that are almost of it."""

from __future__ import annotations

import enum
from typing import Any

from hypothesis import strategies as st

Typed = tuple[Any, st.SearchStrategy[Any], st.SearchStrategy[Any]]
"""A type, values of it, and values that a type checker or a careless program takes for it."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.Enum):
    SMALL = (1, "s")
    BIG = (2, "b")


class Word(enum.StrEnum):
    A = "a"
    B = "b"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Flags(enum.Flag):
    R = enum.auto()
    W = enum.auto()


class Letter(str, enum.Enum):
    ONE = "1"
    A = "a"


class Amount(float, enum.Enum):
    ONE = 1.0
    MORE = 2.5


class Wide(int, enum.Enum):
    def __new__(cls, number: int, text: str) -> Wide:
        made = int.__new__(cls, number)
        made._value_ = number
        made.text = text
        return made

    text: str
    ONE = 1, "one"
    TWO = 2, "two"


class Mixed(enum.Enum):
    NUMBER = 1
    TEXT = "x"
    HALF = 2.5
    NONE = None


class Twin(enum.IntEnum):
    ONE = 1
    AGAIN = 1
    MINUS = -1


class Rights(enum.IntFlag):
    R = 1
    W = 4


class Few(enum.IntFlag, boundary=enum.STRICT):
    R = 1
    W = 4
    ALL = 5


class Dropped(enum.Flag, boundary=enum.CONFORM):
    R = 1
    W = 2


class Ejected(enum.IntFlag, boundary=enum.EJECT):
    R = 1
    W = 2


ENUM_KEYS: list[Typed] = [
    (Colour, st.sampled_from(Colour), st.sampled_from(Word)),
    (Word, st.sampled_from(Word), st.just("a")),
    (Number, st.sampled_from(Number), st.just(1)),
    (Letter, st.sampled_from(Letter), st.sampled_from(["1", "a"])),
    (Wide, st.sampled_from(Wide), st.sampled_from(Number)),
    (Twin, st.sampled_from(Twin), st.just(1)),
]
ENUMS: list[Typed] = [
    *ENUM_KEYS,
    (Amount, st.sampled_from(Amount), st.just(1.0)),
    (Mixed, st.sampled_from(Mixed), st.sampled_from([1, "x", 2.5, None])),
    *((flags, st.integers(0, 7).map(flags), st.integers(0, 7)) for flags in (Rights, Dropped)),
    (Few, st.sampled_from([Few.R, Few.W, Few.ALL, Few(0)]), st.just(1)),
    (Ejected, st.integers(0, 3).map(Ejected), st.integers(0, 7).map(Ejected)),
    (Size, st.sampled_from(Size), st.just((1, "s"))),
    (Flags, st.sampled_from([Flags.R, Flags.W, Flags.R | Flags.W, Flags(0)]), st.just(1)),
]
