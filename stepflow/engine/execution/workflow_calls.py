"""WorkflowCalls: what the calls of a workflow need of its attempt: steps are made and journal rows committed.

The deciders of `replay` tell what to do: a StepCall is made, a Note is committed as an Append. What is here carries that out for async
workflows, and `workflow_threads.py` for sync ones.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Committed, Fence, Write
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.step import Append, Member
from stepflow.engine import step_failure
from stepflow.engine.clock import microseconds, uuid7
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import PendingCommit
from stepflow.engine.execution.at_most_once import failure_of
from stepflow.engine.execution.attempt import SteppedAttempt, is_closed, keep_task
from stepflow.engine.execution.branch_tasks import BranchTasks, recorded_in
from stepflow.engine.execution.child_calls import ChildCalls, journal_row
from stepflow.engine.execution.executor import AGAIN_S, Executor
from stepflow.engine.execution.user_transactions import Refused, UserTransactions
from stepflow.engine.futures import end_of_cancelled
from stepflow.engine.raised import Raised, own_error
from stepflow.errors import Cancelled, LostClaim, RevMismatch, StepflowError, StoreError
from stepflow.model.current import Current, current, current_step, enter
from stepflow.model.error_text import message_of
from stepflow.model.flow import Call
from stepflow.model.state import CANCEL, CHILDREN, State, Transition, without_wait
from stepflow.replay.branches import Branch
from stepflow.replay.child_effects import ChildEffect, LookAt, Notes, Relabel, StartChildren, in_branch
from stepflow.replay.journal import Journal, Many, Note, StepCall, Suspension, Together, Transacted
from stepflow.replay.workflow import Workflow


@define(eq=False)
class WorkflowCalls(SteppedAttempt):
    """The Host of a Journal, and what carries out the effects of the deciders."""

    committer: Committer = field(kw_only=True)
    executor: Executor = field(kw_only=True)
    transactions: UserTransactions = field(kw_only=True)
    children: ChildCalls = field(kw_only=True)
    journal: Journal = field(init=False)
    rev: int = field(init=False)  # of the newest revision; `state` is the State as claimed
    transition: Transition = field(init=False)
    labels: Mapping[str, str] = field(init=False)
    _is_async: bool = field(init=False)
    home: object = field(init=False, default=None)  # the task or the thread that may make durable calls
    refused: StepflowError | None = field(init=False, default=None)  # why the store took no commit of a call
    tasks: BranchTasks = field(init=False, factory=BranchTasks)
    _cancelled_at: int = field(init=False, default=0)  # microseconds UTC, if this claim learned of it
    _appended: bool = field(init=False, default=False)
    _started: bool = field(init=False, default=False)  # children, by this claim
    failed_step: str = field(init=False, default="")  # the key of the one whose failure ended the attempt
    _next: Transition = field(init=False)  # of the commit on its way, if that makes a revision

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.rev, self.transition, self.labels = self.state.rev, self.state.transition, self.state.labels
        self.cancel = self.cancel or CANCEL in self.transition.annotations
        self.current = Current(self.state.id, self.record.created.flow)
        self._is_async = self.workflow.is_async

    @property
    def workflow(self) -> Workflow[Any, Any]:
        """The flow of the run."""
        assert isinstance(self.flow, Workflow)
        return self.flow

    @property
    def progressed(self) -> bool:
        """Whether this claim has recorded anything: earlier crashes do not count any more."""
        return self._appended or self.rev != self.record.state.rev

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
        if step := current_step():
            return f"is called inside of step {step!r}: only the workflow itself may make durable calls; let the step return first"
        if self._is_async:
            if asyncio.current_task() is not self.home and self.tasks.present() is None:
                return (
                    "is awaited in another task than the workflow: use `await wf.gather(...)` for calls side by side, not asyncio.gather,"
                    " create_task or wait_for"
                )
        elif threading.get_ident() != self.home:
            return "is made in another thread than the workflow: make the calls one after another in the workflow's own thread"
        return ""

    def request_cancel(self) -> None:
        """Let the workflow see Cancelled; an async step is cancelled now."""
        self._cancelled_at = self._cancelled_at or self.clock.now()
        SteppedAttempt.request_cancel(self)

    def branch(self) -> Branch | None:
        """The branch of the present task, if it is one of a gather."""
        return self.tasks.present()

    def stopping(self) -> bool:
        """Whether the claim shall be released before the next call."""
        return self.stop or self._interrupted

    def cancelling(self) -> bool:
        """Whether a cancel was requested."""
        return self.cancel

    def transaction_problem(self, is_async: bool) -> str:
        """Why the store gives no transaction to such a function."""
        return self.transactions.problem(is_async)

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

    @property
    def may_have_children(self) -> bool:
        """Whether this run started a child."""
        return self._started or CHILDREN in self.transition.annotations or any(r.kind[:5] == "child" for r in self.rows)

    async def perform(self, effect: StepCall | Transacted | Many | Note | Together | ChildEffect) -> Any:
        """Do what a call of an async workflow asks for."""
        if self.tasks.branches or isinstance(effect, Together):
            return await self._in_branch(effect)
        return await self._perform(effect, self.current)

    async def _in_branch(self, effect: StepCall | Transacted | Many | Note | Together | ChildEffect) -> Any:
        """The same while the calls of a gather go on."""
        journal, branch, outer = self.journal, self.journal.branch, not self.tasks.branches
        if isinstance(effect, Together):
            self.awaits = self.awaits or outer
            try:
                return await self.tasks.run(journal, effect, self.current, self._record_notes, self._is_cancelled)
            finally:
                self.awaits = self.awaits and not outer
        if isinstance(effect, Note):
            note = effect._replace(branch=branch.path)
            if (note.consume and self.transition.events) or self.tasks.moving.locked():
                async with self.tasks.moving:
                    await self._record(self._member(note))
            else:
                await self._record(self._member(note))
            journal.switch(branch)
            return self._ends_if_lost()
        if isinstance(effect, ChildEffect):
            async with self.tasks.moving:
                answer = await self._perform(in_branch(effect, branch.path), current())
            journal.switch(branch)
            return answer
        if isinstance(effect, Transacted):
            effect = effect._replace(record=partial(recorded_in, effect.record, branch.path))
            async with self.tasks.moving:  # it may hold the write lock of the store: no other branch commits meanwhile
                with self.tasks.interruptible() if effect.call.is_async else nullcontext():
                    return await self._perform(effect, current())
        if isinstance(effect, Many) or (effect.is_async and not effect.at_most_once):
            with self.tasks.interruptible():
                return await self._perform(effect, current())
        return await self._perform(effect, current())

    async def _perform(self, effect: StepCall | Transacted | Many | Note | ChildEffect, current: Current) -> Any:
        if isinstance(effect, Note | Notes | Relabel):
            await self._record(self._member(effect))
            return self._ends_if_lost()
        if isinstance(effect, Many):
            return await self._many(effect)
        if isinstance(effect, StartChildren | LookAt):
            return await self._family(effect)
        effect, record = (effect.call, effect.record) if isinstance(effect, Transacted) else (effect, None)
        outer = not self.tasks.branches
        if outer:  # a branch is not interrupted by a cancel of the attempt, but by one of its own task
            self.at_most_once = effect.at_most_once
        current.step, current.attempt = effect.key, effect.attempt
        try:
            if record is not None:
                return None, await self._transacted(call_of(effect), record)
            if effect.limit_s is not None:
                return None, await self.executor.limits.run(self, call_of(effect), self.executor.call_step)
            if effect.is_async:
                self.awaits = True
                return None, await effect.fn(*effect.args)
            return None, await self.executor.call_to_its_end(self, effect.fn, *effect.args)
        except Refused as refusal:
            self._refuse(refusal.error)
        except (Exception, Raised) as error:  # noqa: BLE001 - the step's failure
            own = own_error(error)
            if not isinstance(own, Exception):
                raise own from None
            return failure_of(self, effect, own), None
        except asyncio.CancelledError:
            if not self._is_cancelled():
                raise
            return Cancelled(), None
        finally:
            current.step, self.awaits = "", not outer
            if outer:
                self.at_most_once = False

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
        path, outer = self.journal.branch.path, not self.tasks.branches
        try:
            self.awaits = True
            while True:
                while len(running) < effect.width and self._begins(effect) and (call := next(calls, None)):
                    running[asyncio.create_task(self._beside(call))] = call
                if not running or effect.enough():
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

    def _begins(self, effect: Many) -> bool:
        cancelled = self.cancelling() and not self.journal.cancelled  # else these calls undo
        return not (effect.enough() or self.stopping() or cancelled)

    async def _record(self, member: Member) -> None:
        """Commit what a call has to record; if the store refuses it, the attempt ends."""
        try:
            self.committed(await self.commit(member))
        except (StoreError, LostClaim, RevMismatch) as error:
            self._refuse(error)

    async def _record_notes(self, notes: list[Note]) -> None:
        async with self.tasks.moving if self.tasks.moving.locked() else nullcontext():
            await self._record(self._append(tuple(map(journal_row, notes))))

    async def _beside(self, call: StepCall) -> tuple[BaseException | None, Any]:
        """The error or the value of one call of a map, which has a context of its own."""
        enter(Current(self.current.run_id, self.current.flow, call.key, call.attempt))
        try:
            if call.is_async:
                return None, await call.fn(*call.args)
            return None, await self.executor.call_step(copy_context(), call.fn, *call.args)
        except asyncio.CancelledError as error:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # it runs in a task of its own
                raise
            return RuntimeError(repr(error)), None
        except BaseException as error:  # noqa: BLE001 - the step's failure; SystemExit would end the event loop
            own = own_error(error)
            return own if isinstance(own, Exception) else RuntimeError(repr(own)), None

    async def _transacted(self, call: Call, record: Callable[[Any], tuple[Note, Any]]) -> Any:
        value, done = await self.transactions.acall(self, call, partial(self._recorded, record))
        self.committed(done)
        return value

    def _recorded(self, record: Callable[[Any], tuple[Note, Any]], value: Any) -> tuple[Member, Any]:
        """The commit of what a function returned, and the value that the call has for the workflow."""
        note, value = record(value)
        return self._member(note), value

    async def _family(self, effect: StartChildren | LookAt) -> Any:
        """Start children, or see which have ended; if the store refuses it, the attempt ends."""
        try:
            if isinstance(effect, LookAt):
                return await self.committer.call(self.children.ends, effect.ids)
            return await self.children.start(effect, self.fence, self._commit_start)
        except (StoreError, LostClaim) as error:
            self._refuse(error)

    async def _commit_start(self, commit: Commit) -> list[str]:
        """Commit the start of children: the ids of those that are there already, and nothing was done, or none."""
        try:
            await self.commit(commit)
        except RevMismatch as error:
            return error.ids
        return self._has_started()

    def _has_started(self) -> list[str]:
        self._appended, self._started, self.journal.unfinished = True, True, 0
        self.children.wake()
        return []

    def _append(self, rows: tuple[JournalRow, ...], consume: tuple[int, ...] = ()) -> Append:
        return Append(self.state.id, self.claim.fence.epoch, rows, consume)

    def _member(self, effect: Note | Notes | Relabel) -> Append | Commit:
        """The commit of rows; one that ends a wait also takes that from the run's position."""
        if isinstance(effect, Relabel):
            return self._relabelled(effect)
        notes, consume = ([effect], ()) if isinstance(effect, Note) else (effect.notes, effect.consume)
        rows, self.journal.unfinished = tuple(map(journal_row, notes)), 0
        consume = sum([note.consume for note in notes], consume)
        if self.flow.options.hung_after_s is not None:
            self._moved_at = self.clock.monotonic()
        if not consume or not self.transition.events:
            return self._append(rows, consume)
        kept = without_wait(self.transition.annotations)
        return self.moved(Transition(self.flow.name, kept))._replace(consume=consume, journal=rows)

    def _relabelled(self, effect: Relabel) -> Commit:
        before, self.journal.unfinished = self.labels, 0
        self.labels = {name: value for name, value in {**before, **effect.labels}.items() if value is not None}
        commit = self.moved(self.transition)._replace(journal=(journal_row(effect.note),))
        return commit._replace(writes=(commit.writes[0]._replace(labels_before=before),))

    def moved(self, transition: Transition) -> Commit:
        state = self.state
        write = Write(State(state.id, self.rev, transition, self.labels, state.annotations))
        self._next = transition
        return Commit(Fence(state.id, self.claim.fence.epoch), writes=(write,))

    def committed(self, done: Any) -> None:
        """A commit of a call is durable."""
        self._appended = True
        if isinstance(done, Committed) and done.revs:
            (self.rev,), self.transition = done.revs, self._next

    async def commit(self, member: Member) -> Any:
        """Commit from the event loop; the write is done even if user code cancels the task meanwhile."""
        pending = self.committer.submit(member)
        while True:
            try:
                return await pending
            except asyncio.CancelledError:
                task = self.task if self.tasks.present() is None else asyncio.current_task()
                if is_closed(task) or self.interrupted or type(pending) is not PendingCommit:
                    raise
                keep_task(task)
            except StoreError as error:
                if not self.should_retry_commit(error):
                    raise
                await asyncio.sleep(AGAIN_S)
                pending = self.committer.submit(member)

    def _refuse(self, error: BaseException) -> NoReturn:
        """The store did not take a commit: end the attempt, and let the worker see why."""
        self.refused = error if isinstance(error, StepflowError) else StepflowError(message_of(error))
        raise self.journal.suspend(Suspension())

    def _ends_if_lost(self) -> None:
        """After a step whose thread goes on, the claim is given up: what the thread still writes is refused."""
        if self.lost:
            raise self.journal.suspend(Suspension())


def call_of(effect: StepCall) -> Call:
    """A step's call as the executor takes it."""
    return Call(effect.fn, effect.args, effect.is_async, effect.limit_s)
