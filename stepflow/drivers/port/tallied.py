"""What a store keeps of its counts: the runs that had ended as of a revision, so that a tally reads only what changed since.

Both SQL stores keep one row per shard, which no commit of a run touches. A tally adds what later revisions changed: each that
ends a run counts 1, and each that follows an end takes 1 away, as a redrive does. A tally that had to read much replaces the row
by what it found. A pruning, which deletes revisions too, takes the runs that it deletes out of the row and says that it was there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from operator import attrgetter

from attrs import frozen

from stepflow.drivers.port.queries import Tally
from stepflow.drivers.port.stored import in_order, read_transition
from stepflow.model.state import DAMAGED

KEEP_FROM = 1_000  # revisions or runs that a tally had to read for its answer to be kept
FEW = 100  # revisions that are read however few runs there are
DEARER = 10  # times what a run costs that is counted by an index: a revision that is read

Counts = Counter[tuple[str, str]]
"""How many runs there are, by creating flow and status."""


@frozen
class Tallied:
    """The runs that had ended as of revision `rev` and are not pruned (0: not counted yet), after so many prunings."""

    rev: int = 0
    prunings: int = 0
    counts: Mapping[tuple[str, str], int] = {}

    @property
    def most(self) -> int:
        """So many later revisions cost less to read than all runs that ended."""
        return max(sum(self.counts.values()) // DEARER, FEW)

    def is_near(self, revisions: int) -> bool:
        """Whether so many revisions since are to be read."""
        return self.rev > 0 and revisions <= self.most

    def then(self, rev: int, counts: Mapping[tuple[str, str], int], read: int) -> Tallied | None:
        """What should be kept instead, given the counts as of `rev`; None if it took little to find them."""
        if read < KEEP_FROM or rev <= self.rev:
            return None
        return Tallied(rev, self.prunings, {key: number for key, number in counts.items() if number})

    def without(self, runs: Iterable[tuple[str, str, int]]) -> Tallied:
        """After a pruning of runs (flow, status, revision). Of one that changed since it is not known how it was counted."""
        counts, newest = Counter(self.counts), 0
        for flow, status, rev in runs:
            counts[flow, status] -= 1
            newest = max(newest, rev)
        if newest > self.rev:
            return Tallied(0, self.prunings + 1)
        return Tallied(self.rev, self.prunings + 1, {key: number for key, number in counts.items() if number})

    @property
    def text(self) -> str:
        """The stored form of the counts."""
        return json.dumps([[*key, number] for key, number in sorted(self.counts.items())], separators=(",", ":"))


def kept(rev: int, prunings: int, counts: str) -> Tallied:
    """What was counted before, from its stored form; all runs are counted again if that cannot be read."""
    try:
        return Tallied(rev, prunings, {(flow, status): number + 0 for flow, status, number in json.loads(counts)})
    except DAMAGED:
        return Tallied(0, prunings if isinstance(prunings, int) else 0)


def ended_by(transitions: Iterable[tuple[str, str, int]]) -> Counts:
    """How many runs of each flow have each final status, given so many transitions (flow, stored form, number)."""
    counts = Counts()
    for flow, text, number in transitions:
        if status := read_transition(text).status:
            counts[flow, status] += number
    return counts


def tallies(counts: Mapping[tuple[str, str], int]) -> list[Tally]:
    """The answer to a TallyQuery, in its order."""
    found = [Tally(flow, status, number) for (flow, status), number in counts.items() if number]
    return in_order(found, attrgetter("flow", "status"))
