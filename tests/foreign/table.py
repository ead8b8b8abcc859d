"""The table of the cases: number -> what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.foreign.engine import Engine

Case = Callable[[Engine], Awaitable[None]]
CASES: dict[int, Case] = {}


def case(number: int) -> Callable[[Case], Case]:
    """Put a function into the table."""

    def add(function: Case) -> Case:
        assert number not in CASES
        CASES[number] = function
        return function

    return add
