"""Attempts that tell of themselves: each claim is a span, and each step that it calls another one inside of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stepflow.drivers.port.commit import Commit, Release
from stepflow.drivers.port.step import Append
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.atomic_attempt import AtomicAttempt
from stepflow.engine.execution.attempt import Attempt, AttemptEffects, SteppedAttempt
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.step_attempt import StepAttempt
from stepflow.engine.execution.workflow_attempt import WorkflowAttempt
from stepflow.engine.instrument.telemetry import Telemetry
from stepflow.engine.states.function_attempt import FunctionAttempt
from stepflow.engine.states.function_runner import FunctionRunner
from stepflow.errors import LostClaim, PauseRequested, RevMismatch, RunPaused, StoreError
from stepflow.model.ctx import StateCtx
from stepflow.model.current import Current
from stepflow.model.flow import Call
from stepflow.model.function import FlowFunction
from stepflow.model.recovery import tried
from stepflow.replay.child_effects import Notes
from stepflow.replay.effects import Note, StepCall


class TracedExecutor(Executor):
    """The Executor of attempts that tell of themselves."""

    def __init__(self, clock: Clock, committer: Committer, telemetry: Telemetry) -> None:
        super().__init__(clock, committer)
        self.telemetry = telemetry


async def advanced(
    telemetry: Telemetry, attempt: Attempt, run: Callable[[], Awaitable[Release | None]]
) -> Release | None:
    """Advance a claim inside of its span."""
    opened = telemetry.attempt(attempt)
    try:
        release = await run()
    except BaseException as error:
        telemetry.attempt_ended(attempt, opened, _outcome_of(error))
        raise
    telemetry.attempt_ended(attempt, opened, attempt.ended or _outcome(attempt, release))
    return release


def _outcome(attempt: Attempt, release: Release | None) -> str:
    """How a claim ended on a run that goes on later."""
    if release is not None and release.blocked:
        return "blocked"
    if attempt.paused:
        return "paused"
    later = release is None or release.events or release.due is None or release.due > attempt.clock.now()
    return "suspended" if later else "released"


def _outcome_of(error: BaseException) -> str:
    if isinstance(error, PauseRequested | RunPaused):
        return "paused"
    if isinstance(error, LostClaim | RevMismatch):
        return "lost"
    if isinstance(error, StoreError):
        return "refused"
    return "interrupted" if isinstance(error, asyncio.CancelledError | KeyboardInterrupt) else "blocked"


def _telemetry(attempt: SteppedAttempt) -> Telemetry:
    executor = attempt.executor  # type: ignore[attr-defined]  # of all attempts that call steps
    assert isinstance(executor, TracedExecutor)
    return executor.telemetry


class TracedStepAttempt(StepAttempt):
    """A claim on a run of a chain."""

    __slots__ = ()

    def run(self) -> Awaitable[Release | None]:
        return advanced(_telemetry(self), self, super().run)

    def effects(self) -> AttemptEffects:
        """The same effects; a span is current while a step is called."""
        effects, telemetry, flow = super().effects(), _telemetry(self), self.flow.name
        try:
            effect = next(effects)
            while True:
                current = self.current
                calls = type(effect) is Call and current.running
                place = current.step
                step = (
                    telemetry.step(current.run_id, flow, place, place, current.attempt, self._taken) if calls else None
                )
                try:
                    value = yield effect
                except BaseException as error:  # noqa: BLE001 - passed on
                    if step is not None:
                        step.end(error)
                    effect = effects.throw(error)
                else:
                    if step is not None:
                        step.end()
                    effect = effects.send(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


class TracedWorkflowAttempt(WorkflowAttempt):
    """A claim on a run of a workflow."""

    __slots__ = ()
    calls_inline = False

    async def run(self) -> Release | None:
        return await advanced(_telemetry(self), self, super().run)

    def _member(self, effect: Note | Notes) -> Append | Commit:
        member = super()._member(effect)
        if member.consume:
            _telemetry(self).taken(event for event in self.record.events if event.seq in member.consume)
        return member

    def _scope(self, call: StepCall) -> Any:
        return _telemetry(self).step(self.state.id, self.flow.name, call.step.name or call.key, call.key, call.attempt)

    async def _call_step(self, call: StepCall, current: Current, path: str = "") -> tuple[BaseException | None, Any]:
        step = self._scope(call)
        try:
            error, value = await super()._call_step(call, current, path)
        except BaseException as error:
            step.end(error)
            raise
        step.end(error)
        return error, value

    async def _beside(self, call: StepCall) -> tuple[BaseException | None, Any]:
        step = self._scope(call)
        try:
            error, value = await super()._beside(call)
        except BaseException as error:
            step.end(error)
            raise
        step.end(error)
        return error, value

    def _call_step_sync(self, call: StepCall) -> tuple[Exception | None, Any]:
        step = self._scope(call)
        try:
            error, value = super()._call_step_sync(call)
        except BaseException as error:
            step.end(error)
            raise
        step.end(error)
        return error, value

    def _beside_sync(self, call: StepCall) -> tuple[Exception | None, Any]:
        step = self._scope(call)
        error, value = super()._beside_sync(call)
        step.end(error)
        return error, value


class TracedAtomicAttempt(TracedWorkflowAttempt, AtomicAttempt):
    """A claim on a run of an atomic workflow."""

    __slots__ = ()


class TracedFunctionAttempt(FunctionAttempt):
    """A claim on a State that goes to a flow function."""

    __slots__ = ()

    async def run(self) -> Release | None:
        assert isinstance(self.runner, TracedRunner)
        return await advanced(self.runner.telemetry, self, super().run)


class TracedRunner(FunctionRunner):
    """Calls flow functions, each in a span."""

    def __init__(self, *parts: Any, telemetry: Telemetry, **engines: Any) -> None:
        super().__init__(*parts, **engines)
        self.telemetry = telemetry

    async def _call(self, flow: FlowFunction, ctx: StateCtx) -> Any:
        step = self.telemetry.step(ctx.id, flow.name, flow.name, flow.name, tried(ctx.committed) + 1)
        try:
            command = await super()._call(flow, ctx)
        except BaseException as error:
            step.end(error)
            raise
        step.end()
        return command
