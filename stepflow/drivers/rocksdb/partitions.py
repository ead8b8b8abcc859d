"""Partitions: finds the next unowned queue rows, at a cost that does not depend on sleeping and deleted rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from stepflow.drivers.port.turns import Order
from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.empty_ranges import EmptyRanges
from stepflow.drivers.rocksdb.index import HELD_BACK, LIMITED, PLAIN, SUSPECTED, Kind, partition_prefix
from stepflow.drivers.rocksdb.keys import NUMBER, Keys, after, number, read_number, read_text
from stepflow.model.lifecycle import QueueRow, Status


class RocksdbPartition:
    """The rows of one flow, kind and priority by (due, key). No row has a key before `floor`, none is due before `due`."""

    def __init__(self, prefix: bytes, floor: bytes, due: int, unreadable: Collection[bytes]) -> None:
        self.prefix, self.floor, self.due, self._unreadable = prefix, floor, due, unreadable
        self._gaps = EmptyRanges(len(prefix))

    def added(self, key: bytes, due: int) -> None:
        """A row was put at `key`."""
        self._gaps.added(key)
        if key < self.floor:
            self.floor, self.due = key, due

    def first(self, priority: int) -> Order:
        """A place in the order of claims that no row of it comes before."""
        at = len(self.prefix)
        known = read_number(self.floor, at) == self.due  # else the floor is no key of a row
        return priority, self.due, read_text(self.floor, at + NUMBER)[0] if known else ""

    def _keys(self, disk: Disk, stop: bytes) -> Iterator[tuple[bytes, int]]:
        """Key and due of the rows before `stop`."""
        for start, end in self._gaps.between(self.floor, stop):
            for key, _none in disk.scan(start, end):
                if not self._unreadable or key[len(self.prefix) + NUMBER :] not in self._unreadable:
                    yield key, read_number(key, len(self.prefix))

    def rows(self, disk: Disk, now: int) -> Iterator[tuple[int, str]]:
        """Due and key of the rows that are due at `now`, in order."""
        if self.due > now:
            return
        stop = self.prefix + number(now) + b"\xff"  # after every key that is due at `now`
        first = True
        for key, due in self._keys(disk, stop):
            if first:
                self.floor, self.due, first = key, due, False
            yield due, read_text(key, len(self.prefix) + NUMBER)[0]
        if first:
            self.floor, self.due = stop, now + 1

    def head(self, disk: Disk) -> int | None:
        """The earliest due time, None when the partition is empty."""
        stop = after(self.prefix)
        for key, due in self._keys(disk, stop):
            self._gaps.learn(self.floor, key)
            self.floor, self.due = key, due
            return due
        self._gaps.learn(self.floor, stop)
        return None


class Partitions:
    """All unowned rows of a namespace."""

    def __init__(self, disk: Disk, keys: Keys) -> None:
        self._disk, self._keys = disk, keys
        self.unreadable: set[bytes] = set()  # the keys of rows that were found damaged: they are passed over
        self._partitions: defaultdict[str, dict[Kind, dict[int, RocksdbPartition]]] = defaultdict(dict)
        self._recover()

    def _recover(self) -> None:
        """Find all partitions by seeking from one prefix to the next."""
        start, stop = self._keys.partitions, after(self._keys.partitions)
        while (first := next(self._disk.scan(start, stop), None)) is not None:
            key = first[0]
            flow, at = read_text(key, len(self._keys.partitions))
            told, end = read_text(key, at + 1)
            prefix = key[: end + NUMBER]
            partition = RocksdbPartition(prefix, key, read_number(key, end + NUMBER), self.unreadable)
            kind = (key[at : at + 1], told)
            self._partitions[flow].setdefault(kind, {})[read_number(key, end)] = partition
            start = after(prefix)

    def added(self, row: QueueRow, kind: Kind, code: bytes) -> None:
        """A row without an owner was written."""
        prefix = partition_prefix(self._keys, row)
        key = prefix + number(row.due) + code
        partition = (
            self._partitions[row.flow]
            .setdefault(kind, {})
            .setdefault(row.priority, RocksdbPartition(prefix, key, row.due, self.unreadable))
        )
        partition.added(key, row.due)

    def _of(self, flow: str, definition: str) -> Iterator[tuple[Kind, int, RocksdbPartition]]:
        """(kind, priority, partition) of all partitions without limits that this definition may claim."""
        for (letter, told), partitions in self._partitions[flow].items() if flow in self._partitions else ():
            if letter not in (LIMITED, HELD_BACK) and told != definition:
                for priority in partitions:
                    yield (letter, told), priority, partitions[priority]

    def lines(self, flow: str, now: int) -> dict[str, int]:
        """The texts of limits with runs of the flow that may be due at `now`, each with a lower bound of their due times."""
        found: dict[str, int] = {}
        for (letter, told), partitions in self._partitions.get(flow, {}).items():
            if letter == LIMITED:
                due = min((partition.due for partition in partitions.values()), default=now + 1)
                if due <= now:
                    found[told] = due
        return found

    def lines_in_order(self, flow: str, now: int) -> list[tuple[Order, str]]:
        """The texts of all lines of a flow that may have due rows, in the order of the first place that a row of them can have."""
        return sorted(
            (min(one.first(priority) for priority, one in partitions.items() if one.due <= now), text)
            for (letter, text), partitions in self._partitions.get(flow, {}).items()
            if letter == LIMITED and any(one.due <= now for one in partitions.values())
        )

    def plain(self, flow: str, now: int, limit: int, skip: Collection[str]) -> list[Order]:
        """The first rows of a flow that are neither limited, blocked nor suspect: `limit` of them, if there are so many."""
        partitions = self._partitions[flow].get((PLAIN, ""), {}) if flow in self._partitions else {}
        return self._first(sorted(partitions.items()), now, limit, skip)

    def special(
        self, flow: str, definition: str, now: int, limit: int, suspects: bool, skip: Collection[str]
    ) -> list[Order]:
        """The first rows of a flow that are suspects, or that only other definitions cannot advance; some have limits."""
        partitions = [
            (p, partition)
            for (letter, told), p, partition in self._of(flow, definition)
            if (letter == SUSPECTED) is suspects and (letter == SUSPECTED or told)
        ]
        return self._first(sorted(partitions, key=lambda item: item[0]), now, limit, skip)

    def limited(self, flow: str, limits: str, now: int, limit: int, skip: Collection[str]) -> list[Order]:
        """The first `limit` rows of one flow with these limits; empty partitions are dropped."""
        known, kind = self._partitions[flow], (LIMITED, limits)
        found = sorted(self._first(sorted(known[kind].items()), now, limit, skip))[:limit]
        if not found:
            self.is_empty(flow, limits)
        return found

    def is_empty(self, flow: str, limits: str) -> bool:
        """Whether no row of a flow has these limits; their partitions are dropped then."""
        known, kind = self._partitions[flow], (LIMITED, limits)
        if any(partition.head(self._disk) is not None for partition in known[kind].values()):
            return False
        del known[kind]
        return True

    def _first(
        self, partitions: list[tuple[int, RocksdbPartition]], now: int, limit: int, skip: Collection[str]
    ) -> list[Order]:
        """At least `limit` rows by priority, if there are so many; reads all partitions of equal priority."""
        found: list[Order] = []
        last = None
        for priority, partition in partitions:
            if len(found) >= limit and priority != last:
                break
            last, admission = priority, limit
            for due, key in partition.rows(self._disk, now):
                if key in skip:
                    continue
                found.append((priority, due, key))
                admission -= 1
                if not admission:
                    break
        return found

    def next_due(self, flows: Mapping[str, str], now: int) -> int | None:
        """The earliest due time of a row that a worker of these flows may claim; of rows with limits only after `now`."""
        partitions = [partition for flow, definition in flows.items() for _, _, partition in self._of(flow, definition)]
        for flow in flows:
            for (letter, _told), waiting in self._partitions.get(flow, {}).items():
                partitions += [partition for partition in waiting.values() if letter == LIMITED and partition.due > now]
        best: int | None = None
        for partition in sorted(partitions, key=lambda partition: partition.due):
            if best is not None and partition.due >= best:
                break
            head = partition.head(self._disk)
            if head is not None and (best is None or head < best):
                best = head
        return best

    def later(self, flows: Collection[str], now: int) -> list[Iterator[tuple[bytes, bytes]]]:
        """The rows of these flows that are due after `now`, as of this call, without blocked ones."""
        waiting = [
            partition
            for flow in flows
            for (letter, told), partitions in self._partitions.get(flow, {}).items()
            if letter == LIMITED or (letter != HELD_BACK and not told)
            for partition in partitions.values()
        ]
        return [self._disk.scan(partition.prefix + number(now + 1), after(partition.prefix)) for partition in waiting]

    def unblocked(self) -> list[bytes]:
        """The prefixes of the partitions of all rows that are not blocked."""
        return [
            partition.prefix
            for kinds in self._partitions.values()
            for (letter, told), partitions in kinds.items()
            if letter == LIMITED or (letter != HELD_BACK and not told)
            for partition in partitions.values()
        ]

    def blocked(self, flows: Collection[str]) -> list[Iterator[tuple[bytes, bytes]]]:
        """The blocked rows of these flows, as of this call."""
        return [
            self._disk.scan(partition.prefix, after(partition.prefix))
            for flow in flows
            for (letter, told), partitions in self._partitions.get(flow, {}).items()
            if letter != LIMITED and told
            for partition in partitions.values()
        ]

    def rare(self, status: Status, now: int) -> list[Iterator[str]] | None:
        """The keys of the rows that may have this status, as of this call, and of few others; None if most rows may have it."""
        if status is Status.RUNNING:
            held = self._disk.scan(self._keys.held, after(self._keys.held))
            return [(read_text(key, read_text(key, len(self._keys.held))[1])[0] for key, _none in held)]
        if status not in (Status.BLOCKED, Status.PAUSED, Status.QUEUED):
            return None
        partitions = [
            one
            for kinds in self._partitions.values()
            for (letter, told), some in kinds.items()
            if _may_be(status, letter, told)
            for one in some.values()
        ]
        walks = [self._until(one.prefix, now if status is Status.QUEUED else None) for one in partitions]
        unreadable = [read_text(code, 0)[0] for code in self.unreadable]
        return [*walks, iter(unreadable)] if status is Status.BLOCKED else walks

    def _until(self, prefix: bytes, now: int | None) -> Iterator[str]:
        """The keys of the rows of a partition, as of this call; those that are due `now`, if it is given."""
        rows = self._disk.scan(prefix, after(prefix) if now is None else prefix + number(now + 1))
        return (read_text(key, len(prefix) + NUMBER)[0] for key, _none in rows)

    def suspects(self, flows: Mapping[str, str], now: int) -> int:
        """The number of due suspects that a worker of these flows may claim."""
        return sum(
            1
            for flow, definition in flows.items()
            for (letter, _told), _, partition in self._of(flow, definition)
            if letter == SUSPECTED
            for _ in partition.rows(self._disk, now)
        )


def _may_be(status: Status, letter: bytes, told: str) -> bool:
    """Whether rows of this kind may have the status: blocked, paused, or queued."""
    if letter == HELD_BACK:
        return status is Status.PAUSED
    blocked = told != "" and letter != LIMITED
    return status is (Status.BLOCKED if blocked else Status.QUEUED) or (letter == SUSPECTED and status is Status.QUEUED)
