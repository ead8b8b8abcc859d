"""WorkflowThreads: carries out the calls of a sync workflow, in the thread that runs it: it waits there for each commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from attrs import define, field

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.step import Member
from stepflow.engine.deferred_signals import user_code
from stepflow.engine.execution.at_most_once import failure_of
from stepflow.engine.execution.child_calls import journal_row
from stepflow.engine.execution.executor import AGAIN_S
from stepflow.engine.execution.user_transactions import Refused
from stepflow.engine.execution.workflow_calls import WorkflowCalls, call_of
from stepflow.errors import RevMismatch, StepflowError, StoreError
from stepflow.model.current import Current, enter
from stepflow.model.flow import Call
from stepflow.replay.child_effects import ChildEffect, LookAt, Notes, Relabel, StartChildren
from stepflow.replay.context import Context
from stepflow.replay.journal import Many, Note, StepCall, Transacted


@define(eq=False)
class WorkflowThreads(WorkflowCalls):
    """What carries out the effects of a sync workflow."""

    _answered: threading.Lock = field(init=False, factory=threading.Lock)  # held until the last commit is answered
    _answer: Any = field(init=False, default=None)  # to the last commit

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._answered.acquire()

    def call_sync(self, value: Any) -> Any:
        """Call a sync workflow, in a thread, or under virtual time on the loop itself."""
        self.home = threading.get_ident()
        return self.workflow.call(Context(self.journal, self.perform_sync), value)

    def perform_sync(self, effect: StepCall | Transacted | Many | Note | ChildEffect) -> Any:
        """Do what a call of a sync workflow asks for, in its thread."""
        if isinstance(effect, StartChildren | LookAt):
            return self._family_sync(effect)
        if isinstance(effect, Note | Notes | Relabel):
            before = user_code.suspend()
            try:
                self.committed(self._commit_sync(self._member(effect)))
            finally:
                user_code.resume(before)
            return self._ends_if_lost()
        if isinstance(effect, Many):
            return self._many_sync(effect)
        effect, record = (effect.call, effect.record) if isinstance(effect, Transacted) else (effect, None)
        current, self.at_most_once = self.current, effect.at_most_once
        current.step, current.attempt = effect.key, effect.attempt
        try:
            if record is not None:
                return None, self._transacted_sync(call_of(effect), record)
            if effect.limit_s is None:
                return None, effect.fn(*effect.args)
            return None, self.executor.limits.call(self, call_of(effect), self.executor.call_step)
        except Refused as refusal:
            self._refuse(refusal.error)
        except Exception as error:  # noqa: BLE001 - the step's failure
            if error is user_code.interruption:
                raise KeyboardInterrupt from None
            return failure_of(self, effect, error), None
        finally:
            current.step, self.at_most_once = "", False

    def _many_sync(self, effect: Many) -> None:
        """Make the calls of a map in other threads, and record their results in the workflow's own."""
        calls, running = iter(effect.calls), 0
        ended: SimpleQueue[tuple[StepCall, Exception | None, Any]] = SimpleQueue()

        def make(call: StepCall) -> None:
            enter(Current(self.current.run_id, self.current.flow, call.key, call.attempt))
            try:
                ended.put((call, None, call.fn(*call.args)))
            except BaseException as error:  # noqa: BLE001 - SystemExit and the like in another thread are failures, too
                ended.put((call, error if isinstance(error, Exception) else RuntimeError(repr(error)), None))
            finally:
                enter(self.current)

        while True:
            while running < effect.width and self._begins(effect) and (call := next(calls, None)):
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

    def _transacted_sync(self, call: Call, record: Callable[[Any], tuple[Note, Any]]) -> Any:
        value, done = self.transactions.call(self, call, partial(self._recorded, record))
        self.committed(done)
        return value

    def _family_sync(self, effect: StartChildren | LookAt) -> Any:
        before = user_code.suspend()
        try:
            if isinstance(effect, LookAt):
                return self.children.ends(effect.ids)
            return self.children.start_sync(effect, self.fence, self._commit_start_sync)
        except StoreError as error:
            self._refuse(error)
        finally:
            user_code.resume(before)

    def _commit_start_sync(self, commit: Commit) -> list[str]:
        done = self._commit_sync(commit, RevMismatch)
        return done.ids if isinstance(done, RevMismatch) else self._has_started()

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
