"""Overlay: what a batch is about to change, in layers, so that one member can be dropped alone."""

from __future__ import annotations

from typing import Protocol

from attrs import define

from stepflow.drivers.rocksdb.records import RunRecord
from stepflow.model.lifecycle import EPOCH, QueueRow
from stepflow.model.state import new_tuple


@define
class Head:
    """The last revision, epoch and event seq that were given, for all namespaces."""

    rev: int = 0
    epoch: int = 0
    seq: int = 0

    def copy(self) -> Head:
        """A Head of its own."""
        return Head(self.rev, self.epoch, self.seq)

    def back(self, to: Head) -> None:
        """Forget what was given since `to` was copied."""
        self.rev, self.epoch, self.seq = to.rev, to.epoch, to.seq


class Below(Protocol):
    """What lies under a overlay: another overlay, or the tables."""

    def run(self, run_id: str) -> RunRecord | None:
        """The run of that id."""

    def row(self, key: str) -> QueueRow | None:
        """The queue row of that key."""

    def value(self, key: bytes) -> bytes | None:
        """The record at a key."""

    def refuses(self, run_id: str) -> bool:
        """Whether the id is that of a pruned run and cannot be started."""

    def beneath(self, prefix: bytes, start: int) -> dict[bytes, bytes]:
        """The records from number `start` on whose keys begin with `prefix`, in their order."""


class Overlay:
    """Changed runs, queue rows and records over what is `below`; `puts` holds new values by key, None deletes.

    `by_prefix` are records that are looked for by prefix (events, journal rows), `gone` runs to be forgotten.
    """

    __slots__ = ("below", "by_prefix", "first_tick", "gone", "head", "puts", "rows", "runs")

    def __init__(self, below: Below, head: Head) -> None:
        self.below, self.head = below, head
        self.runs: dict[str, RunRecord] = {}
        self.rows: dict[str, QueueRow | None] = {}
        self.puts: dict[bytes, bytes | None] = {}
        self.by_prefix: dict[bytes, bytes | None] = {}
        self.gone: set[str] = set()
        self.first_tick: bytes | None = None  # the first key that it adds to the index of schedules

    def member(self) -> Overlay:
        """A layer over this one, to be absorbed or forgotten; the numbers of `head` are given for both."""
        return Overlay(self, self.head)

    def absorb(self, member: Overlay) -> None:
        """Take over what a member changed."""
        self.puts.update(member.puts)
        self.runs.update(member.runs)
        self.rows.update(member.rows)
        if member.by_prefix:
            self.by_prefix.update(member.by_prefix)
        if member.first_tick is not None:
            self.ticks(member.first_tick)

    def ticks(self, key: bytes) -> None:
        """A key is added to the index of schedules."""
        self.first_tick = key if self.first_tick is None else min(key, self.first_tick)

    def run(self, run_id: str) -> RunRecord | None:
        """The run of that id, as this overlay leaves it."""
        found = self.runs.get(run_id)
        return self.below.run(run_id) if found is None else found

    def row(self, key: str) -> QueueRow | None:
        """The queue row of that key, as this overlay leaves it."""
        return self.rows[key] if key in self.rows else self.below.row(key)

    def value(self, key: bytes) -> bytes | None:
        """The record at a key, as this overlay leaves it."""
        return self.puts[key] if key in self.puts else self.below.value(key)

    def beneath(self, prefix: bytes, start: int) -> dict[bytes, bytes]:
        """The records in `by_prefix` from number `start` on whose keys begin with `prefix`, as this overlay leaves them, in order."""
        found = self.below.beneath(prefix, start)
        for key, value in self.by_prefix.items():
            if key.startswith(prefix):
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = value
        return found

    def refuses(self, run_id: str) -> bool:
        """Whether the id is that of a pruned run and cannot be started."""
        return self.below.refuses(run_id)

    def copy(self, run: RunRecord) -> RunRecord:
        """A copy of a run, which this overlay changes."""
        changed = self.runs[run.id] = run.copy()
        return changed

    def epoch(self) -> int:
        """A new epoch."""
        self.head.epoch += 1
        return self.head.epoch

    def requeue(self, key: str, row: QueueRow) -> None:
        """Give a run or a delay this row, with a new epoch."""
        self.rows[key] = new_tuple(QueueRow, (*row[:EPOCH], self.epoch(), *row[EPOCH + 1 :]))
