"""at_most_once: steps that are not called again if it is unknown how their call ended: the intent, the block and the resolution.

The intent is a journal row, durable before the call. The commit of the step's end forgets it, so an attempt that finds one knows that
an earlier attempt was interrupted in the call. Such a run is blocked until a resolution is stored in its transition.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping
from typing import Any

from attrs import define, field

from stepflow.drivers.port.commit import Fence, Release
from stepflow.drivers.port.journal import INTENT, JournalRow
from stepflow.drivers.port.step import Append, Member
from stepflow.engine import step_failure
from stepflow.engine.clock import NEVER
from stepflow.engine.execution.attempt import GeneratorAttempt, SteppedAttempt
from stepflow.engine.intents import (
    UNKNOWN,
    call_of,
    intents,
    is_resolved,
    name_of,
    resolution_of,
    step_intent,
    unknown_call,
)
from stepflow.errors import StepflowError
from stepflow.model.blocked import UNKNOWN_OUTCOME, unknown
from stepflow.model.error_text import message_of
from stepflow.model.flow import Move, Task
from stepflow.model.state import State, Transition
from stepflow.replay.effects import StepCall
from stepflow.replay.results import UnknownOutcome

Resolution = dict[str, str | None]


def intent(fence: Fence, step: str) -> Append:
    """What makes the intent of a chain's step durable."""
    return Append(fence.id, fence.epoch, (JournalRow(step_intent(step), INTENT, "", UNKNOWN),))


def describe(name: str, why: str = "", caller: str = "") -> str:
    """What is unknown, and how to settle it: a step, or the call of `once` that `caller` made."""
    why = why or "its process died, was stopped or lost its claim while it was called, or its time limit was over"
    what = f"call {name!r} of {caller!r}" if caller else f"step {name!r}"
    return (
        f"the outcome of {what} is unknown: {why}; find out whether it took place, then settle it with"
        f" run.resolve({name!r}, value) or run.resolve_failed({name!r}, error)"
    )


def block(fence: Fence, name: str, unfinished: int | None, why: str = "", caller: str = "") -> Release:
    """Releases a run until its unknown outcome is resolved, or it is cancelled: no worker claims it before."""
    text = unknown(describe(name, why, caller))
    return Release(fence, NEVER, blocked=text, blocked_by=UNKNOWN_OUTCOME, crashes=0, unfinished=unfinished)


def block_call(fence: Fence, row: JournalRow, state: State, unfinished: int | None, why: str = "") -> Release:
    """The same for the intent of a step, or of a call of `once`."""
    step, call = name_of(row.key, state)
    return block(fence, call or step, unfinished, why, step if call else "")


def refuse_to_forget(rows: Mapping[str, JournalRow]) -> None:
    """Raise StepflowError if a call of `once` that a flow function made has not ended, or its outcome is unknown: no commit may forget its row."""
    if (row := unknown_call(rows)) is not None:
        raise StepflowError(
            f"its call {call_of(row)!r} is made at most once, and has not ended, or its outcome is unknown: no commit may move"
            " the State before that is known"
        )


def failure_of(attempt: SteppedAttempt, call: StepCall, error: Exception) -> Exception:
    """The failure of a workflow's step; UnknownOutcome if it reached its time limit and must not be called again."""
    if call.at_most_once and error is attempt.overdue:
        return UnknownOutcome(call.key, message_of(error))
    return error


def unstorable(call: StepCall, refusal: Exception) -> Exception:
    """The failure of a workflow's step that returned what cannot be stored; UnknownOutcome if it must not be called again."""
    return UnknownOutcome(call.key, lost_value(refusal)) if call.at_most_once else refusal


def lost_value(refusal: BaseException) -> str:
    """Why it is unknown what a call returned."""
    return f"it returned, but what it returned cannot be stored ({message_of(refusal)})"


