"""BoundedCache: remembers the results of a pure function, up to a number of entries and of bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MAX_ENTRIES, MAX_BYTES = 4096, 4 << 20
SHARE = 16  # an entry that needs more than this part of the bytes is not kept


class BoundedCache(dict[K, V]):
    """`cache[argument]` is `make(argument)`, computed once while it is kept; a hit costs as much as in a dict.

    `size_of(argument, result)` estimates the bytes of an entry. A cache that is full is emptied: the entries that are in
    use come back at the cost of one computation each. Threads may share it.
    """

    def __init__(
        self,
        make: Callable[[K], V],
        size_of: Callable[[K, V], int],
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__()
        self._make, self._size_of = make, size_of
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._bytes = 0

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        size = self._size_of(key, value)
        if size * SHARE <= self._max_bytes:
            if len(self) >= self._max_entries or self._bytes + size > self._max_bytes:
                self.clear()
                self._bytes = 0
            self._bytes += size
            self[key] = value
        return value


def size_of_texts(*texts: str | bytes) -> int:
    """The bytes that these texts need in memory, with what a dict needs for an entry."""
    return 100 + sum(text.__sizeof__() for text in texts)
