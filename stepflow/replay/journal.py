"""Journal: what a run has recorded, and which part of that the present attempt has used up; in memory, for one attempt."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from attrs import Factory, define, evolve, frozen

from stepflow.errors import DefinitionError, ReplayMismatch, StepflowError, TooLarge
from stepflow.model.codec import Codec
from stepflow.model.scalars import short_repr
from stepflow.replay.branches import MARK, Branch, sort_out

LARGEST_KEY = 500  # bytes
MOST_ROWS, MOST_BYTES = 50_000, 64 * 1024 * 1024  # of a journal, which is read for each attempt
UNFINISHED = {
    "attempt": "step",
    "intent": "step",
    "wait": "event",
    "choice": "first",
    "transaction_attempt": "transaction",
}  # kinds of rows that a later row of the same key replaces, and its kind
OPTIONAL = "?"  # ends the kind of such a row
CANCELLED = "cancelled"  # the kind of the row of the call that raised Cancelled; recorded as failed


class Suspended(BaseException):
    """Ends an attempt at a call that cannot go on now: not an Exception, so that `except Exception` does not swallow it."""


class Recorded(Protocol):
    """A stored row of the journal."""

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def failed(self) -> bool: ...


class Stored(Recorded, Protocol):
    """A row as the store gives it: rows of a higher `seq` were written later."""

    @property
    def seq(self) -> int: ...
    def _replace(self, *, kind: str) -> Self: ...


Row = TypeVar("Row", bound=Stored)


class Published(Protocol):
    """An event that no wait has taken yet."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def payload(self) -> str: ...
    @property
    def published_at(self) -> int: ...
    @property
    def seq(self) -> int: ...


