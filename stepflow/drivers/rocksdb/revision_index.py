"""revision_index: the index of revisions by number, with one record for the consecutive revisions of a batch.

The key of a record is its first revision; the value is the commit time and the ids of the runs. A pruned revision has an empty id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.keys import END, NUMBER, Change, Keys, after, number, read_number
from stepflow.drivers.rocksdb.overlay import Overlay

Place = tuple[bytes, int]
"""A revision: the run's id as part of a key, and its rev."""


class Block:
    """Consecutive revisions that are not written yet; `codes` are the ids of their runs as parts of keys."""

    __slots__ = ("_now", "_puts", "_revs", "codes")

    def __init__(self, keys: Keys, puts: Change, now: int) -> None:
        self._revs, self._puts, self._now, self.codes = keys.revs, puts, number(now), list[bytes]()

    def write(self, last: int) -> None:
        """Write the revisions of these runs, the last of which is `last`; other ones may follow."""
        if self.codes:
            self._puts[self._revs + number(last + 1 - len(self.codes))] = self._now + b"".join(self.codes)
            self.codes.clear()


def alone(keys: Keys, rev: int, now: int, code: bytes) -> tuple[bytes, bytes]:
    """Key and record of a single revision."""
    return keys.revs + number(rev), number(now) + code


def _codes(record: bytes) -> list[bytes]:
    """The ids of a record, without their end marks; a pruned revision has the empty id, which no run has."""
    return record[NUMBER:].split(END)[:-1]


def places(key: bytes, record: bytes, prefix: int) -> list[Place]:
    """The revisions of a record whose key has a prefix of that length."""
    first = read_number(key, prefix)
    return [(code + END, first + n) for n, code in enumerate(_codes(record)) if code]


def walk(disk: Disk, keys: Keys, first: int, last: int | None, since: int, *, back: bool) -> Iterator[Place]:
    """The revisions from `first` to `last` that were committed at `since` or later, as of this call."""
    prefix = keys.revs
    # The record that contains the first one may have a lower key.
    start = prefix + (disk.cursor(prefix, back=True).leap(number(first)) or number(first))
    stop = after(prefix) if last is None else prefix + number(last + 1)
    rows = disk.scan_back(stop, start) if back else disk.scan(start, stop)
    return _within(rows, len(prefix), first, last, since, back)


def _within(
    rows: Iterable[tuple[bytes, bytes]], prefix: int, first: int, last: int | None, since: int, back: bool
) -> Iterator[Place]:
    for key, record in rows:
        if read_number(record, 0) >= since:
            found = places(key, record, prefix)
            for place in reversed(found) if back else found:
                if first <= place[1] and (last is None or place[1] <= last):
                    yield place


class Finder:
    """Looks up revisions, as of the time when it was created."""

    def __init__(self, disk: Disk, keys: Keys) -> None:
        self._cursor, self._prefix = disk.cursor(keys.revs, back=True), keys.revs

    def find(self, rev: int) -> tuple[bytes, int] | None:
        """The id of a revision's run as part of a key, and its commit time; None if there is no such revision."""
        key, record = self.record(rev)
        found = [code for code, other in places(key, record, 0) if other == rev] if record else []
        return (found[0], read_number(record, 0)) if found else None

    def record(self, rev: int) -> tuple[bytes, bytes]:
        """The end of the key, and the record, that may contain this revision; both empty if there is none."""
        key = self._cursor.leap(number(rev))
        return (b"", b"") if key is None else (key, self._cursor.record)

    def forget(self, overlay: Overlay, rev: int) -> None:
        """Remove a revision from its record; the record is deleted with its last one."""
        end, stored = self.record(rev)
        key = self._prefix + end
        record = overlay.puts.get(key, stored) or b""
        codes = _codes(record)
        at = rev - read_number(end, 0) if record else 0
        if at < len(codes):
            codes[at] = b""
            overlay.puts[key] = record[:NUMBER] + b"".join(code + END for code in codes) if any(codes) else None
