"""One part of what a store is filled with: names, due times and priorities of its rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

MONTH = timedelta(days=30)
STEP = timedelta(microseconds=1000)  # between the due times of two rows
PRIORITIES = 10


@frozen
class Part:
    """Rows that are due `later` than the store was made, each a STEP after the one before.

    They are a `share` of the rows that are asked for; 0: they are few. With `mixed`, their priorities take turns from 0 to 9.
    """

    name: str
    share: float
    later: timedelta = timedelta(0)
    mixed: bool = False

    def due(self, begin: datetime, n: int) -> datetime:
        """When row `n` is due, in a store made at `begin`."""
        return begin + self.later + n * STEP

    def priority(self, n: int) -> int:
        """The priority of row `n`."""
        return n % PRIORITIES if self.mixed else 0


READY = Part("ready", 0.0)


def id_of(part: Part, n: int) -> str:
    """The id of row `n` of a part."""
    return f"{part.name}-{n:07}"