class StepCall(NamedTuple):
    """The step `key` to be called, as attempt number `attempt` (from 1); after `limit_s` seconds it fails with TimedOut, or UnknownOutcome."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    is_async: bool
    limit_s: float | None
    key: str
    attempt: int
    at_most_once: bool = False


class Transacted(NamedTuple):
    """A call in a transaction of the store, whose connection comes before the other arguments.

    `record(value)` gives the row to be committed with what the function wrote, and the value as a replay restores it; what it raises
    is the failure of the call, as what the function raises.
    """

    call: StepCall
    record: Callable[[Any], tuple[Note, Any]]


class Many(NamedTuple):
    """Calls to be made side by side, `width` at a time, in this order.

    `ended(call, error, value)` gives the rows to be recorded when a call has ended. Once `enough()` is true no call begins, and those
    that run are given up.
    """

    calls: Sequence[StepCall]
    width: int
    ended: Callable[[StepCall, Any, Any], list[Note]]
    enough: Callable[[], bool]


class Note(NamedTuple):
    """A row to be made durable before the workflow goes on; `consume` are the seqs of the events that it uses up."""

    key: str
    kind: str
    name: str
    text: str
    failed: bool = False
    consume: tuple[int, ...] = ()
    branch: str = ""  # the path of the branch that writes it


class Together(NamedTuple):
    """Coroutines of the workflow that go on side by side, each in a branch, which receives the error or the value."""

    calls: tuple[tuple[Branch, Coroutine[Any, Any, Any]], ...]


@frozen
class Suspension:
    """Where an attempt ended without an end of the run, and when it goes on.

    `at` is the position, e.g. `"sleep:cool-off/v1"`; empty if the claim shall only be released. `rows` are recorded with it. `due` (microseconds UTC, None:
    not by itself) and `events`, the names of the events that wake the run, say when; `error` is the stored failure of a step that is tried
    again as attempt number `attempt`. `also` are the positions of other branches that wait.
    """

    at: str = ""
    due: int | None = None
    rows: tuple[Note, ...] = ()
    events: tuple[str, ...] = ()
    error: str = ""
    attempt: int = 1
    also: tuple[str, ...] = ()


class Host(Protocol):
    """What the calls of a workflow need of the attempt that runs it."""

    def now(self) -> int:
        """Microseconds UTC."""

    def random_bytes(self, n: int) -> bytes:
        """`n` random bytes."""

    def uuid7(self) -> str:
        """A new UUID of version 7."""

    def misplaced(self) -> str:
        """Why a call may not be made where it is made now; empty if it may."""

    def branch(self) -> Branch | None:
        """The branch of the present task, if it is one of a gather."""

    def stopping(self) -> bool:
        """Whether the attempt shall end before its next new call."""

    def cancelling(self) -> bool:
        """Whether a cancel of the run was requested."""

    def transaction_problem(self, is_async: bool) -> str:
        """Why the store gives no transaction to a function, an async one if `is_async`; empty if it does."""

    def may_undo(self) -> bool:
        """Whether a cancelled workflow may still make calls."""

    def stored(self, error: Exception) -> str:
        """The text by which a failure is recorded."""

    def restored(self, key: str, text: str) -> Exception:
        """The exception that a recorded failure raises."""


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
    codec: Codec[Any] = Factory(Codec)  # of the input
    unfinished: int = 0  # attempts of the first step that begins which died or were interrupted
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
    renewed: str | None = None  # the text of the input with which the run begins anew
    over: bool = False  # the time for undoing after a cancel has passed
    broken: BaseException | None = None  # what ended a call without a record of it, e.g. SystemExit
    went_on: bool = False  # the function made another call after that
    made: int = 0  # calls of an async workflow
    unawaited: dict[int, str] = Factory(dict)  # the keys of those that it has not awaited
    branch: Branch = Factory(Branch)  # the one that makes the present call
    later: dict[str, dict[str, Recorded]] = Factory(dict)  # rows of branches that have not begun, by path and key
    forks: int = 0  # gathers that go on
    leaving: bool = False  # a branch has found that the attempt shall end

    @classmethod
    def of(cls, flow: str, run_id: str, host: Host, rows: Iterable[Recorded], events: Sequence[Published]) -> Journal:
        """The journal at the beginning of an attempt."""
        journal = cls(flow, run_id, host, {row.key: row for row in rows if row.kind != "once"}, list(events))
        journal.size = sum([len(row.text) for row in journal.left.values()])
        for key in [key for key, row in journal.left.items() if row.kind.endswith(OPTIONAL)]:
            row = journal.left.pop(key)
            kind = row.kind.removesuffix(OPTIONAL)
            journal.optional[key] = _plain(row, kind.partition(MARK)[0])
        journal.later = sort_out(journal.left, _plain)
        return journal

    def switch(self, branch: Branch) -> None:
        """Let the next calls be those of this branch."""
        if branch is not self.branch:
            last, self.branch = self.branch, branch
            last.left, last.suspension, last.cancelled = self.left, self.suspension, self.cancelled
            self.left, self.suspension, self.cancelled = branch.left, branch.suspension, branch.cancelled

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

    def check(self, verb: str, key: str) -> None:
        """Raises Suspended when the attempt is ending, DefinitionError for a call from a wrong place."""
        if problem := self.host.misplaced():
            raise self.wrong(DefinitionError(f"{self.flow}: wf.{verb}({short_repr(key)}) {problem}"))
        if self.suspension is not None or self.leaving or self.problem is not None:
            raise Suspended  # with a problem the run is blocked, whatever the function catches
        if self.broken is not None:
            self.went_on = True
            raise self.broken

    def enter(self, verb: str, key: str) -> None:
        """A call of the context begins. Raises Suspended when the attempt is ending, DefinitionError for a wrong use."""
        self.check(verb, key)
        if type(key) is not str or key not in self.left:  # a recorded key is a good one, and was counted
            self._check_new(verb, key)
        if key in self.used:
            raise self._used_before(verb, key)
        self.used.add(key)

    def _check_new(self, verb: str, key: str) -> None:
        if not is_key(key):
            raise self.wrong(
                DefinitionError(
                    f"{self.flow}: wf.{verb}({short_repr(key)}): give a key, a non-empty text of at most {LARGEST_KEY} bytes"
                    " without NUL, which no other call of this workflow has"
                )
            )
        self._count(1)

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
        self._count(len(keys))
        self.used.update(keys)

    def _used_before(self, verb: str, key: str) -> StepflowError:
        return self.wrong(
            DefinitionError(
                f"{self.flow}: wf.{verb}({key!r}): the key was used before in this workflow; give each call one of its own, "
                'in a loop e.g. f"send/{n}"'
            )
        )

    def _count(self, more: int) -> None:
        if len(self.used) + more > MOST_ROWS or self.size > MOST_BYTES:
            raise TooLarge(
                f"{self.flow}: the journal of run {self.run_id!r} has {len(self.used):,} calls and {self.size:,} characters, of at most"
                f" {MOST_ROWS:,} and {MOST_BYTES:,}: call wf.continue_as_new(input) before that, or store large values elsewhere"
                + (f"; {more:,} more calls were to be made" if more > 1 else "")
            )

    def take(self, kind: str, key: str, name: str = "", renamed: str | None = None) -> Recorded | None:
        """The recorded row of a call, None if the call is new; raises ReplayMismatch if another one was recorded."""
        row = self.take_if_there(kind, key, name, renamed)
        if row is None:
            self.nothing_left(f"{kind} {key!r}{_of(name)}")
        return row

    def nothing_left(self, attempted: str) -> None:
        """Something new begins: raises ReplayMismatch if there are rows that the workflow did not come by."""
        if unread := self.unread():
            raise self.wrong(self._diverged(unread, f"{attempted}, which is not in it"))

    def unread(self) -> list[Recorded]:
        """The rows that must be read before the present branch does something new."""
        if not self.left and not self.later and self.branch.parent is None:
            return []
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

    def finished(self) -> None:
        """The function returned: raises ReplayMismatch if it did not come by everything that is recorded."""
        if unread := self.unread():
            raise self.wrong(self._diverged(unread, "the end of the function"))

    def broke_off(self, error: BaseException) -> None:
        """A call ended without a record: no other call may follow, since a replay would make this one again."""
        if not isinstance(error, Suspended):
            self.broken = error

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
    later = [row for row in rows if row.seq > since and row.kind != "once"]
    return tuple(row._replace(kind=row.kind.removesuffix(OPTIONAL) + OPTIONAL) for row in later)


def is_key(key: object) -> bool:
    """Whether this can be the key of a call."""
    return isinstance(key, str) and key != "" and "\0" not in key and _fits(key)


def _fits(key: str) -> bool:
    """Whether the key is not too long; a character has at most 4 bytes."""
    return len(key) * 4 <= LARGEST_KEY or len(key.encode(errors="replace")) <= LARGEST_KEY


def _of(name: str) -> str:
    return f" of {name}" if name else ""
