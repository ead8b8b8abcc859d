"""ClaimStarts: where claims begin to look, so that they do not walk over the index entries of rows that were taken before.

While another session holds an old snapshot, the server can remove none of these entries, and they are the first ones of the
index. A session therefore remembers, per flow and priority, up to which row nothing was left to take. This is a hint: a row
that appears below is found by the next look from the beginning, at most LOOK_EVERY later. Rows that became due within the
last second are never skipped, nor is anything while the table has few dead rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Enqueue, Release
from stepflow.drivers.port.step import Member, Step
from stepflow.drivers.postgres.line_starts import UNKNOWN, Lines, LineStarts, Looks
from stepflow.drivers.postgres.ranges import FIRST, LATE, LOOK_EVERY, LOOKS, MANY, WHOLE, Ranges, joined, ranges_of
from stepflow.drivers.postgres.rows import Shards

DEAD_ROWS = "pg_stat_get_dead_tuples('stepflow.queue'::regclass)"  # how many the server estimates
DEAD = 5_000  # dead rows of the queue from which the starts are used: with fewer a look from the beginning is cheap


@define
class _ClaimStart:
    """What is known of the ready rows of one flow in one shard, and of those that sleep."""

    marks: dict[int, tuple[int, str]] = field(
        factory=dict
    )  # by priority: due time and id of the last row that was taken
    sleepers: int = FIRST  # no row that sleeps was due before
    ranges: Ranges = WHOLE
    looked: int = FIRST  # when it was last looked at from the beginning
    looks: int = 0  # since then

    def advance(self, taken: Sequence[tuple[int, int, str]], until: int, *, all_taken: bool, whole: bool) -> None:
        """Rows were taken in their order; `all_taken`: none was left. Only what is before `until` is passed over later."""
        if all_taken:
            self.marks = dict.fromkeys({0, *self.marks, *(row[0] for row in taken)}, (until, ""))
        else:
            priority, due, run_id = taken[-1]
            later = {} if whole else {one: mark for one, mark in self.marks.items() if one > priority}
            earlier = {one: (until, "") for one in {*self.marks, *(row[0] for row in taken)} if one < priority}
            self.marks = {**earlier, priority: min((due, run_id), (until, "")), **later}
        if len(self.marks) > MANY:
            self.marks.clear()
        self.ranges = ranges_of(self.marks)

    def forget(self) -> None:
        """Begin at the beginning again."""
        self.marks, self.sleepers, self.ranges, self.looked = {}, FIRST, WHOLE, FIRST


class ClaimStarts:
    """The starts of one session, by shard and flow."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._lines = LineStarts()
        self._starts: dict[tuple[str, str], _ClaimStart] = {}
        self.used = False  # whether the queue has many dead rows

    def ranges(self, shard: str, flow: str, now: int) -> tuple[Ranges, int]:
        """Where to look for ready rows, and the due time from which on to look for rows that sleep."""
        start = self._starts.get((shard, flow)) if self.used else None
        return (WHOLE, FIRST) if start is None or _due(start, now) else (start.ranges, start.sleepers)

    def took(
        self, shard: str, flow: str, now: int, ranges: Ranges, rows: Iterable[Sequence[Any]], *, more: bool
    ) -> None:
        """These rows, as a claim returns them, were taken in these ranges; `more` may be left."""
        if not self.used:
            return
        start = self._starts.setdefault((shard, flow), _ClaimStart())
        whole = ranges is WHOLE
        if not whole and ranges is not start.ranges:
            return  # it was decided to begin at the beginning again
        start.looked, start.looks = (now, 0) if whole else (start.looked, start.looks + 1)
        taken = sorted((row[5], row[3], row[0]) for row in rows)
        if taken or not more:
            start.advance(taken, now - LATE, all_taken=not more, whole=whole)

    def lines(self, shard: str, flow: str, now: int) -> Lines:
        """What is known of the ready rows with limits."""
        return self._lines.of(shard, flow, now) if self.used else UNKNOWN

    def behind(self, shard: str, flows: Iterable[str], now: int) -> tuple[str, ...]:
        """The values of two searches of ready rows of these flows: of those without limits, then of those with limits."""
        ready = {(shard, flow): self.ranges(shard, flow, now)[0] for flow in flows}
        lines = {(shard, flow): self.lines(shard, flow, now) for flow in flows}
        return *joined(ready), *joined({part: WHOLE if some.any_left else some.fresh for part, some in lines.items()})

    def looked(self, shard: str, flow: str, now: int, before: Lines, looks: Looks, taken: Iterable[str]) -> None:
        """A claim that knew `before` looked at the rows with limits, and took those with these ids: all that it chose."""
        if self.used:
            self._lines.learn(shard, flow, now, before, looks, taken)

    def awake(self, shard: str, flow: str, now: int) -> None:
        """No row that sleeps is due."""
        if (start := self._starts.get((shard, flow))) is not None:
            start.sleepers = now - LATE

    def learn(self, dead: int) -> None:
        """The number of dead rows of the queue, as the server estimates it."""
        if self.used and dead < DEAD:
            self.forget()
        self.used = dead >= DEAD

    def committed(self, members: Sequence[Member], now: int) -> None:
        """This session committed: rows that were due earlier may be below the starts."""
        if self.used and any(due < now - LATE for member in members for due in _dues(member)):
            self.forget()

    def released(self, batch: Sequence[Release], now: int) -> None:
        """This session released claims, of which some may be due as before."""
        if self.used and any(release.due is not None and release.due < now - LATE for release in batch):
            self.forget()

    def forget(self) -> None:
        """Begin at the beginning again."""
        self._lines.forget()
        for start in self._starts.values():
            start.forget()


def _due(start: _ClaimStart, now: int) -> bool:
    """Whether it is time for a look from the beginning."""
    return not 0 <= now - start.looked < LOOK_EVERY or start.looks >= LOOKS


def _dues(member: Member) -> list[int]:
    if isinstance(member, Commit) and any(not pause.paused for pause in member.pause):
        return [FIRST]  # a run that is resumed may have been due for long
    parts = (member.part,) if isinstance(member, Step) else member.queue if isinstance(member, Commit) else ()
    return [part.due for part in parts if isinstance(part, Enqueue)]
