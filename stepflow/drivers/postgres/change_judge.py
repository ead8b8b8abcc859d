"""ChangeJudge: tells the changes of other sessions from the own ones, by marks that every change moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from attrs import frozen

from stepflow.drivers.postgres.transactions import Statement

# What every change of the store moves that other sessions must hear of: a sequence, or the inbox. One that neither makes a
# revision nor an epoch (a release, a pause of a flow, a schedule) draws a number for this alone.
INBOX = "(select count(*) from stepflow.inbox where shard = any({shards})), (select max(seq) from stepflow.inbox where shard = any({shards}))"
SEQUENCES = "r.last_value, r.is_called, e.last_value, e.is_called, s.last_value, s.is_called"
FROM_SEQUENCES = "stepflow.revs r, stepflow.epochs e, stepflow.seqs s"
MOVE: Statement = ("select nextval('stepflow.epochs')", ())

Marks = tuple[Any, ...]


@frozen
class Reading:
    """What marks tell: whether they moved at all, surely by another session, and whether those of the inbox did."""

    moved: bool
    others: bool
    posted: bool


class ChangeJudge:
    """Compares each reading of the marks with the one before; any thread may read.

    `doubtful` is true after the marks moved while this session wrote: the change may be its own. A reading of one thread may
    arrive after a later one of another thread: then a change counts twice, but never not at all.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun = self._done = 0  # own writes
        self._own = (0, 0)
        self._marks: Marks | None = None
        self._inbox: Marks | None = None
        self.doubtful = False

    @contextmanager
    def writing(self) -> Iterator[list[bool]]:
        """Around a write of this session; one that puts something into the list has changed nothing."""
        nothing: list[bool] = []
        with self._lock:
            self._begun += 1
        try:
            yield nothing
        finally:
            with self._lock:
                if nothing:
                    self._begun -= 1
                else:
                    self._done += 1

    def before(self) -> tuple[int, int]:
        """The own writes before a reading."""
        with self._lock:
            return self._begun, self._done

    def start(self, sequences: Marks, inbox: Marks) -> None:
        """The first reading, or one after which everything is looked at anyway."""
        with self._lock:
            self._own, self._marks, self._inbox = (self._begun, self._done), sequences, inbox

    def observe(self, before: tuple[int, int], sequences: Marks, inbox: Marks) -> Reading:
        """Judge a reading that was made after `before`."""
        with self._lock:
            begun, done = before
            now = self._begun, self._done
            quiet = before == self._own == now and begun == done
            posted = inbox != self._inbox
            moved = posted or sequences != self._marks
            self._own, self._marks, self._inbox = before, sequences, inbox
            others = moved and quiet
            self.doubtful = (self.doubtful or moved) and not others
            return Reading(moved, others, posted)
