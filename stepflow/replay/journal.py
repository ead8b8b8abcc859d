"""Journal: what a run has recorded, and which part of that the present attempt has used up; in memory, for one attempt."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import Factory, define, evolve, field

from stepflow.errors import Cancelled, DefinitionError, ReplayMismatch, StepflowError, TooLarge
from stepflow.model.codec import Codec
from stepflow.model.error_text import is_a
from stepflow.model.scalars import short_repr
from stepflow.model.topic import message_id, topic_of
from stepflow.replay.branches import MARK, Branch, sort_out
from stepflow.replay.effects import Note, Suspension
from stepflow.replay.host import Host, Published, Recorded, Stored

LARGEST_KEY = 500  # bytes
MOST_ROWS, MOST_BYTES = 50_000, 64 * 1024 * 1024  # of a journal, which is read for each attempt
UNFINISHED = {
    "attempt": "step",
    "intent": "step",
    "wait": "event",
    "choice": "first",
    "topic_wait": "topic",
    "transaction_attempt": "transaction",
}  # kinds of rows that a later row of the same key replaces, and its kind
TAKEN = {
    "topic": 1,
    "first": 2,
}  # kinds of rows that may name a message: the place of its id in the row's list, before its time
ONCE = "once"  # the kind of rows that are not of the workflow's own calls
OPTIONAL = "?"  # ends the kind of such a row
GATHER = "wf.gather(...)"  # in place of the key of a gather, which has none
CANCELLED = "cancelled"  # the kind of the row of the call that raised Cancelled; recorded as failed
MADE = f"{CANCELLED}:"  # begins the kind of such a row whose call was made: behind it is the kind that it had, and its text is the value


_ANY: Codec[Any] = Codec()


class Suspended(BaseException):
    """Ends an attempt at a call that cannot go on now: not an Exception, so that `except Exception` does not swallow it."""


Row = TypeVar("Row", bound=Stored)


@define(eq=False)
class Journal:
    """The rows of a run that this attempt has not read yet, and how the attempt ended.

    `problem` is the first wrong use that was found: it blocks the run, whatever the function does with the exception.
    `suspension` is set when the attempt has to end here; `failures` are the exceptions that recorded failures raised, by key.
    """

    flow: str
    run_id: str
    host: Host
    left: dict[str, Recorded]
    events: list[Published]
    codec: Codec[Any] = _ANY  # of the input
    unfinished: int = 0  # attempts of the first step that begins which died or were interrupted
    woken: int = 0  # microseconds UTC: what the run slept for until then is over, as a caller woke it
    resolution: Mapping[str, str | None] | None = None  # of a call of unknown outcome: `step`, `value`, `error`
    optional: dict[str, Recorded] = Factory(
        dict
    )  # rows that were written after a failure that is tried again: they need not be read
    used: set[str] = Factory(set)
    size: int = 0  # characters of the values that were recorded before this attempt
    failures: dict[str, Exception] = Factory(dict)
    suspension: Suspension | None = None
    problem: StepflowError | None = None
    cancelled: bool = False  # Cancelled was raised
    unmade: tuple[str, int] = ("", 0)  # the call that raised it before it did anything, and how many had begun
    renewed: str | None = None  # the text of the input with which the run begins anew
    over: bool = False  # the time for undoing after a cancel has passed
    broken: BaseException | None = None  # what ended a call without a record of it, e.g. SystemExit
    broken_in: Branch | None = None  # the branch that made that call
    went_on: bool = False  # the code of that branch, or of one around it, made another call after that
    made: list[str] = Factory(list)  # the keys of the calls that an async workflow has made
    begun: int = 0  # how many calls have begun; it has not awaited the others that it made
    branch: Branch = Factory(Branch)  # the one that makes the present call
    later: dict[str, dict[str, Recorded]] = Factory(dict)  # rows of branches that have not begun, by path and key
    forks: int = 0  # gathers that go on
    parent: str = ""  # begins the ids of children; empty: the id of the run
    leaving: bool = False  # a branch has found that the attempt shall end
    rows: Iterable[Recorded] = ()  # all that were recorded before this attempt
    started: int = 0  # when the run was created, microseconds UTC
    topics: Mapping[str, tuple[int, list[str]]] = Factory(
        dict
    )  # messages taken before it began anew: the last ones of each topic
    _taken: dict[str, int] | None = None
    topic_waits: list[str] = Factory(list)  # the topics for which calls of this attempt wait
    perform: Callable[[Any], Awaitable[Any]] = field(init=False)  # carries out an effect of a call

    @classmethod
    def of(cls, flow: str, run_id: str, host: Host, rows: Collection[Recorded], events: Sequence[Published]) -> Journal:
        """The journal at the beginning of an attempt."""
        if not rows:
            return cls(flow, run_id, host, {}, list(events))
        left = {row.key: row for row in rows}
        kinds = {row.kind for row in left.values()}
        if ONCE in kinds:
            left = {key: row for key, row in left.items() if row.kind != ONCE}
        journal = cls(flow, run_id, host, left, list(events))
        journal.rows = rows
        journal.size = sum([len(row.text) for row in left.values()])
        if any(kind.endswith(OPTIONAL) for kind in kinds):
            for key in [key for key, row in left.items() if row.kind.endswith(OPTIONAL)]:
                row = left.pop(key)
                kind = row.kind.removesuffix(OPTIONAL)
                journal.optional[key] = _plain(row, kind.partition(MARK)[0])
        if any(kind.startswith(MADE) for kind in kinds):
            for key, row in left.items():
                if row.kind.startswith(MADE):
                    _kind, mark, path = row.kind.partition(MARK)
                    left[key] = _plain(row, f"{CANCELLED}{mark}{path}")
        if any(MARK in kind for kind in kinds):
            journal.later = sort_out(left, _plain)
        return journal

    @property
    def taken(self) -> dict[str, int]:
        """The messages that the run has taken from topics, and when each was published."""
        if self._taken is None:
            self._taken = self._taken_before()
        return self._taken

    def _taken_before(self) -> dict[str, int]:
        found = {message: at for at, some in self.topics.values() for message in some}
        for row in self.rows:
            place = TAKEN.get(row.kind.partition(MARK)[0].removesuffix(OPTIONAL))
            raw = None if place is None else json.loads(row.text)
            if isinstance(raw, list) and place is not None and len(raw) == place + 2:
                found[raw[place]] = raw[place + 1]
        return found

    def start_of(self, topic: str) -> int:
        """Since when the messages of a topic count for this run: since it was created, and behind those that it had taken when it began anew."""
        return max(self.started, self.topics.get(message_id(topic, ""), (0, ()))[0])

    def last_taken(self) -> dict[str, tuple[int, list[str]]]:
        """`topics` for the journal of a run that begins anew now."""
        if not self.topics and not self.taken:
            return {}
        found: dict[str, tuple[int, list[str]]] = {}
        for message, at in self.taken.items():
            topic = topic_of(message)
            last, some = found.get(topic, (at, []))
            found[topic] = (at, [message]) if at > last else (last, [*some, message] if at == last else some)
        return found

    def switch(self, branch: Branch) -> None:
        """Let the next calls be those of this branch."""
        if branch is not self.branch:
            last, self.branch = self.branch, branch
            last.left, last.suspension, last.cancelled = self.left, self.suspension, self.cancelled
            self.left, self.suspension, self.cancelled = branch.left, branch.suspension, branch.cancelled

    def is_cancelled(self, branch: Branch) -> bool:
        """Whether Cancelled was raised in this branch, which need not be the present one."""
        return self.cancelled if branch is self.branch else branch.cancelled

    def fork(self, count: int) -> list[Branch]:
        """The branches of a gather, which the present branch begins."""
        self.forks += 1
        self.branch.cancelled = self.cancelled
        return self.branch.calls(count, self.later)

    def ended(self, branch: Branch) -> None:
        """The code of a branch returned: raises ReplayMismatch if it did not come by everything that the branch has recorded."""
        inside = [rows.values() for path, rows in self.later.items() if path.startswith(f"{branch.path}/")]
        unread = [*branch.left.values(), *(row for rows in inside for row in rows)]
        if unread:
            raise self.wrong(self._diverged(unread, "the end of the call"))

    @property
    def ends(self) -> bool:
        """Whether the attempt ends, whatever the branches of a gather do."""
        return self.leaving or self.problem is not None or self.broken is not None

    def check(self, verb: str, key: str) -> None:
        """Raises Suspended when the attempt is ending, DefinitionError for a call from a wrong place."""
        if self.forks:  # others went on since this branch made its last call
            self.switch(self.host.branch() or self.branch)
        if problem := self.host.misplaced():
            raise self.wrong(DefinitionError(f"{self.flow}: wf.{verb}({short_repr(key)}) {problem}"))
        if self.forks and self.host.paused:
            self.leaving = True
        if self.suspension is not None or self.leaving or self.problem is not None:
            raise Suspended  # with a problem the run is blocked, whatever the function catches
        if self.broken is not None:
            self.went_on = self.went_on or self.branch.is_around(self.broken_in)
            raise self.broken

    def enter(self, verb: str, key: str) -> None:
        """A call of the context begins. Raises Suspended when the attempt is ending, DefinitionError for a wrong use."""
        self.begun += 1
        ends = self.suspension is not None or self.leaving or self.problem is not None or self.broken is not None
        if ends or self.forks or self.host.misplaced():  # `check` says what is wrong, if anything is
            self.check(verb, key)
        if type(key) is not str or key not in self.left:  # a recorded key is a good one, and was counted
            if not is_key(key):
                raise self._no_key(verb, key)
            if len(self.used) >= MOST_ROWS or self.size > MOST_BYTES:
                raise self._too_large(1)
        if key in self.used:
            raise self._used_before(verb, key)
        self.used.add(key)

    def _no_key(self, verb: str, key: object) -> StepflowError:
        return self.wrong(
            DefinitionError(
                f"{self.flow}: wf.{verb}({short_repr(key)}): give a key, a non-empty text of at most {LARGEST_KEY} bytes"
                " without NUL and halves of surrogate pairs, which no other call of this workflow has"
            )
        )

    def enter_items(self, verb: str, keys: Sequence[str]) -> None:
        """A call that makes several others begins: their keys count as used. Raises as `enter`."""
        if keys and not _fits(keys[-1]):
            raise self.wrong(
                DefinitionError(
                    f"{self.flow}: wf.{verb}: the key {keys[-1]!r} of an item has more than {LARGEST_KEY} bytes"
                )
            )
        if again := self.used.intersection(keys):
            raise self._used_before(verb, min(again))
        if len(self.used) + len(keys) > MOST_ROWS or self.size > MOST_BYTES:
            raise self._too_large(len(keys))
        self.used.update(keys)

    def _used_before(self, verb: str, key: str) -> StepflowError:
        return self.wrong(
            DefinitionError(
                f"{self.flow}: wf.{verb}({key!r}): the key was used before in this workflow; give each call one of its own, "
                'in a loop e.g. f"send/{n}"'
            )
        )

    def _too_large(self, more: int) -> TooLarge:
        return TooLarge(
            f"{self.flow}: the journal of run {self.run_id!r} has {len(self.used):,} calls and {self.size:,} characters, of at most"
            f" {MOST_ROWS:,} and {MOST_BYTES:,}: call wf.continue_as_new(input) before that, or store large values elsewhere"
            + (f"; {more:,} more calls were to be made" if more > 1 else "")
        )

    def take(self, kind: str, key: str, name: str = "", renamed: str | None = None) -> Recorded | None:
        """The recorded row of a call, None if the call is new; raises ReplayMismatch if another one was recorded."""
        row = self.left.get(key)
        if row is not None and row.kind == kind and row.name == name:  # as nearly all are
            del self.left[key]
            return row
        if row is not None or self.optional:
            row = self.take_if_there(kind, key, name, renamed)
        if row is None and (self.left or self.later or self.branch.parent is not None):
            self.nothing_left(f"{kind} {key!r}{_of(name)}")
        return row

    def nothing_left(self, attempted: str) -> None:
        """Something new begins: raises ReplayMismatch if there are rows that the workflow did not come by."""
        if unread := self.unread():
            raise self.wrong(self._diverged(unread, f"{attempted}, which is not in it"))

    def unread(self) -> list[Recorded]:
        """The rows that must be read before the present branch does something new."""
        self.branch.left = self.left
        return list(self.branch.unread(self.later))

    def take_if_there(self, kind: str, key: str, name: str = "", renamed: str | None = None) -> Recorded | None:
        """`take` for a call that need not be recorded although others are: an item of a map."""
        row = self.left.pop(key, None) or self.optional.pop(key, None)
        if row is None:
            return None
        same_kind = row.kind == kind or UNFINISHED.get(row.kind) == kind or row.kind == CANCELLED
        if not same_kind or (row.name != name and row.name and name and row.name != renamed):
            recorded = f"{UNFINISHED.get(row.kind, row.kind)} {key!r}{_of(row.name)}"
            raise self.mismatch(recorded, f"{kind} {key!r}{_of(name)}")
        return row

    def finished(self, how: str = "the end of the function") -> None:
        """The function ended, as `how` tells: raises ReplayMismatch if it did not come by everything that is recorded."""
        if not self.left and not self.later and self.branch.parent is None:
            return
        if unread := self.unread():
            raise self.wrong(self._diverged(unread, how))

    def unheard(self, raised: BaseException | None) -> str | None:
        """None if the function, which has ended, has heard of a cancel, or failed by itself; else the key of the call that raised Cancelled and did nothing, if one did.

        A call that comes after that one, to undo what was done, shows that the function has heard of it.
        """
        if self.cancelled:
            key, begun = self.unmade
            return key if key and begun == self.begun and is_a(raised, Cancelled) else None
        return "" if self.renewed is not None or (raised is None and self.suspension is None) else None

    def broke_off(self, error: BaseException) -> None:
        """A call ended without a record: no other call may follow, since a replay would make this one again."""
        if not is_a(error, Suspended):
            self.broken, self.broken_in = error, (self.host.branch() if self.forks else None) or self.branch

    def suspend(self, suspension: Suspension) -> Suspended:
        """End the attempt here; the exception is to be raised."""
        path = self.branch.path
        if path and not suspension.at:
            self.leaving = True
        else:
            rows = tuple([row if row.branch else row._replace(branch=path) for row in suspension.rows])
            self.suspension = evolve(suspension, rows=rows) if path and rows else suspension
        return Suspended()

    def wrong(self, problem: StepflowError) -> StepflowError:
        """Note a wrong use, which is to be raised."""
        self.problem = self.problem or problem
        return problem

    def _diverged(self, unread: Sequence[Recorded], attempted: str) -> ReplayMismatch:
        row = unread[0]
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        return self._mismatch(f"{UNFINISHED.get(row.kind, row.kind)} {row.key!r}{_of(row.name)}{more}", attempted)

    def mismatch(self, recorded: str, attempted: str) -> StepflowError:
        """The workflow does something else than it did: to be raised."""
        return self.wrong(self._mismatch(recorded, attempted))

    def _mismatch(self, recorded: str, attempted: str) -> ReplayMismatch:
        return ReplayMismatch(self.flow, self.run_id, recorded, attempted)


def _plain(row: Recorded, kind: str) -> Note:
    return Note(row.key, kind, row.name, row.text, row.failed)


def optional_after(rows: Iterable[Row], key: str) -> tuple[Row, ...]:
    """The failure `key` is tried again: the rows that were written after it, e.g. in a `finally`, which may come again but need not."""
    rows = list(rows)
    since = next((row.seq for row in rows if row.key == key), 0)
    later = [row for row in rows if row.seq > since and row.kind != ONCE]
    return tuple(row._replace(kind=row.kind.removesuffix(OPTIONAL) + OPTIONAL) for row in later)


def cancelled_in_last(rows: Sequence[Row]) -> Row | None:
    """In place of the row of the last call: the call raises Cancelled, although its value, which the row keeps, is recorded.

    None if a call has raised Cancelled, or none is recorded.
    """
    calls = [row for row in rows if row.kind != ONCE and not row.kind.endswith(OPTIONAL)]
    if not calls or any(is_cancel(row.kind) for row in calls):
        return None
    last = calls[-1]
    kind, mark, path = last.kind.partition(MARK)
    made = CANCELLED if last.failed or kind in UNFINISHED else f"{MADE}{kind}"
    return last._replace(kind=f"{made}{mark}{path}", failed=True)


def is_cancel(kind: str) -> bool:
    """Whether a row of this kind is that of a call which raised Cancelled."""
    return kind.partition(MARK)[0].partition(":")[0] == CANCELLED


def as_if_uncancelled(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows that a run had when it first raised Cancelled, without that: what came later undid it. A call that was made has its value."""
    rows = list(rows)
    first = min([row.seq for row in rows if is_cancel(row.kind)], default=None)
    if first is None:
        return tuple(rows)
    made = [
        row._replace(kind=row.kind.removeprefix(MADE), failed=False)
        for row in rows
        if row.seq == first and row.kind.startswith(MADE)
    ]
    return (*[row for row in rows if row.seq < first], *made)


def is_key(key: object) -> bool:
    """Whether this can be the key of a call."""
    return isinstance(key, str) and key != "" and "\0" not in key and _fits(key)


def _fits(key: str) -> bool:
    """Whether the key is not too long, and has a form in UTF-8."""
    if key.isascii():
        return len(key) <= LARGEST_KEY
    try:
        return len(key.encode()) <= LARGEST_KEY
    except UnicodeEncodeError:
        return False


def _of(name: str) -> str:
    return f" of {name}" if name else ""
