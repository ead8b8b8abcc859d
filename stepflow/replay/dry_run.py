"""DryRun: replays what a run has recorded against the present code of its workflow; no step is called, and nothing is recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from attrs import define, field, frozen

from stepflow.errors import CodecError, ReplayMismatch, StepflowError
from stepflow.model.error_text import kind_of, message_of
from stepflow.replay.branches import Branch
from stepflow.replay.child_effects import ChildEffect
from stepflow.replay.effects import Many, Note, StepCall, Suspension, Together
from stepflow.replay.ending import wrong_end, wrong_return
from stepflow.replay.host import Published, Stored
from stepflow.replay.journal import Journal, optional_after
from stepflow.replay.workflow import Workflow


@frozen
class Recording:
    """What is stored of a run of a workflow: its input as text, its journal, and its unread events.

    `failed_call` is the key of the failure that ended the run, if it shall go on behind it.
    """

    run_id: str
    exchange: str
    rows: Sequence[Stored] = ()
    events: Sequence[Published] = ()
    failed_call: str = ""


@frozen
class Replayed:
    """How a replay ended: `verdict` is ok, diverges, unreadable, blocked or fails.

    `text` says why; those of one `cause` are of one kind, in whatever run.
    """

    verdict: str = "ok"
    text: str = ""
    cause: str = ""


@define(eq=False)
class DryRun:
    """The Host of the journal of a run that only is looked at: the first call that is not recorded ends the attempt.

    `home` names the task or the thread of the caller, `restore(key, text)` makes the exception of a recorded failure, `time` is in
    microseconds UTC, and `cancelled` is the exception that ends a task of an event loop.
    """

    workflow: Workflow[Any, Any]
    recording: Recording
    home: Callable[[], object]
    restore: Callable[[str, str], Exception]
    time: int
    cancelled: type[BaseException]
    stop: bool = field(init=False, default=True)  # the attempt ends before its first new call
    paused: bool = field(init=False, default=False)
    cancel: bool = field(init=False, default=False)  # it would not end sooner
    journal: Journal = field(init=False)
    _begun: object = field(init=False)

    def __attrs_post_init__(self) -> None:
        found, rows = self.recording, {row.key: row for row in self.recording.rows}
        if found.failed_call:
            rows |= {row.key: row for row in optional_after(found.rows, found.failed_call)}
            rows.pop(found.failed_call, None)
        self.journal = Journal.of(self.workflow.name, found.run_id, self, rows.values(), found.events)
        self.journal.codec = self.workflow.codec
        self._begun = self.home()

    def value(self) -> Any:
        """The input; raises CodecError, or what user classes raise, if it cannot be restored."""
        return self.workflow.codec.decode(self.recording.exchange)

    def perform(self, effect: StepCall | Many | Note | ChildEffect) -> NoReturn:
        """A call would do something: that is as far as the replay goes."""
        if isinstance(effect, Note) and effect.failed and effect.consume:
            problem = CodecError(f"{self.workflow.name}: an event for {effect.key!r} does not fit the type of the wait")
            self.journal.wrong(problem)
        raise self.journal.suspend(Suspension())

    async def aperform(self, effect: StepCall | Many | Note | Together | ChildEffect) -> None:
        """The same for an async workflow; the branches of a gather are replayed one after another."""
        if not isinstance(effect, Together):
            self.perform(effect)
        journal, leaving = self.journal, False
        around = journal.branch
        for branch, call in effect.calls:
            journal.switch(branch)
            journal.leaving = False
            try:
                branch.value = await call
            except BaseException as error:  # noqa: BLE001 - the gather decides
                branch.error = error
            leaving = leaving or journal.leaving
        journal.switch(around)
        journal.leaving = leaving

    def replayed(self, output: Any, raised: BaseException | None) -> Replayed:
        """What the end of the function means."""
        journal = self.journal
        if (wrong := wrong_end(journal, raised, self.cancelled)) is not None:
            return _wrong(wrong)
        if journal.suspension is not None and not journal.over:
            return Replayed()
        if raised is not None:
            return Replayed(
                "fails", f"the code between the calls raises {kind_of(raised)}: {message_of(raised)}", kind_of(raised)
            )
        if (wrong := wrong_return(journal)) is not None:
            return _wrong(wrong)
        try:
            self.workflow.result_codec.encode(output)
        except Exception as error:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
            return Replayed("fails", f"the result cannot be stored: {message_of(error)}", kind_of(error))
        return Replayed()

    def now(self) -> int:
        """Microseconds UTC."""
        return self.time

    def random_bytes(self, n: int) -> bytes:  # noqa: ARG002
        """Not asked for: drawing is a call that is not recorded."""
        raise self.journal.suspend(Suspension())

    def uuid7(self) -> str:
        """Not asked for, as `random_bytes`."""
        raise self.journal.suspend(Suspension())

    def misplaced(self) -> str:
        """Why a call may not be made where it is made now."""
        return "" if self.home() == self._begun else "is made in another task or thread than the workflow"

    def branch(self) -> Branch:
        """The present branch: they are replayed one after another."""
        return self.journal.branch

    def subscribed(self, topic: str) -> bool:  # noqa: ARG002
        """True: nothing is recorded."""
        return True

    def transaction_problem(self, is_async: bool) -> str:  # noqa: ARG002
        """None that the code could be blamed for: the store of the workers may be another one."""
        return ""

    def connection(self) -> Any:
        """Something that no call uses: none is made."""
        return self.workflow if self.workflow.atomic else None

    def settled(self) -> None:
        """Nothing follows from it here."""

    def may_undo(self) -> bool:
        """As of a run that was not cancelled."""
        return True

    def stored(self, error: Exception) -> str:  # noqa: ARG002
        """Not kept: a failure is not recorded."""
        return ""

    def restored(self, key: str, text: str) -> Exception:
        """The exception of a recorded failure."""
        return self.restore(key, text)


def unreadable(error: BaseException) -> Replayed:
    """The input of the run does not fit the workflow."""
    return Replayed("unreadable", f"the input: {message_of(error)}", _without_values(message_of(error)))


def _wrong(problem: StepflowError) -> Replayed:
    if isinstance(problem, ReplayMismatch):
        return Replayed("diverges", str(problem), f"{problem.recorded} / {problem.attempted}")
    verdict = "unreadable" if isinstance(problem, CodecError) else "blocked"
    return Replayed(verdict, str(problem), _without_values(message_of(problem)))


def _without_values(text: str) -> str:
    """The text of an error without the stored values that it quotes: the same for all runs."""
    return re.sub(r"found [^;@]*", "found ", text)
