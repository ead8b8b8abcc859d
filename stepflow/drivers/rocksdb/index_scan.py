"""index_scan: reads index keys in order: the intersection and the union of several prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import groupby

from stepflow.drivers.rocksdb.disk import Cursor


def common(cursors: Sequence[Cursor], start: bytes) -> Iterator[bytes]:
    """The key ends from `start` on that every cursor has; the cost depends on the rarest prefix, not on the sum."""
    first, others = cursors[0], cursors[1:]
    here = first.leap(start)
    while here is not None:
        missed = _missed(others, here)
        if missed == here:
            yield here
            here = first.step()
        else:
            here = None if missed is None else first.leap(missed)


def _missed(others: Sequence[Cursor], here: bytes) -> bytes | None:
    """`here` if all cursors have it, else the next candidate; None when one of them has ended."""
    for cursor in others:
        found = cursor.leap(here)
        if found != here:
            return found
    return here


def union(walks: Sequence[Iterator[bytes]], *, back: bool) -> Iterator[bytes]:
    """The key ends of all iterators in one order, each once."""
    for end, _same in groupby(merge(*walks, reverse=back)):
        yield end
