"""errors: every exception of the library; a message says what was given, what is wrong and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def error_line(type: str, message: str, step: str = "") -> str:  # noqa: A002
    """The type and the message of an error, without a colon if there is no message but the place that follows it; and the step, if the message does not tell it."""
    if step and f"{step}]" not in message:
        message = f"{message} [in step {step}]"
    return f"{type}: {message}" if message.strip() and not message.startswith(" [") else f"{type}{message}".strip()


class StepflowError(Exception):
    """Base of all errors that stepflow raises; they can be pickled, as process pools require."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[StepflowError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StepflowError:
    """The pickled error, restored without `__init__`, which would format the message a second time."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class DefinitionError(StepflowError):
    """A flow definition is wrong; `problems` lists every mistake with its path, e.g. `["order/pay: name is empty"]`."""

    problems: list[str]

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class UnknownState(StepflowError):
    """A position does not belong to this flow: it is from another flow or from an older definition."""


class UnknownFlow(StepflowError):
    """No flow of this name is registered."""


class NeedsEngine(StepflowError):
    """The step needs an engine: plain `apply` has no events, clock or store."""


class RunExists(StepflowError):
    """A run with this id exists with another flow or another input; `run` is the existing one."""

    run: Any

    def __init__(self, message: str, run: Any = None) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, args, attributes) = super().__reduce__()
        return rebuild, (kind, args, {**attributes, "run": None})  # a handle is valid in its own process only


class RevMismatch(StepflowError):
    """Another commit moved the States in `ids` (sorted) since they were read; nothing was written."""

    ids: list[str]

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = sorted(set(ids))
        super().__init__(f"rev mismatch: {', '.join(self.ids)}")


class Duplicate(StepflowError):
    """The run `run_id` was started with this deduplication key within its window. Nothing was written."""

    def __init__(self, key: str, run_id: str) -> None:
        self.key, self.run_id = key, run_id
        super().__init__(
            f"deduplication key {key!r}: run {run_id!r} was started with it, and the window has not passed"
        )


class LostClaim(StepflowError):
    """This engine no longer holds the run: another one claimed it. Nothing was written; stop working on it."""


class Stopping(StepflowError):
    """The engine is closing: do not catch this in your function; another worker continues with its State."""


class NotFound(StepflowError):
    """No run (or State, or data) with this id exists in this namespace, no flow can have this name, or a list has no page with this cursor."""


class RunFailed(StepflowError):
    """The run ended `failed`: `type` and `message` of the error, its `traceback` as text, and the `step` that raised it.

    That is the path of a step of a chain, or the key of a call of a workflow; empty if it was none.
    """

    run_id: str
    type: str
    message: str
    traceback: str
    step: str

    def __init__(self, run_id: str, type: str, message: str, traceback: str = "", step: str = "") -> None:  # noqa: A002
        self.run_id, self.type, self.message, self.traceback, self.step = run_id, type, message, traceback, step
        super().__init__(f"run {run_id!r} failed: {error_line(type, message, step)}")


class RunCancelled(StepflowError):
    """The run ended `cancelled`."""


class RunEnded(StepflowError):
    """The run ended before: `status` tells how. Nothing was written."""

    run_id: str
    status: str

    def __init__(self, run_id: str, status: str, refused: str) -> None:
        self.run_id, self.status = run_id, status
        super().__init__(f"run {run_id!r} has ended, it is {status}; {refused}")


class CancelRequested(StepflowError):
    """A cancel of the run was requested: its holder may end it only as cancelled. Nothing was written."""


class PauseRequested(StepflowError):
    """Runs are paused: a commit may neither keep nor take the claim on them. Nothing was written. `ids` are the runs, `flows` those of their rows."""

    def __init__(self, ids: Sequence[str], flows: Sequence[str]) -> None:
        super().__init__(f"run {ids[0]!r} is paused: give up its claim with this commit")
        self.ids, self.flows = list(ids), list(flows)


class RunPaused(LostClaim):
    """The run was paused: the commit is durable, `answer` is that of the store, and the claim is given up; stop working on the run."""

    def __init__(self, run_id: str, answer: Any) -> None:
        super().__init__(f"run {run_id!r} is paused: what was done is stored, it goes on when it is resumed")
        self.answer = answer


class Cancelled(BaseException):
    """Raised in a workflow at its first call after a cancel of the run; `except Exception` does not catch it.

    If no call comes after the cancel, or after the call that raised it, the function is called again, and the last call that was made raises it in
    place of its value. Catch it to undo what was done, or do that in `finally`, and raise it again. The run ends as cancelled whatever the workflow
    returns then.
    """


class Terminal(StepflowError):
    """Raise it in a step or a workflow: nothing is retried. `Terminal(error)` has the message of another exception."""


class StepFailed(StepflowError):
    """A step of a workflow failed with an exception that cannot be made again from its stored form, e.g. of a local class.

    `type` is the name of its class, `message` its text, `traceback` the text of its traceback.
    """

    key: str
    type: str
    message: str
    traceback: str

    def __init__(self, key: str, type: str, message: str, traceback: str = "") -> None:  # noqa: A002
        self.key, self.type, self.message, self.traceback = key, type, message, traceback
        super().__init__(f"step {key!r} failed: {error_line(type, message)}")


class RemoteFailed(StepflowError):
    """A flow function raised on the host that executed it: `type`, `message` and `traceback` (text) of its error, and the `host`.

    `retried`: its retry policy allows another attempt.
    """

    host: str
    type: str
    message: str
    traceback: str
    retried: bool

    def __init__(
        self,
        host: str,
        type: str,  # noqa: A002
        message: str,
        traceback: str = "",
        retried: bool = True,
    ) -> None:
        self.host, self.type, self.message, self.traceback, self.retried = host, type, message, traceback, retried
        super().__init__(f"on host {host}: {error_line(type, message)}")

    @property
    def stored(self) -> str:
        """The error as a State keeps it, JSON: that of the function, as if it had raised here."""
        return json.dumps({"type": self.type, "message": self.message, "traceback": self.traceback})


class CallLost(StepflowError):
    """A host was asked to execute a flow function, and no answer came that can be used: it may have been executed."""


class ReplayMismatch(StepflowError):
    """A workflow went another way than its journal says: `recorded` is what it did before, `attempted` what it does now."""

    run_id: str
    recorded: str
    attempted: str

    def __init__(self, flow: str, run_id: str, recorded: str, attempted: str) -> None:
        self.run_id, self.recorded, self.attempted = run_id, recorded, attempted
        super().__init__(
            f"{flow}: the journal of run {run_id!r} has {recorded} here, the workflow comes to {attempted}: it must take the same"
            " way each time. Deploy code that does (new code behind wf.patched(KEY), a renamed function with renamed=), and keep"
            " clocks, random values and I/O inside of steps"
        )


class ResultTimeout(StepflowError, TimeoutError):
    """The run did not end within `result(timeout=)`; it continues, call `result` again later."""


class TimedOut(StepflowError, TimeoutError):
    """A step, condition or event exceeded its timeout."""


class CodecError(StepflowError):
    """A value cannot be stored as JSON, or stored JSON does not fit the type."""


class TooLarge(StepflowError):
    """A value is larger than the limit in the message."""


class StoreError(StepflowError):
    """An operation of the store failed; the subclasses name the reason. `code` is that of the answer if a server refused it."""

    code: str = ""


class Unavailable(StoreError):
    """The store cannot be reached or is locked; nothing was written, try again."""


class OutcomeUnknown(StoreError):
    """The connection failed during COMMIT, and the store cannot be asked whether it committed."""


class RevisionsLost(StoreError):
    """The store lost revisions after `rev`, which were delivered: a failover to a standby that lagged, a restored backup, or the restart of a server that keeps its States in memory."""

    rev: int

    def __init__(self, rev: int) -> None:
        self.rev = rev
        super().__init__(
            f"the store went back to revision {rev} (a failover to a standby that lagged, a restored backup, or the restart of a"
            " server that keeps its States in memory): discard what was made from later revisions; this watch continues after that one"
        )


class ReadOnly(StoreError):
    """The store is read-only, or the token does not allow this."""


class Corrupt(StoreError):
    """The store's content is damaged."""


class StoreReplaced(StoreError):
    """The file of the store was removed or replaced while it was open; nothing was written. A worker ends with this error."""


class Full(StoreError):
    """The disk is full or the store's size limit is reached; nothing was written."""


class SchemaMismatch(StoreError):
    """The store has another schema version or another shard count."""
