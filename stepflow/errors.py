"""Every exception of the library; each message says what was given, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class StepflowError(Exception):
    """Base of every error that stepflow raises on purpose; all of them survive pickling, as process pools need it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[StepflowError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StepflowError:
    """The error as it was; its message is not made a second time from what is the message already."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class DefinitionError(StepflowError):
    """A flow definition is wrong; `problems` lists every mistake with its path, e.g. `["order/pay: name is empty"]`."""

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class UnknownState(StepflowError):
    """A position does not belong to this flow: a foreign one, or one of an older definition."""


class UnknownFlow(StepflowError):
    """No flow of that name is registered."""


class NeedsEngine(StepflowError):
    """The step can only be done by an engine: plain `apply` has no events, clock or store."""


class RunExists(StepflowError):
    """A run with this id was started before with another flow or another input; `run` is the existing one."""

    def __init__(self, message: str, run: Any = None) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        again, (kind, args, attributes) = super().__reduce__()
        return again, (kind, args, {**attributes, "run": None})  # a handle is good in its own process only


class RevMismatch(StepflowError):
    """Somebody else moved on the States in `ids` (sorted) since they were read; nothing was written."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: list[str] = sorted(set(ids))
        super().__init__(f"rev mismatch: {', '.join(self.ids)}")


class Duplicate(StepflowError):
    """A run with this deduplication key was started a while ago: it is `run_id`. Nothing was written."""

    def __init__(self, key: str, run_id: str) -> None:
        self.key, self.run_id = key, run_id
        super().__init__(f"deduplication key {key!r}: run {run_id!r} was started with it, and its window is not over")


class LostClaim(StepflowError):
    """This engine no longer holds the run: another one took over. Nothing was written; stop working on it."""


class Stopping(StepflowError):
    """The engine is being closed: let this out of your function, its State goes on elsewhere."""


class NotFound(StepflowError):
    """No run (or State, or data) of that id in this namespace."""


class RunFailed(StepflowError):
    """The run ended `failed`: `type` and `message` of the error, `traceback` as text."""

    def __init__(self, run_id: str, type: str, message: str, traceback: str = "") -> None:  # noqa: A002
        self.run_id, self.type, self.message, self.traceback = run_id, type, message, traceback
        super().__init__(f"run {run_id!r} failed: {type}: {message}")


class RunCancelled(StepflowError):
    """The run ended `cancelled`."""


class ResultTimeout(StepflowError, TimeoutError):
    """The run did not end in the time that `result(timeout=)` allowed; it goes on, ask again later."""


class TimedOut(StepflowError, TimeoutError):
    """A step, wait or event did not come true in its time."""


class CodecError(StepflowError):
    """A value cannot be stored as JSON, or stored JSON does not fit the type."""


class TooLarge(StepflowError):
    """A value is larger than the limit that the message names."""


class StoreError(StepflowError):
    """The store could not do what was asked; the subclasses say why."""


class Unavailable(StoreError):
    """The store cannot be reached or is locked; nothing was written, try again."""


class OutcomeUnknown(StoreError):
    """The connection broke inside COMMIT and the store cannot be asked what happened."""


class ReadOnly(StoreError):
    """The store does not allow writing."""


class Corrupt(StoreError):
    """The store's content is damaged."""


class Full(StoreError):
    """The disk or the store's size limit is used up; nothing was written."""


class SchemaMismatch(StoreError):
    """The store was made by another version of the schema, or with another shard count."""
