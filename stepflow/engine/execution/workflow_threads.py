"""WorkflowThreads: carries out the calls of a sync workflow, in the thread that runs it: it waits there for each commit."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue
from typing import Any

from attrs import define, evolve, field

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.step import Member
from stepflow.engine.execution import run_log
from stepflow.engine.execution.at_most_once import failure_of, unstorable
from stepflow.engine.execution.child_calls import journal_row
from stepflow.engine.execution.executor import AGAIN_S
from stepflow.engine.execution.user_transactions import Refused
from stepflow.engine.execution.workflow_calls import WorkflowCalls, call_of
from stepflow.engine.threads.deferred_signals import user_code
from stepflow.errors import RevMismatch, StepflowError, StoreError
from stepflow.model.current import enter
from stepflow.model.error_text import is_a
from stepflow.replay.child_effects import ChildEffect, FirstMessage, LookAt, StartChildren
from stepflow.replay.context import Context
from stepflow.replay.effects import Many, Note, StepCall
from stepflow.replay.step import round_trip


@define(eq=False)
class WorkflowThreads(WorkflowCalls):
    """What carries out the effects of a sync workflow."""

    _answered: threading.Lock = field(init=False)  # held until the last commit is answered
    _answer: Any = field(init=False, default=None)  # to the last commit

    def call_sync(self, value: Any) -> Any:
        """Call a sync workflow, in a thread, or under virtual time on the loop itself."""
        self.home = threading.get_ident()
        self._answered = threading.Lock()
        self._answered.acquire()
        return self.workflow.call(Context(self.journal, self._noting_sync), value)

    def _noting_sync(self, effect: StepCall | Many | Note | ChildEffect) -> Any:
        """Do what a call asks for; let the journal know if it ends without a record of it."""
        try:
            return self.perform_sync(effect)
        except BaseException as error:
            self.journal.broke_off(error)
            raise

    def perform_sync(self, effect: StepCall | Many | Note | ChildEffect) -> Any:
        """Do what a call of a sync workflow asks for, in its thread."""
        if isinstance(effect, StepCall):
            return self._step_sync(effect)
        if isinstance(effect, StartChildren | LookAt | FirstMessage):
            return self._family_sync(effect)
        if isinstance(effect, Many):
            with self.committer.side_by_side(self.fence):
                return self._many_sync(effect)
        return self._record_sync(self._member(effect))

    def _step_sync(self, call: StepCall) -> tuple[Exception | None, Any]:
        """Call a step and record its value: its error, or the value as a replay restores it."""
        error, value = self._call_step_sync(call)
        if error is not None or call.kind == "transaction":
            return error, value
        try:
            text, value = round_trip(call.step, value)
        except Exception as refusal:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
            return unstorable(call, refusal), None
        self._record_sync(self._member_of(call, text))
        return None, value

    def _call_step_sync(self, call: StepCall) -> tuple[Exception | None, Any]:
        """The error or the value of a call."""
        current, self.at_most_once = self.current, call.at_most_once
        current.step, current.attempt = call.key, call.attempt
        try:
            if call.kind == "transaction":
                value, done = self.transactions.call(self, call_of(call), partial(self._recorded, call, ""))
                self.committed(done)
                return None, value
            if call.limit_s is None:
                return None, call.fn(*call.args)
            return None, self.executor.limits.call(self, call_of(call), self.executor.call_step)
        except Refused as refusal:
            self._refuse(refusal.error)
        except Exception as error:  # noqa: BLE001 - the step's failure
            if error is user_code.interruption:
                raise KeyboardInterrupt from None
            if self.interrupted:
                run_log.late(self, error, call.key)
            return failure_of(self, call, error), None
        finally:
            current.step, self.at_most_once = "", False

    def _record_sync(self, member: Member) -> None:
        """Commit what a call has to record; which is no user code."""
        before = user_code.suspend()
        try:
            self.committed(self._commit_sync(member))
        finally:
            user_code.resume(before)
        self._ends_if_lost()

    def _many_sync(self, effect: Many) -> None:
        """Make the calls of a map in other threads, and record their results in the workflow's own."""
        calls, running = iter(effect.calls), 0
        ended: SimpleQueue[tuple[StepCall, Exception | None, Any]] = SimpleQueue()

        def make(call: StepCall) -> None:
            ended.put((call, *self._beside_sync(call)))

        while True:
            while running < effect.width and self._begins(effect, self.journal.branch) and (call := next(calls, None)):
                running += 1
                self.executor.start(make, call)
            if not running or effect.enough():
                return
            found = [ended.get()]
            while not ended.empty():
                found.append(ended.get())
            running -= len(found)
            rows = tuple(journal_row(note) for one in found for note in effect.ended(*one))
            if rows:
                self.committed(self._commit_sync(self._append(rows)))

    def _beside_sync(self, call: StepCall) -> tuple[Exception | None, Any]:
        """The error or the value of one call of a map, in a thread of its own."""
        enter(evolve(self.current, step=call.key, attempt=call.attempt))
        try:
            return None, call.fn(*call.args)
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like in another thread are failures, too
            return error if is_a(error, Exception) else RuntimeError(repr(error)), None
        finally:
            enter(self.current)

    def _family_sync(self, effect: StartChildren | LookAt | FirstMessage) -> Any:
        before = user_code.suspend()
        try:
            if isinstance(effect, LookAt):
                return self.children.ends(effect.ids)
            if isinstance(effect, FirstMessage):
                return self.children.first_message(effect)
            return self.children.start_sync(effect, self.fence, self._commit_start_sync)
        except StoreError as error:
            self._refuse(error)
        finally:
            user_code.resume(before)

    def _commit_start_sync(self, commit: Commit) -> list[str]:
        done = self._commit_sync(commit, RevMismatch)
        return done.ids if isinstance(done, RevMismatch) else self._has_started(done)

    def _commit_sync(self, member: Member, expected: type[StepflowError] | tuple[()] = ()) -> Any:
        while True:
            self.committer.submit_threadsafe(member, self._on_done)
            self._answered.acquire()
            answer = self._answer
            if not isinstance(answer, BaseException) or isinstance(answer, expected):
                return answer
            if not self.should_retry_commit(answer):
                self._refuse(answer)
            threading.Event().wait(AGAIN_S)

    def _on_done(self, answer: Any) -> None:
        self._answer = answer
        self._answered.release()
