"""The journal of a run: results of single calls, which are kept without a revision, and the query that reads them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from attrs import frozen


class JournalRow(NamedTuple):
    """One journalled call of a run, found by its `key`; a store interprets neither `kind` nor `name` nor `text`.

    `key` is a text without NUL, not empty. `kind` says what was called, `name` is the `__qualname__` of the function (empty
    for a lambda, a partial, and a call without a function), `text` is the JSON text of its value; with `failed` it is the
    stored form of its error. The store gives `seq`, which orders the rows of a run by the first writing of their keys (it
    ascends over all runs, with gaps, and is not given again), and `epoch`, that of the claim which wrote the row last. `at` is
    when the row was written last, microseconds UTC: the store gives the time of the commit to a row that comes without one; one that
    is copied keeps its own. It is 0, unknown, in a row that an older version wrote.
    """

    key: str
    kind: str
    name: str
    text: str
    failed: bool = False
    seq: int = 0
    epoch: int = 0
    at: int = 0


@frozen
class JournalQuery:
    """The journals of these runs; the answer is a tuple of rows for each, in the order of `ids`, by seq.

    Of each run only the rows with a seq above `after` and below `before`, and with the key `key`; of those the first `limit`, or with
    `last` the last ones. None is no condition.
    """

    ids: tuple[str, ...]
    limit: int | None = None
    last: bool = False
    after: int = 0
    before: int | None = None
    key: str | None = None

    @property
    def whole(self) -> bool:
        """Whether all rows are asked for."""
        return self.limit is None and not self.after and self.before is None and self.key is None

    def has(self, seq: int) -> bool:
        """Whether the conditions on `seq` allow this one."""
        return seq > self.after and (self.before is None or seq < self.before)


INTENT = "intent"  # the kind of a row that is written before a call which is made at most once
ONCE = "once"  # the kind of the rows that a step writes while it goes on


class Progress(Enum):
    """What a claim wrote to the journal of its run."""

    NONE = 0
    WITHIN_STEP = 1  # rows of the kinds ONCE and INTENT alone: the step that wrote them has not ended
    NEXT_CALL = 2  # another row: a call of a workflow ended


def progress_of(kinds: Iterable[str]) -> Progress:
    """What these kinds tell of the claim that wrote rows of them."""
    found = set(kinds)
    return Progress.NONE if not found else Progress.WITHIN_STEP if found <= {ONCE, INTENT} else Progress.NEXT_CALL


def is_forgotten(key: str, name: str) -> bool:
    """Whether a commit that forgets `name` deletes the row of this key: '' names all, 'step:' what begins with it."""
    return key == name or name == "" or (name[-1] == ":" and key.startswith(name))