@define(eq=False)
class AtMostOnceAttempt(GeneratorAttempt):
    """What an attempt of a chain does before and after a call that is made at most once; `at_most_once` is true during one."""

    transition: Transition = field(init=False)
    exchange: Any = field(init=False, default=None)
    _journal: dict[str, JournalRow] = field(init=False)  # the rows of the run that are there, by key
    _resolution: Resolution | None = field(init=False, default=None)  # of the call whose outcome was unknown
    _returned: bool = field(init=False, default=False)  # the last failure was found after the call had returned

    def _intended(self, task: Task) -> Generator[Member, Any, bool]:
        """Record the intent of such a call. True if a cancel came meanwhile: the run has ended, and the call does not begin."""
        yield self._intent(task)
        if self.cancel:
            yield self._end("cancelled")
        return self.cancel

    def _intent(self, task: Task) -> Append:
        """What to commit before such a call."""
        member = intent(self.fence, task.step)
        self.at_most_once = True
        self._journal |= {row.key: row for row in member.rows}
        return member

    def _meet_intent(self) -> Release | None:
        """Blocks the run if an earlier attempt was interrupted in such a call, and how that ended was not told."""
        found = intents(self.state, self._journal.values())
        if any(row.key[0] == ":" for row in found):
            self._resolution = resolution_of(self.transition)
            self.at_most_once = self._resolution is not None
        row = next((row for row in found if not is_resolved(row, self.state)), None)
        return None if row is None else block_call(self.fence, row, self.state, self.unfinished)

    def _met_unknown(self, why: str = "") -> Release | None:
        """Blocks the run if a call of `once` that the step made has an unknown outcome, unless it is being cancelled."""
        if (self.cancel and not self.timed_out) or (row := unknown_call(self._journal)) is None:
            return None
        return block_call(self.fence, row, self.state, self.unfinished + 1, why or self._why_unknown(row))

    def _misplaced(self, move: Move) -> Release | None:
        """Blocks the run if this definition does not have the step of the resolved call here."""
        step = None if self._resolution is None else self._resolution["step"]
        if step is None or (move.tasks and move.tasks[0].step == step):
            return None
        why = f"it was resolved, but flow {self.flow.name!r} has no such step here: deploy the definition that has it, and"
        return block(self.fence, step, self.unfinished, why)

    def _settle(self, task: Task) -> Any:
        """In place of the call: take the exchange over that was given for it, or raise the error."""
        assert self._resolution is not None
        self.settled()
        if (error := self._resolution["error"]) is not None:
            self._resolution = None
            raise step_failure.restored(task.step, error)
        if (value := self._resolution["value"]) is not None:
            self.exchange = self.flow.codec.decode(value)
        self._resolution = None
        return None

    def _unstorable(self, refusal: BaseException) -> Member | Release:
        """What follows when what a step left cannot be stored: the failure of the run, or its block if the step must not be called again."""
        if (met := self._met_unknown()) is not None:
            return met
        if not self.at_most_once:
            return self._failed(refusal)
        return block(self.fence, self.current.step, self.unfinished + 1, lost_value(refusal))

    @abstractmethod
    def _why_unknown(self, row: JournalRow) -> str:
        """Why the outcome of the call of `once` with this row is unknown; empty if that is unknown, too."""

    @abstractmethod
    def _end(self, status: str, error: str = "") -> Member:
        """The commit of an end."""

    @abstractmethod
    def _failed(self, error: BaseException) -> Member:
        """The commit of a failure."""

    def _unknown(self, task: Task, failure: Exception) -> Release | None:
        """Blocks the run if the outcome of the call, or of one that it made by `once`, is unknown although it has ended."""
        if (met := self._met_unknown(message_of(failure) if failure is self.overdue else "")) is not None:
            return met
        if not self.at_most_once:
            return None
        if self._resolution is not None:
            why = f"it was resolved, but by a value that does not fit: {message_of(failure)}; so"
        elif failure is self.overdue:
            why = message_of(failure)
        elif self._returned:
            why = lost_value(failure)
        else:
            return None
        return block(self.fence, task.step, self.unfinished + 1, why)
