"""Pruning as all stores do it: how large one piece is, which runs are looked at, and the record that stands for a pruned run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from attrs import astuple, define, field, frozen

from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.state import Transition

ROWS, BYTES = 500, 1 << 20  # records, and bytes of their payloads, that one transaction deletes at most
RUNS = 100  # runs that one transaction deletes at most
PAGE = 1000  # ended runs that are looked at in one read
PRUNED = -2  # the revision of the record that stands for a pruned run: no write expects it, and no query finds it

PRUNING, GONE = (
    "pruning",
    "pruned",
)  # its stored status: while records of the run are left, and then while its id is kept
NOWHERE = Transition().text  # its stored transition


@frozen
class Pruned:
    """What a piece of a pruning did, or several together: runs and revisions that were deleted, in how many transactions.

    A run counts in its first piece: from then on it is gone for every reader. `own` of the runs are of the library's own flows.
    """

    runs: int = 0
    revisions: int = 0
    pieces: int = 0
    own: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))


def own_of(flows: Iterable[str]) -> int:
    """How many of these names of flows, one for each run, are the library's own."""
    return sum(flow in OWN_FLOWS for flow in flows)


@frozen
class PrunedId:
    """The id of a pruned run that cannot be started: until a time, microseconds UTC, or while its records are deleted (0)."""

    id: str
    input_hash: str
    until: int

    def is_over(self, now: int) -> bool:
        """Whether the time is over until which the id is kept."""
        return 0 < self.until <= now


@define
class Budget:
    """What the present piece may delete still; the last record may exceed the bytes, so that a large one goes, too."""

    rows: int = field(factory=lambda: ROWS)
    bytes: int = field(factory=lambda: BYTES)

    @property
    def spent(self) -> bool:
        """Whether nothing more may be deleted."""
        return self.rows <= 0 or self.bytes <= 0

    def spend(self, size: int) -> None:
        """Count one record with a payload of so many bytes."""
        self.rows -= 1
        self.bytes -= size


Group = tuple[str, ...]
"""What the runs of one range of the index have in common."""


@define
class Candidates:
    """Runs that may have ended before `before`; continues after the last one that was taken, so that kept ones are looked at once."""

    before: int
    _places: dict[Group, tuple[int, str]] = field(factory=dict)  # creation time and id of the last one looked at

    def ids(
        self, groups: Callable[[], Iterable[Group]], page: Callable[[Group, int, str], Sequence[Sequence[Any]]]
    ) -> Iterator[str]:
        """The ids; `page(group, created_at, id)` reads up to PAGE rows (created_at, id, whether the run is kept) behind that place."""
        anew = not self._places
        for run_id in self._further(groups, page):
            anew = True
            yield run_id
        self._places.clear()
        if not anew:  # there may be some before the place where the last call stopped
            yield from self._further(groups, page)
            self._places.clear()

    def _further(
        self, groups: Callable[[], Iterable[Group]], page: Callable[[Group, int, str], Sequence[Sequence[Any]]]
    ) -> Iterator[str]:
        for group in groups():
            more = True
            while more:
                rows = page(group, *self._places.get(group, (-(1 << 63), "")))
                for created_at, run_id, kept in rows:
                    self._places[group] = created_at, run_id
                    if not kept:
                        yield run_id
                more = len(rows) == PAGE
