"""WorkflowCommits: makes journal rows durable, as Appends, or as a commit with a revision where the run's position or labels change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping
from contextlib import nullcontext
from types import coroutine
from typing import Any, NoReturn

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Committed, Fence, Write
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.step import Append, Member
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pausing import WhilePaused
from stepflow.engine.commit.pending import PENDING, PendingCommit
from stepflow.engine.execution.attempt import SteppedAttempt, is_closed
from stepflow.engine.execution.branch_tasks import BranchTasks
from stepflow.engine.execution.child_calls import ChildCalls, journal_row
from stepflow.engine.execution.executor import AGAIN_S
from stepflow.engine.threads.futures import keep_task
from stepflow.errors import LostClaim, PauseRequested, RevMismatch, StepflowError, StoreError
from stepflow.model.error_text import is_a, message_of
from stepflow.model.state import CHILDREN, State, Transition, without_wait
from stepflow.replay.branches import marked
from stepflow.replay.child_effects import Notes
from stepflow.replay.effects import Note, StepCall, Suspension
from stepflow.replay.journal import Journal, Suspended
from stepflow.replay.workflow import Workflow


@define(eq=False)
class WorkflowCommits(SteppedAttempt):
    """What the attempt of a workflow knows of the stored run, and how it commits the rows of calls."""

    committer: Committer = field(kw_only=True)
    children: ChildCalls = field(kw_only=True)
    journal: Journal = field(init=False)
    rev: int = field(init=False)  # of the newest revision; `state` is the State as claimed
    transition: Transition = field(init=False)
    labels: Mapping[str, str] = field(init=False)
    refused: StepflowError | None = field(init=False, default=None)  # why the store took no commit of a call
    tasks: BranchTasks = field(init=False, factory=BranchTasks)
    _appended: bool = field(init=False, default=False)
    _started: bool = field(init=False, default=False)  # children, by this claim
    _next: Transition = field(init=False)  # of the commit on its way, if that makes a revision

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.rev, self.transition, self.labels = self.state.rev, self.state.transition, self.state.labels

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
    def may_have_children(self) -> bool:
        """Whether this run started a child."""
        return self._started or CHILDREN in self.transition.annotations or any(r.kind[:5] == "child" for r in self.rows)

    async def _record(self, member: Member, answer: Awaitable[Any] | None = None) -> None:
        """Commit what a call has to record, or go on with the answer to that; if the store refuses it, the attempt ends."""
        try:
            self.committed(await (self.commit(member) if answer is None else self._until_answered(member, answer)))
        except PauseRequested:
            raise self._leave() from None
        except (StoreError, LostClaim, RevMismatch) as error:
            self._refuse(error)

    async def _record_notes(self, notes: list[Note]) -> None:
        async with self.tasks.moving if self.tasks.moving.locked() else nullcontext():
            await self._record(self._append(tuple(map(journal_row, notes))))

    async def _commit_start(self, commit: Commit) -> list[str]:
        """Commit the start of children: the ids of those that are there already, and nothing was done, or none."""
        try:
            done = await self.commit(commit)
        except RevMismatch as error:
            return error.ids
        return self._has_started(done)

    def _has_started(self, done: Any) -> list[str]:
        self.paused = type(done) is WhilePaused
        self._appended, self._started, self.journal.unfinished = True, True, 0
        self.children.wake()
        return []

    def _append(self, rows: tuple[JournalRow, ...], consume: tuple[int, ...] = ()) -> Append:
        return Append(self.state.id, self.claim.fence.epoch, rows, consume)

    def _member(self, effect: Note | Notes) -> Append | Commit:
        """The commit of rows; one that ends a wait also takes that from the run's position, and one with labels changes these."""
        notes, consume, changed = ((effect,), (), None) if isinstance(effect, Note) else effect
        rows, self.journal.unfinished = tuple(map(journal_row, notes)), 0
        consume = sum([note.consume for note in notes], consume)
        if self.flow.options.hung_after_s is not None:
            self._moved_at = self.clock.monotonic()
        ends = consume and self.transition.events
        if not ends and not changed:
            return self._append(rows, consume)
        before, transition = self.labels, self.transition
        if ends:
            transition = Transition(self.flow.name, without_wait(transition.annotations))
        if changed:
            self.labels = {name: value for name, value in {**before, **changed}.items() if value is not None}
        commit = self.moved(transition)._replace(consume=consume, journal=rows)
        return commit._replace(writes=(commit.writes[0]._replace(labels_before=before),)) if changed else commit

    def _member_of(self, call: StepCall, text: str, path: str = "") -> Append:
        """The commit of a step's value, in the branch of this path."""
        self.journal.unfinished = 0
        if self.flow.options.hung_after_s is not None:
            self._moved_at = self.clock.monotonic()
        row = JournalRow(call.key, marked(call.kind, path) if path else call.kind, call.step.name, text)
        return Append(self.state.id, self.claim.fence.epoch, (row,))

    def moved(self, transition: Transition) -> Commit:
        state = self.state
        write = Write(State(state.id, self.rev, transition, self.labels, state.annotations))
        self._next = transition
        return Commit(Fence(state.id, self.claim.fence.epoch), writes=(write,))

    def committed(self, done: Any) -> None:
        """A commit of a call is durable."""
        self._appended, self.paused = True, type(done) is WhilePaused
        if isinstance(done, Committed) and done.revs:
            (self.rev,), self.transition = done.revs, self._next

    def commit(self, member: Member) -> Awaitable[Any]:
        """Commit from the event loop; the write is done even if user code cancels the task meanwhile."""
        return self._until_answered(member)

    @coroutine
    def _until_answered(self, member: Member, answer: Awaitable[Any] | None = None) -> Generator[Any, Any, Any]:
        while True:
            made, answer = answer or self.committer.submit(member), None
            try:
                if type(made) is not PendingCommit:
                    return (yield from made.__await__())
                while made.outcome is PENDING:
                    yield made
                    if made.outcome is PENDING:  # the task was cancelled
                        self._keep_task()
                if not isinstance(made.outcome, BaseException):
                    return made.outcome
                raise made.outcome
            except StoreError as error:
                if not self.should_retry_commit(error):
                    raise
            yield from asyncio.sleep(AGAIN_S).__await__()

    def _keep_task(self) -> None:
        """Let the present task go on that was cancelled in a commit, unless the worker ends it."""
        task = self.task if self.tasks.present() is None else asyncio.current_task()
        if is_closed(task) or self.interrupted:
            raise asyncio.CancelledError
        keep_task(task)

    def _refuse(self, error: BaseException) -> NoReturn:
        """The store did not take a commit: end the attempt, and let the worker see why."""
        self.refused = error if isinstance(error, StepflowError) else StepflowError(message_of(error))
        raise self._leave(paused=is_a(error, PauseRequested))

    def _leave(self, *, paused: bool = True) -> Suspended:
        """End the attempt, in its present branch; the exception is to be raised."""
        self.paused = self.paused or paused
        if self.tasks.branches and (branch := self.tasks.present()) is not None:
            self.journal.switch(branch)
        return self.journal.suspend(Suspension())
