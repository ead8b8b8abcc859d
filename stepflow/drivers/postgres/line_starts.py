"""LineStarts: where claims of runs with limits begin to look in each line, the counterpart of ClaimStarts for them.

A session remembers the lines in which rows are left, and the first row of each that may be left. What may have appeared below
is asked for with every claim: rows that became due since about the last look from the beginning, and priorities that were not
there. Others, due for longer, are found by the next look from the beginning. Ids are in their stored form, and starts belong
to what lies behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from stepflow.drivers.port.turns import Candidate, Order
from stepflow.drivers.postgres.arrays import numbers, restored, stored, stored_texts
from stepflow.drivers.postgres.ranges import BEHIND, FIRST, LATE, LOOK_EVERY, LOOKS, MANY, WHOLE, Ranges, ranges_of

BEGIN: Order = (FIRST, FIRST, "")
SHIFT = 2**62  # so that texts of due times have their order
_DIGITS = 20
# The first row of each line and priority behind $4 to $7.
FRESH = "select y.limits, y.priority, min(lpad((y.due + {shift})::text, {digits}, '0') || y.id) from ({rows}) y group by 1, 2".format(  # noqa: S608 - constants
    shift=SHIFT,
    digits=_DIGITS,
    rows=BEHIND.format(
        m=["$4", "$5", "$6", "$7"],
        columns="q.limits, q.priority, q.due, q.id",
        where="q.shard = $1 and q.flow = $2 and q.partition = 4 and q.due <= $3",
        number="2147483647",
        lock="",
    ),
)


def after(order: Order) -> Order:
    """The start behind a row: its successor, as no stored text holds NUL."""
    return order[0], order[1], stored(order[2]) + "\1"


def at(order: Order) -> Order:
    """The start that a row belongs to."""
    return order[0], order[1], stored(order[2])


@frozen
class Lines:
    """The starts of the lines of one flow in one shard; with many lines only `first`, the start of all of them together."""

    starts: Mapping[str, Order]
    first: Order = BEGIN
    many: bool = False
    looked: int = FIRST  # when it was last looked at from the beginning; FIRST: it is now
    looks: int = field(default=0, eq=False)
    fresh: Ranges = WHOLE

    @property
    def any_left(self) -> bool:
        """Whether rows may be left in some line, as far as is known."""
        return self.many or bool(self.starts)

    def with_fresh(self, rows: Iterable[Sequence[Any]]) -> tuple[dict[str, Order], Order]:
        """The starts of the lines, and the first of them all, if these rows of FRESH are there, too."""
        starts, first = dict(self.starts), self.first
        for line, priority, key in rows:
            order = (priority, int(key[:_DIGITS]) - SHIFT, key[_DIGITS:])
            text, first = restored(line), min(order, first)
            if not self.many:
                starts[text] = min(order, starts.get(text, order))
        return starts, first


UNKNOWN = Lines({})


@define
class LineStarts:
    """The lines of one session, by shard and flow; its owner tells when they are used."""

    _lines: dict[tuple[str, str], Lines] = field(factory=dict)

    def of(self, shard: str, flow: str, now: int) -> Lines:
        """What is known; UNKNOWN if it is time for a look from the beginning."""
        found = self._lines.get((shard, flow), UNKNOWN)
        return UNKNOWN if not 0 <= now - found.looked < LOOK_EVERY or found.looks >= LOOKS else found

    def learn(self, shard: str, flow: str, now: int, before: Lines, looks: Looks, taken: Iterable[str]) -> None:
        """A claim that knew `before` looked, and took all runs that it chose: those with these ids."""
        starts, first = looks.left(set(taken))
        whole = before is UNKNOWN
        if whole:
            priorities = {0, *(one[0][0] for one in looks.rows)}
            marks = dict.fromkeys(priorities, (now - LATE, ""))
            fresh = ranges_of(marks) if len(marks) <= MANY else WHOLE
            self._lines[(shard, flow)] = Lines(starts, first, looks.many, now, 0, fresh)
        elif self._lines.get((shard, flow)) is before:
            self._lines[(shard, flow)] = Lines(
                starts, first, before.many, before.looked, before.looks + 1, before.fresh
            )

    def forget(self) -> None:
        """Begin at the beginning again."""
        self._lines.clear()


@define
class Looks:
    """What a claim looked at in the lines of one flow and shard: the starts, the rows that it found, in order, and how many it asked for."""

    starts: dict[str, Order]
    first: Order = BEGIN
    many: bool = False
    asked: dict[str, int] = field(factory=dict)
    rows: list[Candidate] = field(factory=list)
    complete: bool = False  # whether there are no more rows behind `rows` in a look over many lines

    def left(self, taken: set[str]) -> tuple[dict[str, Order], Order]:
        """The starts after these runs were taken; lines in which nothing is left are gone."""
        if self.many:
            kept = [one for one in self.rows if one[0][2] not in taken]
            return {}, at(kept[0][0]) if kept else after(self.rows[-1][0]) if self.rows else self.first
        starts = dict(self.starts)
        by_line: dict[str, list[Candidate]] = {text: [] for text in self.asked}
        for one in self.rows:
            by_line[one[2]].append(one)
        for text, rows in by_line.items():
            kept = [one for one in rows if one[0][2] not in taken]
            if kept:
                starts[text] = at(kept[0][0])
            elif len(rows) < self.asked[text]:
                del starts[text]
            else:
                starts[text] = after(rows[-1][0])
        return starts, min(starts.values(), default=BEGIN)


def columns(starts: Sequence[Order]) -> tuple[str, str, str]:
    """Array literals of starts."""
    return numbers(s[0] for s in starts), numbers(s[1] for s in starts), stored_texts([s[2] for s in starts])
