"""What a claim takes of runs with limits when they wait in many lines: the first rows of all lines, a window at a time.

A line is the rows of one flow that have the same text of limits. A claim among few lines looks at the first rows of each. Among
many that would cost the more the more lines there are, and the first rows of all of them together nearly always suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define, field

from stepflow.drivers.port.turns import Candidate, Order, admitted
from stepflow.model.limits import LimitUsage, admission

MANY_LINES = 200  # from here on a claim looks at windows
ALL_LINES = 2**31
WINDOWS, WINDOW = 4, 256  # so many windows at most, and so many rows in each at least


@define
class Window:
    """The first rows with limits of one flow and shard, as far as they were looked at."""

    shard: str
    flow: str
    end: Order = (-(2**63), 0, "")
    skip: Collection[str] = ()  # ids that are left alone
    complete: bool = False
    rows: list[Candidate] = field(factory=list)
    full: set[str] = field(factory=set)  # lines of which no more rows can be taken

    def found(self, rows: Sequence[Candidate], *, more: bool) -> None:
        """Note what came next, and whether there may be more."""
        self.rows += [one for one in rows if one[0][2] not in self.skip]
        self.complete = not more
        if rows:
            self.end = rows[-1][0]

    def keep(self, usage: LimitUsage, now: int, limit: int) -> list[Candidate]:
        """Of each line as many rows as there is room for; the others are forgotten."""
        free: dict[str, int] = {}
        kept = []
        for one in self.rows:
            text = one[2]
            if text not in free:
                free[text] = min(limit, admission(text, usage, now).free)
            if free[text]:
                free[text] -= 1
                kept.append(one)
            else:
                self.full.add(text)
        self.rows = kept
        return kept


Fetch = Callable[[Sequence[Window], Collection[str], int], Sequence[Sequence[Candidate]]]
"""For each of the windows up to so many of the rows that follow its end, by priority, due and id, without these lines."""


def in_windows(
    windows: Sequence[Window],
    others: Sequence[Candidate],
    flows: Collection[str],
    fetch: Fetch,
    usage_of: Callable[[Collection[str]], LimitUsage],
    now: int,
    limit: int,
) -> list[Candidate] | None:
    """What to take of `others` and of the windows' rows; None if more rows would have to be looked at."""
    number = max(WINDOW, 4 * limit)
    for _turn in range(WINDOWS):
        full = {text for window in windows for text in window.full}
        asked = [window for window in windows if not window.complete]
        for window, rows in zip(asked, fetch(asked, full, number), strict=True):
            window.found(rows, more=len(rows) >= number)
        every = {one[2] for window in windows for one in window.rows} | {one[2] for one in others}
        usage = usage_of(every)
        kept = [one for window in windows for one in window.keep(usage, now, limit)]
        ends: dict[str, Order] = {}
        for window in windows:
            if not window.complete:
                ends[window.flow] = min(window.end, ends.get(window.flow, window.end))
        chosen, known = admitted([*others, *kept], flows, usage, now, limit, ends)
        if known:
            return chosen
    return None
