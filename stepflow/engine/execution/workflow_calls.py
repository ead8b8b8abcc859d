"""WorkflowCalls: what the calls of a workflow need of its attempt: steps are made and journal rows committed.

The deciders of `replay` tell what to do: a StepCall is made, a Note is committed as an Append. What is here carries that out for async
workflows, and `workflow_threads.py` for sync ones.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from types import CoroutineType, coroutine
from typing import Any, ClassVar

from attrs import define, evolve, field

from stepflow.drivers.port.commit import Committed
from stepflow.drivers.port.step import Member
from stepflow.engine import step_failure
from stepflow.engine.clock import microseconds, uuid7
from stepflow.engine.commit.pending import PENDING, PendingCommit
from stepflow.engine.execution.at_most_once import failure_of, unstorable
from stepflow.engine.execution.attempt import SteppedAttempt, is_closed
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.user_transactions import Refused, UserTransactions
from stepflow.engine.execution.workflow_commits import WorkflowCommits
from stepflow.engine.threads.futures import end_of_cancelled, end_of_own_cancels, keep_task
from stepflow.engine.threads.raised import own_error
from stepflow.errors import Cancelled, LostClaim, StoreError
from stepflow.model.current import Current, current, current_step, enter
from stepflow.model.error_text import is_a
from stepflow.model.flow import Call
from stepflow.model.state import CANCEL, RENEWED
from stepflow.model.topic import waiting_label
from stepflow.replay.branches import Branch
from stepflow.replay.child_effects import ChildEffect, FirstMessage, LookAt, StartChildren, in_branch
from stepflow.replay.effects import Many, Note, StepCall, Suspension, Together
from stepflow.replay.step import round_trip

ELSEWHERE = (
    "is made in another thread than the workflow: make the calls one after another in the workflow's own thread",
    (
        "is awaited in another task than the workflow: use `await wf.gather(...)` for calls side by side, not asyncio.gather,"
        " create_task or wait_for"
    ),
)  # by whether the workflow is async


@define(eq=False)
class WorkflowCalls(WorkflowCommits):
    """The Host of a Journal, and what carries out the effects of the deciders."""

    calls_inline: ClassVar[bool] = True  # async steps are called without `_call_step`
    executor: Executor = field(kw_only=True)
    transactions: UserTransactions = field(kw_only=True)
    _is_async: bool = field(init=False)
    _here: Callable[[], object] = field(init=False)
    home: object = field(init=False, default=None)  # the task or the thread that may make durable calls
    _cancelled_at: int = field(init=False, default=0)  # microseconds UTC, if this claim learned of it
    failed_step: str = field(init=False, default="")  # the key of the one whose failure ended the attempt

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.cancel = self.cancel or CANCEL in self.transition.annotations
        renewals = int(self.state.transition.annotations.get(RENEWED, "0"))
        self.current = Current(self.state.id, self.record.created.flow, renewals=renewals)
        self._is_async = self.workflow.is_async
        self._here = asyncio.current_task if self._is_async else threading.get_ident

    @property
    def step(self) -> str:
        """The step that failed, or else the present one or the position as stored, for the log."""
        return self.failed_step or SteppedAttempt.step.fget(self)  # type: ignore[attr-defined]

    def now(self) -> int:
        """Microseconds UTC."""
        return self.clock.now()

    def random_bytes(self, n: int) -> bytes:
        """`n` random bytes."""
        return self.clock.random_bytes(n)

    def uuid7(self) -> str:
        """A new UUID of version 7."""
        return uuid7(self.clock)

    def misplaced(self) -> str:
        """Why a durable call may not be made here."""
        here = self._here()
        if here == self.home and not self.current.step:
            return ""
        if step := current_step():
            return f"is called inside of step {step!r}: only the workflow itself may make durable calls; let the step return first"
        return "" if here == self.home or here in self.tasks.branches else ELSEWHERE[self._is_async]

    def request_cancel(self) -> None:
        """Let the workflow see Cancelled; an async step is cancelled now."""
        self._cancelled_at = self._cancelled_at or self.clock.now()
        self.paused = False  # the store takes the mark away
        SteppedAttempt.request_cancel(self)

    def interrupt(self) -> None:
        """End the attempt in its present call, and the transaction that this has."""
        SteppedAttempt.interrupt(self)
        self.transactions.interrupted(self)

    def branch(self) -> Branch | None:
        """The branch of the present task, if it is one of a gather."""
        return self.tasks.present()

    def subscribed(self, topic: str) -> bool:
        """Whether the run has the label of those that wait for this topic."""
        return waiting_label(topic) in self.labels

    def transaction_problem(self, is_async: bool) -> str:
        """Why the store gives no transaction to such a function."""
        return self.transactions.problem(is_async)

    def connection(self) -> Any:
        """None: the calls of this workflow have transactions of their own."""

    def may_undo(self) -> bool:
        """Whether the time for undoing after a cancel has not passed."""
        return self.clock.now() <= self.undo_ends()

    def undo_ends(self) -> int:
        """When the time for undoing after a cancel ends, microseconds UTC."""
        since = int(self.transition.annotations.get(CANCEL, self._cancelled_at or self.clock.now()))
        return since + microseconds(self.workflow.cancel_grace_s)

    def stored(self, error: Exception) -> str:
        """The stored form of a step's failure."""
        text = step_failure.stored(error)
        self.failure, self.error = error, text
        return text

    def restored(self, key: str, text: str) -> Exception:
        """The exception of a recorded failure."""
        return step_failure.restored(key, text)

    def perform(self, effect: StepCall | Many | Note | Together | ChildEffect) -> Awaitable[Any]:
        """Do what a call of an async workflow asks for."""
        beside = self.tasks.branches
        if isinstance(effect, StepCall):
            return self._noting(self._in_branch(effect)) if beside else self._step(effect)
        return self._noting(
            self._in_branch(effect) if beside or isinstance(effect, Together) else self._perform(effect)
        )

    async def _noting(self, performed: Awaitable[Any]) -> Any:
        """Let the journal know if a call ends without a record of it."""
        try:
            return await performed
        except BaseException as error:
            self.journal.broke_off(error)
            raise

    async def _in_branch(self, effect: StepCall | Many | Note | Together | ChildEffect) -> Any:
        """The same while the calls of a gather go on; the present branch is then that of this call again."""
        journal, branch, outer = self.journal, self.journal.branch, not self.tasks.branches
        if isinstance(effect, Together):
            self.awaits = self.awaits or outer
            try:
                with self.committer.side_by_side(self.fence) if outer else nullcontext():
                    return await self.tasks.run(journal, effect, self.current, self._record_notes, self._is_cancelled)
            finally:
                self.awaits = self.awaits and not outer
        answer: Any = None
        if isinstance(effect, Note):
            note = effect._replace(branch=branch.path)
            async with self._still(note.consume and self.transition.events):
                await self._record(self._member(note))
            journal.switch(branch)
            self._ends_if_lost()
        elif isinstance(effect, ChildEffect):
            async with self.tasks.moving:
                self._ends_if_paused()
                answer = await self._perform(in_branch(effect, branch.path))
        elif isinstance(effect, StepCall):
            answer = await self._step_in_branch(effect, branch)
        else:
            with self.tasks.interruptible():
                await self._many(effect)
        journal.switch(branch)
        return answer

    def _still(self, moves: object) -> AbstractAsyncContextManager[Any]:
        """Wait for the commit of another branch that makes a revision, or for its transaction, and keep others out if this one `moves`, too."""
        return self.tasks.moving if moves or self.tasks.moving.locked() else nullcontext()

    async def _perform(self, effect: Many | Note | ChildEffect) -> Any:
        if isinstance(effect, Many):
            with self.committer.side_by_side(self.fence):
                return await self._many(effect)
        if isinstance(effect, StartChildren | LookAt | FirstMessage):
            return await self._family(effect)
        await self._record(self._member(effect))
        return self._ends_if_lost()

    @coroutine
    def _step(self, call: StepCall) -> Generator[Any, Any, tuple[BaseException | None, Any]]:
        """Call a step and record its value: its error, or the value as a replay restores it.

        Nearly all that a workflow costs is spent here, so the usual step is called and committed without a coroutine for each part.
        """
        fn, args, step, limit_s, key, attempt, at_most_once, kind = call
        current, self.at_most_once = self.current, at_most_once
        try:
            try:
                if kind == "step" and limit_s is None and step.is_async and self.calls_inline:
                    current.step, current.attempt, self.awaits = key, attempt, True
                    made = fn(*args)
                    value = yield from (made if type(made) is CoroutineType else _awaited(made))
                else:
                    error, value = yield from self._call_step(call, current).__await__()
                    if error is not None or kind == "transaction":
                        return error, value
            except BaseException as raised:  # noqa: BLE001 - the step's failure, or what ends the attempt
                return self._failure(call, raised), None
            finally:
                current.step = ""
                self.at_most_once = self.awaits = False
            try:
                text, value = round_trip(step, value)
            except Exception as refusal:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
                return unstorable(call, refusal), None
            member = self._member_of(call, text)
            answer = self.committer.submit(member)
            if type(answer) is PendingCommit:
                while answer.outcome is PENDING:
                    yield answer
                    if answer.outcome is PENDING:  # the task was cancelled
                        self._keep_task()
            if type(answer) is PendingCommit and type(answer.outcome) is Committed:
                self._appended = True
            else:
                yield from self._record(member, answer).__await__()
            if self.lost:
                self._ends_if_lost()
            return None, value
        except BaseException as error:
            self.journal.broke_off(error)
            raise

    async def _step_in_branch(self, call: StepCall, branch: Branch) -> tuple[BaseException | None, Any]:
        """The same in a branch, which is not interrupted by a cancel of the attempt, but by one of its own task."""
        transacted = (
            call.kind == "transaction"
        )  # it may hold the write lock of the store: no other branch commits meanwhile
        async with self.tasks.moving if transacted else nullcontext():
            if transacted:
                self._ends_if_paused()
            with self.tasks.interruptible() if call.step.is_async and not call.at_most_once else nullcontext():
                try:
                    error, value = await self._call_step(call, current(), branch.path)
                finally:
                    self.awaits = True
        if error is not None or transacted:
            return error, value
        try:
            text, value = round_trip(call.step, value)
        except Exception as refusal:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
            return unstorable(call, refusal), None
        async with self._still(False):
            await self._record(self._member_of(call, text, branch.path))
        self.journal.switch(branch)
        self._ends_if_lost()
        return None, value

    async def _call_step(self, call: StepCall, current: Current, path: str = "") -> tuple[BaseException | None, Any]:
        """The error or the value of a call; `current` is that of the present task."""
        current.step, current.attempt = call.key, call.attempt
        try:
            if call.kind == "transaction":
                value, done = await self.transactions.acall(self, call_of(call), partial(self._recorded, call, path))
                self.committed(done)
                return None, value
            if call.limit_s is not None:
                return None, await self.executor.limits.run(self, call_of(call), self.executor.call_step)
            if call.step.is_async:
                self.awaits = True
                return None, await call.fn(*call.args)
            return None, await self.executor.call_to_its_end(self, call.fn, *call.args)
        except BaseException as error:  # noqa: BLE001 - the step's failure, or what ends the attempt
            return self._failure(call, error), None
        finally:
            current.step = ""

    def _failure(self, call: StepCall, error: BaseException) -> BaseException:
        """The failure of a call that raised this; what ends the attempt is raised."""
        if is_a(error, Refused):
            self._refuse(error.error)
        if is_a(error, asyncio.CancelledError):
            if not self._is_cancelled():
                raise error
            return Cancelled()
        own = own_error(error)
        if not is_a(own, Exception):
            if own is error:
                raise error
            raise own from None
        return failure_of(self, call, own)

    def _recorded(self, call: StepCall, path: str, value: Any) -> tuple[Member, Any]:
        """The commit of what a function in a transaction returned, and the value that the call has for the workflow."""
        text, value = round_trip(call.step, value)
        return self._member_of(call, text, path), value

    def _is_cancelled(self) -> bool:
        """Whether a CancelledError in the present task comes from a cancel of the run; then the task goes on."""
        task = self.task if self.tasks.present() is None else asyncio.current_task()
        if is_closed(task) or self.interrupted or not self.cancel:
            return False
        keep_task(task)
        return True

    async def _many(self, effect: Many) -> None:
        """Make the calls of a map in tasks of their own."""
        calls, running = iter(effect.calls), dict[asyncio.Task[Any], StepCall]()
        branch, outer = self.journal.branch, not self.tasks.branches
        path = branch.path
        try:
            self.awaits = True
            while True:
                while len(running) < effect.width and self._begins(effect, branch) and (call := next(calls, None)):
                    running[asyncio.create_task(self._beside(call))] = call
                # A cancel may come while rows are recorded.
                if not running or effect.enough() or self._must_undo(branch):
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                ended = [(running.pop(task), *task.result()) for task in list(running) if task in done]
                notes = [note for one in ended for note in effect.ended(*one)]
                if notes:
                    await self._record_notes([note._replace(branch=path) for note in notes] if path else notes)
        except asyncio.CancelledError:
            if not self._is_cancelled():
                raise
        finally:
            self.awaits = not outer
            for task in running:
                task.cancel()
            if running:
                await end_of_cancelled(running)

    def _begins(self, effect: Many, branch: Branch) -> bool:
        ends = self.stop or self.paused or self.journal.leaving
        return not (effect.enough() or ends or self._must_undo(branch))

    def _must_undo(self, branch: Branch) -> bool:
        """Whether a cancel was requested of which the branch has not heard: else its calls undo."""
        return self.cancel and not self.journal.is_cancelled(branch)

    async def _beside(self, call: StepCall) -> tuple[BaseException | None, Any]:
        """The error or the value of one call of a map, which has a context and a task of its own; nothing asks for those of one that was given up."""
        enter(evolve(self.current, step=call.key, attempt=call.attempt))
        task, found = asyncio.current_task(), (None, None)  # type: asyncio.Task[Any] | None, tuple[BaseException | None, Any]
        try:
            if call.step.is_async:
                found = None, await call.fn(*call.args)
            else:
                found = None, await self.executor.call_step(copy_context(), call.fn, *call.args)
        except BaseException as error:  # noqa: BLE001 - the step's failure; SystemExit would end the event loop
            own = own_error(error)
            found = own if is_a(own, Exception) else RuntimeError(repr(own)), None
        await end_of_own_cancels(task)
        return found

    async def _family(self, effect: StartChildren | LookAt | FirstMessage) -> Any:
        """Start children, see which have ended, or read a topic; if the store refuses it, the attempt ends."""
        try:
            if isinstance(effect, LookAt):
                return await self.committer.call(self.children.ends, effect.ids)
            if isinstance(effect, FirstMessage):
                return await self.committer.call(self.children.first_message, effect)
            return await self.children.start(effect, self.fence, self._commit_start)
        except (StoreError, LostClaim) as error:
            self._refuse(error)

    def _ends_if_paused(self) -> None:
        """A call that has waited for others does not begin after a pause."""
        if self.paused:
            raise self._leave()

    def _ends_if_lost(self) -> None:
        """After a step whose thread goes on, the claim is given up: what the thread still writes is refused."""
        if self.lost:
            raise self.journal.suspend(Suspension())


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


def call_of(effect: StepCall) -> Call:
    """A step's call as the executor takes it."""
    return Call(effect.fn, effect.args, effect.step.is_async, effect.limit_s)
