"""EmptyRanges: remembers key ranges without rows, so that scans do not repeat the cost of deleted rows in RocksDB."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter

MOST = 16  # ranges that are remembered: the widest
WIDTH = 24  # bytes of the keys by which width is measured

EmptyRange = tuple[bytes, bytes, int]
"""Start, end and width."""


class EmptyRanges:
    """Disjoint ranges `start <= key < end` without a row, in ascending order; keys differ from byte `at` on."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._gaps: list[EmptyRange] = []

    def _gap(self, start: bytes, end: bytes) -> EmptyRange:
        return start, end, self._place(end) - self._place(start)

    def _place(self, key: bytes) -> int:
        rest = key[self._at : self._at + WIDTH]
        return int.from_bytes(rest.ljust(WIDTH, b"\0")) if rest else 1 << 8 * WIDTH

    def learn(self, start: bytes, end: bytes) -> None:
        """A scan from `start` found the first row at `end`."""
        apart = []
        for gap in self._gaps:
            if gap[1] < start or end < gap[0]:
                apart.append(gap)
            else:
                start, end = min(start, gap[0]), max(end, gap[1])
        if start < end:
            apart.append(self._gap(start, end))
        self._gaps = sorted(apart)
        self._trim()

    def added(self, key: bytes) -> None:
        """A row was put at `key`."""
        index = bisect_right(self._gaps, key, key=itemgetter(0)) - 1
        if index < 0 or self._gaps[index][1] <= key:
            return
        low, high, _width = self._gaps[index]
        parts = [(low, key), (key + b"\0", high)]
        self._gaps[index : index + 1] = [self._gap(*part) for part in parts if part[0] < part[1]]
        self._trim()

    def _trim(self) -> None:
        while len(self._gaps) > MOST:
            self._gaps.remove(min(self._gaps, key=itemgetter(2)))

    def between(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The parts of `start <= key < stop` that may contain rows."""
        for low, high, _width in self._gaps:
            if high <= start:
                continue
            if low >= stop:
                break
            if start < low:
                yield start, low
            start = high
        if start < stop:
            yield start, stop
