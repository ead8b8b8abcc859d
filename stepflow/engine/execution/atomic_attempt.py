"""AtomicAttempt: advances a run of an atomic workflow: all that one call of its function writes and records is one transaction.

What other workflows commit call by call is collected here, and committed with what the function wrote through `wf.tx` when that has
ended. Each step has a savepoint, so a statement that fails in one spoils neither the next try nor other steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Committed, Release
from stepflow.drivers.port.step import Append, Member, whole
from stepflow.engine import step_failure
from stepflow.engine.execution.attempt import is_closed
from stepflow.engine.execution.user_transactions import Refused
from stepflow.engine.execution.workflow_attempt import WorkflowAttempt
from stepflow.engine.execution.workflow_threads import WorkflowThreads
from stepflow.engine.threads.deferred_signals import user_code
from stepflow.engine.threads.futures import keep_task
from stepflow.engine.threads.raised import own_error
from stepflow.errors import CancelRequested, DefinitionError, StepflowError
from stepflow.model.error_text import is_a
from stepflow.model.flow import Call
from stepflow.model.state import Transition
from stepflow.replay.async_context import AsyncContext
from stepflow.replay.child_effects import ChildEffect, LookAt, StartChildren
from stepflow.replay.effects import Many, Note, StepCall, Suspension, Together
from stepflow.replay.journal import CANCELLED, Suspended
from stepflow.replay.step import round_trip

SAVE, RELEASE, UNDO = (f"{words} stepflow_step" for words in ("savepoint", "release", "rollback to"))
SPOILED = (
    "a statement of the step failed, so nothing of the step can be committed: let the step raise that exception, or put the statement"
    " into a savepoint of its own"
)
Guarded = Generator[str | StepCall, Any, tuple[Exception | None, Any]]


class _RolledBack(Exception):
    """The function raised `error`: nothing of the attempt is kept."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Unheard(Exception):
    """A cancel came too late for the function to hear of it: nothing of the attempt is kept."""


class _BlockedRelease(Exception):
    """The run is blocked: nothing of the attempt is kept."""

    def __init__(self, release: Release) -> None:
        super().__init__(release)
        self.release = release


