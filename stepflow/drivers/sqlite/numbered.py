"""A connection for Python 3.12.0 to 3.12.3, which take the parameter `?1` for a named one and warn of it at every use.

It is gh-117995 in the changelog of CPython. Here such parameters are given without their numbers.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

AFFECTED = (3, 12, 0) <= sys.version_info[:3] < (3, 12, 4)
_PARAMETER = re.compile(r"\?(\d*)")


@lru_cache(maxsize=512)
def plain(statement: str) -> tuple[str, tuple[int, ...] | None]:
    """The statement without numbers, and which of the values goes where; None where they stay as they are.

    A parameter without a number follows the largest one before it, as in SQLite.
    """
    largest, places = 0, []
    for found in _PARAMETER.finditer(statement):
        number = int(found[1] or largest + 1)
        largest = max(largest, number)
        places.append(number - 1)
    if all(not found[1] for found in _PARAMETER.finditer(statement)):
        return statement, None
    return _PARAMETER.sub("?", statement), tuple(places)


class Connection(sqlite3.Connection):
    """Executes the statements of this package, none of which has a question mark in a text."""

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement with values by position, or by name."""
        if not isinstance(values, Sequence):
            return super().execute(statement, values)
        text, places = plain(statement)
        return super().execute(text, values if places is None else [values[place] for place in places])
