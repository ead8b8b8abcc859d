"""ReadyQueue: finds the next unowned queue rows with heaps per flow, so that sleeping rows do not slow down a claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from stepflow.model.lifecycle import SUSPECT, QueueRow

Look = Callable[[str], QueueRow | None]


class MemoryPartition:
    """The unowned rows of one flow: `later` by due time, `ready` by claim order.

    Entries are not removed when their row changes; one whose epoch is not the row's any more is skipped when met.
    """

    def __init__(self) -> None:
        self.later: list[tuple[int, str, int]] = []
        self.ready: list[tuple[int, int, str, int]] = []

    def promote(self, now: int, look: Look) -> None:
        """Move the rows that became due to `ready`."""
        while self.later and self.later[0][0] <= now:
            due, run_id, epoch = heappop(self.later)
            row = look(run_id)
            if row is not None and row.epoch == epoch:
                heappush(self.ready, (row.priority, due, run_id, epoch))

    def drain(self, now: int, look: Look) -> Iterator[tuple[str, QueueRow]]:
        """Remove ready rows in claim order; the caller adds rows that it does not claim again with `ReadyQueue.add`."""
        self.promote(now, look)
        while self.ready:
            _priority, due, run_id, epoch = heappop(self.ready)
            row = look(run_id)
            if row is None or row.epoch != epoch:
                continue
            if due > now:  # the clock was set back
                heappush(self.later, (due, run_id, epoch))
            else:
                yield run_id, row

    def head(self, look: Look) -> int | None:
        """The earliest due time of this partition, or that of a ready row if there is one."""
        while self.ready and not _alive(look(self.ready[0][2]), self.ready[0][3]):
            heappop(self.ready)
        if self.ready:
            return self.ready[0][1]
        while self.later and not _alive(look(self.later[0][1]), self.later[0][2]):
            heappop(self.later)
        return self.later[0][0] if self.later else None


def _alive(row: QueueRow | None, epoch: int) -> bool:
    return row is not None and row.epoch == epoch


class ReadyQueue:
    """All unowned rows of a namespace; blocked and suspect ones are few and are kept separately by id."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._partitions: defaultdict[str, defaultdict[str, MemoryPartition]] = defaultdict(
            lambda: defaultdict(MemoryPartition)
        )
        self._special: dict[str, int] = {}  # id -> epoch

    def add(self, run_id: str, row: QueueRow) -> None:
        """Add a row without an owner, with a new epoch; a paused one is not looked for."""
        if row.paused:
            return
        if row.blocked_by or row.crashes >= SUSPECT:
            self._special[run_id] = row.epoch
        else:
            heappush(self._partitions[row.flow][row.limits].later, (row.due, run_id, row.epoch))

    def special(self) -> list[tuple[str, QueueRow]]:
        """The unowned rows that are blocked or suspect."""
        found = []
        for run_id, epoch in list(self._special.items()):
            row = self._look(run_id)
            if row is not None and row.epoch == epoch:
                found.append((run_id, row))
            else:
                del self._special[run_id]
        return found

    def drain(self, flow: str, limits: str, now: int) -> Iterator[tuple[str, QueueRow]]:
        """Remove the plain due rows of a flow with these limits, in claim order."""
        return self._partitions[flow][limits].drain(now, self._look)

    def heads(self, flow: str) -> dict[str, int]:
        """For each text of limits, the earliest due time of a plain row of the flow, or that of a ready one."""
        found = {}
        for limits, partition in list(self._partitions[flow].items()):
            if (due := partition.head(self._look)) is None:
                del self._partitions[flow][limits]
            else:
                found[limits] = due
        return found