@define(eq=False)
class AtomicAttempt(WorkflowAttempt):
    """A claim on a run whose workflow has `atomic=True`."""

    tx: Any = field(init=False, default=None)  # the connection, while the transaction is open
    _collected: Commit = field(init=False, factory=Commit)
    _before: tuple[Transition, Any] = field(init=False)  # the transition and the labels as stored
    _fatal: BaseException | None = field(init=False, default=None)  # what ended the transaction before the function
    _raised: Exception | None = field(init=False, default=None)  # what the function raised

    def connection(self) -> Any:
        """The connection that `wf.tx` is."""
        return self.tx

    async def _call(self, value: Any) -> Release | None:
        self._before = self.transition, self.labels
        made: Callable[..., Any] = self._called_async if self.workflow.is_async else self._called
        try:
            call = Call(made, (value,), self.workflow.is_async, None)
            release, _done = await self.transactions.acall(self, call, self._ending)
        except _BlockedRelease as found:
            return found.release
        except _RolledBack as failed:
            return await self._rolled_back(failed.error)
        except _Unheard:
            return await self._cancelled_late()
        except Refused as refusal:
            if isinstance(refusal.error, CancelRequested):
                self.cancel = True
                if self.ended == "completed":
                    return await self._cancelled_late()
                self._restore()
                return await self._end("cancelled")
            raise refusal.error from None
        except BaseException as error:
            if is_closed(self.task) or self.interrupted:
                raise
            keep_task(self.task)
            # The error of a transaction that a statement spoiled says less than that of the statement.
            return await self._rolled_back(own_error(self._raised or error))
        return release  # type: ignore[no-any-return]

    def _called(self, connection: Any, value: Any) -> tuple[Any, BaseException | None]:
        """Call a sync function: what it returned, or raised."""
        self._begin(connection)
        found: tuple[Any, BaseException | None]
        try:
            found = self.call_sync(value), None
        except BaseException as error:
            if error is user_code.interruption or is_a(error, KeyboardInterrupt):
                raise
            found = None, own_error(error)
        return self._unless_fatal(found)

    async def _called_async(self, connection: Any, value: Any) -> tuple[Any, BaseException | None]:
        self._begin(connection)
        self.home, self.awaits = asyncio.current_task(), False  # only a step shall hear of a cancel
        found: tuple[Any, BaseException | None]
        try:
            found = await self.workflow.call(AsyncContext(self.journal, self.perform), value), None
        except BaseException as error:
            if is_closed(self.task) or self.interrupted or is_a(error, KeyboardInterrupt):
                raise
            keep_task(self.task)
            found = None, own_error(error)
        return self._unless_fatal(found)

    def _begin(self, connection: Any) -> None:
        """The function is called, perhaps again after a deadlock."""
        self._restore()
        self.tx = connection
        self._open_journal()

    def _restore(self) -> None:
        """Nothing is collected, and what follows is committed by itself."""
        self.tx, self._fatal, self._raised = None, None, None
        self.transition, self.labels = self._before
        self._collected = Commit(self.fence)

    def _unless_fatal(self, found: tuple[Any, BaseException | None]) -> tuple[Any, BaseException | None]:
        if self._fatal is not None:
            raise self._fatal
        raised = found[1]
        if is_a(raised, Exception):
            if self.transactions.trouble(self, raised):  # of a statement outside of the steps
                raise raised
            self._raised = raised
        return found

    def _ending(self, found: tuple[Any, BaseException | None]) -> tuple[Member, Release | None]:
        """The commit of all that was collected, and the Release that follows it."""
        settling = self._settle(*found)
        try:
            settling.send(None)  # it does not wait: what it commits is collected
        except StopIteration as stop:
            release: Release | None = stop.value
        else:
            settling.close()
            raise AssertionError("the end of an atomic attempt waited")
        if release is not None and release.blocked:
            raise _BlockedRelease(release)
        self.tx = None
        return self._collected, release

    async def _cancelled_in_last(self, unmade: str = "") -> Release | None:
        """The same, once what this attempt wrote is rolled back."""
        if self.tx is not None:
            raise _Unheard
        return await super()._cancelled_in_last(unmade)

    async def _cancelled_late(self) -> Release | None:
        """The function is called again without what this attempt recorded: the first call that was rolled back raises Cancelled, else the last one."""
        rolled_back = any(row.kind != CANCELLED for row in self._collected.journal)
        self._restore()
        found = None
        if self.rows:
            found = self._called_again() if rolled_back else await self._cancelled_in_last()
        return found or await self._end("cancelled")

    async def _failed(self, error: BaseException) -> Release | None:
        if self.tx is not None and self.workflow.atomic == "rollback":
            raise _RolledBack(error)
        return await super()._failed(error)

    async def _rolled_back(self, error: BaseException) -> Release | None:
        """Commit the failure of the function alone."""
        if is_a(error, KeyboardInterrupt):
            raise error
        key = step_failure.origin(error, self.journal.failures)
        self._restore()
        self.journal.failures.clear()  # no row of them is stored
        self.journal.suspend(Suspension())  # for a thread that goes on
        release = await (self._end("cancelled") if self.cancel else self._failed(error))
        self.failed_step = key
        return release

    async def commit(self, member: Member) -> Any:
        """Collect what is to be committed while the transaction is open."""
        return self._collect(member) if self.tx is not None else await WorkflowAttempt.commit(self, member)

    def _commit_sync(self, member: Member, expected: type[StepflowError] | tuple[()] = ()) -> Any:  # noqa: ARG002
        if self.tx is None:
            raise self.journal.suspend(Suspension())  # its thread went on after the end of the transaction
        return self._collect(member)

    def committed(self, done: Any) -> None:
        """Nothing is durable before the end of the attempt."""
        if self.tx is None:
            WorkflowAttempt.committed(self, done)

    def _collect(self, member: Member) -> Committed:
        """Put a commit together with those before it, of which the last position counts."""
        before, now = self._collected, whole(member)
        rows = {} if now.forget else {row.key: row for row in before.journal}
        rows |= {row.key: row for row in now.journal}
        writes = now.writes or before.writes
        if now.writes and not isinstance(member, Append):
            self.transition = now.writes[0].state.transition
            labels = self._before[1]
            if labels != now.writes[0].state.labels:
                writes = (now.writes[0]._replace(labels_before=labels),)
        consume = before.consume + now.consume
        self._collected = now._replace(
            fence=self.fence, writes=writes, consume=consume, journal=tuple(rows.values()), forget=now.forget
        )
        return Committed()

    def perform(self, effect: StepCall | Many | Note | Together | ChildEffect) -> Awaitable[Any]:
        """Do what a call of an async workflow asks for."""
        return self._noting(self._performed(effect))

    async def _performed(self, effect: StepCall | Many | Note | Together | ChildEffect) -> Any:
        self._check(effect)
        if not isinstance(effect, StepCall):
            return await WorkflowAttempt.perform(self, effect)
        guarded = self._guarded(effect)
        try:
            part = next(guarded)
            while True:
                try:
                    done = await (self.tx.execute(part) if isinstance(part, str) else self._call_alone(part))
                except Exception as error:  # noqa: BLE001 - of a statement of ours
                    part = guarded.throw(error)
                else:
                    part = guarded.send(done)
        except StopIteration as stop:
            return stop.value

    def perform_sync(self, effect: StepCall | Many | Note | ChildEffect) -> Any:
        """Do what a call of a sync workflow asks for, in its thread."""
        self._check(effect)
        if not isinstance(effect, StepCall):
            return WorkflowThreads.perform_sync(self, effect)
        guarded = self._guarded(effect)
        try:
            part = next(guarded)
            while True:
                try:
                    done = self.tx.execute(part) if isinstance(part, str) else self._call_step_sync(part)
                except Exception as error:  # noqa: BLE001 - of a statement of ours
                    part = guarded.throw(error)
                else:
                    part = guarded.send(done)
        except StopIteration as stop:
            return stop.value

    async def _call_alone(self, call: StepCall) -> tuple[BaseException | None, Any]:
        try:
            return await self._call_step(call, self.current)
        finally:
            self.awaits = False

    def _guarded(self, call: StepCall) -> Guarded:
        """Call a step in a savepoint of its own, and collect its row: its failure, or its value."""
        args = (self.tx, *call.args) if call.kind == "transaction" else call.args
        try:
            yield SAVE
        except Exception as error:  # noqa: BLE001 - what was done outside of steps spoiled the transaction
            self._give_up(error)
        failure, value = yield call._replace(args=args, kind="step")
        if failure is None:
            try:
                text, value = round_trip(call.step, value)
            except Exception as error:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
                failure = error
        if failure is None:
            try:
                yield RELEASE
            except Exception as error:  # noqa: BLE001 - the step swallowed the failure of a statement
                failure = StepflowError(SPOILED) if not self.transactions.trouble(self, error) else error
            else:
                self._collect(self._member_of(call, text))
                return None, value
        if self.lost or self.transactions.trouble(self, failure):
            self._give_up(failure)
        try:
            yield UNDO
            yield RELEASE
        except Exception:  # noqa: BLE001 - the database rolled back more than the step
            self._give_up(failure)
        return failure, None

    def _give_up(self, error: BaseException) -> None:
        """End the function: its transaction cannot be committed."""
        self._fatal = error
        raise self.journal.suspend(Suspension())

    def _check(self, effect: object) -> None:
        """Refuse what cannot be part of one transaction."""
        if self.tx is None:
            raise Suspended
        if isinstance(effect, Many | Together):
            problem = "makes calls side by side, which one connection cannot: make them one after another"
        elif isinstance(effect, StartChildren | LookAt):
            problem = "starts a child: start a run with engine.start(flow, input, tx=wf.tx)"
        elif isinstance(effect, StepCall) and effect.at_most_once:
            problem = "has at_most_once=True, which must be recorded before the call: make it in another workflow"
        else:
            return
        raise self.journal.wrong(DefinitionError(f"{self.flow.name}: an atomic workflow {problem}"))
