"""FunctionRunner: calls flow functions one after another and carries out the commands that they return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from typing import Any

from attrs import frozen

from stepflow.engine.clock import Clock
from stepflow.engine.execution.at_most_once import refuse_to_forget
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.once_calls import ends_claim
from stepflow.engine.states.executions import Executions
from stepflow.engine.states.function_calls import FunctionCalls
from stepflow.engine.states.kept_leases import KeptLeases
from stepflow.engine.states.lease import ExecutionContext
from stepflow.engine.states.service import StateService
from stepflow.engine.threads.raised import own_error
from stepflow.errors import LostClaim, RevMismatch, RunPaused, StepflowError, UnknownFlow
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.current import enter, leave
from stepflow.model.flow import Flow
from stepflow.model.function import FlowFunction
from stepflow.model.state import State


@frozen
class Done:
    """The last function took care of everything itself (it returned Noop)."""


@frozen
class Parked:
    """The State goes nowhere now."""


@frozen
class Delayed:
    """The State goes on later."""


@frozen
class Conflict:
    """Another commit moved these States first; what this execution wanted to commit was not written."""

    ids: tuple[str, ...]


Outcome = Done | Parked | Delayed | Conflict


class FunctionRunner:
    """Calls flow functions; the engines are what async and sync functions receive when they ask for one."""

    def __init__(
        self,
        service: StateService,
        leases: KeptLeases,
        executions: Executions,
        executor: Executor,
        clock: Clock,
        flows: Mapping[str, Flow[Any, Any]],
        engine: Any,
        sync_engine: Any,
        look: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`look` finds out which flows are served by hosts, and adds them to `flows`."""
        self._service, self._leases, self._executions = service, leases, executions
        self._executor, self._clock, self._flows = executor, clock, flows
        self._engine, self._sync_engine, self._look = engine, sync_engine, look

    async def advance(self, at: ExecutionContext) -> Outcome:
        """Call the function of the flow that the State goes to, do what it returns, and go on until there is no more to do.

        Raises what a function raised; its State stays as last committed. `at` tells how far the execution came.
        """
        calls, ctx = FunctionCalls(at, self._executor, self._clock), at.ctx
        token, entered = enter(calls.current), self._executions.enter(at)
        try:
            while True:
                if self._look is not None:
                    await self._look_for(ctx.transition.to)
                flow = self.flow(ctx)
                calls.begin(flow)
                try:
                    command = await self._call(flow, ctx)
                except BaseException as error:
                    at.raised = None if ends_claim(at.once, error) else own_error(error)
                    raise
                finally:
                    calls.end()
                if ctx.id != at.lease.id:
                    raise _renamed(at)
                refuse_to_forget(at.lease.rows)
                if type(command) is c.Execute:  # which is only a way to go on
                    following: StateCtx | Outcome = command.ctx
                else:
                    following = await self.interpret(command, flow, at)
                if not isinstance(following, StateCtx):
                    return following
                if following.id != at.lease.id:
                    await self._leases.release_lease(at.lease)
                    at.lease = self._leases.take(following)
                at.ctx = ctx = following
                at.attempt = 1
                if at.stopping():
                    return Done()
        except RunPaused:
            at.lease.fence = None
            raise
        except LostClaim as error:
            if error is at.raised:
                raise
            return Conflict((at.ctx.id,))
        finally:
            self._executions.leave(at, entered)
            leave(token)
            if at.left:
                await self._leases.release(at.left)

    async def call(self, at: ExecutionContext) -> c.Command:
        """Call the function of the flow that the State goes to, once: the command that it returned, which is not carried out."""
        calls = FunctionCalls(at, self._executor, self._clock)
        token, entered = enter(calls.current), self._executions.enter(at)
        try:
            flow = self.flow(at.ctx)
            calls.begin(flow)
            try:
                command = await self._call(flow, at.ctx)
            finally:
                calls.end()
            _following(_checked(command, flow), at.ctx)  # raises if no function may end with it
            return command  # type: ignore[no-any-return]
        finally:
            self._executions.leave(at, entered)
            leave(token)
            if at.left:
                await self._leases.release(at.left)

    async def interpret(self, command: Any, flow: FlowFunction, at: ExecutionContext) -> StateCtx | Outcome:
        """Carry out what a function returned; the State that the execution goes on with, or how it ends."""
        at.handed_over = isinstance(command, HandOver)
        try:
            if isinstance(command, c.CommitCommand):
                await self._service.commit(command, at.lease)
            elif not isinstance(command, c.Execute):
                await self._service.do(_checked(command, flow), at.lease)
        except RevMismatch as error:
            return Conflict(tuple(error.ids))
        return _following(command, at.ctx)

    async def keep(self, at: ExecutionContext) -> None:
        """Make durable what was only moved in memory."""
        ctx = at.ctx
        *before, last = [*ctx.transitions, ctx.transition]
        ctx.transition, ctx.transitions = before[-1], before[:-1]
        move = c.Transit(ctx, last.to, last.annotations) if last.to else c.Park(ctx, last.annotations)
        await self._service.commit(c.CommitCommand((move,)), at.lease)

    def flow(self, ctx: StateCtx) -> FlowFunction:
        """The flow that the State goes to; UnknownFlow if it is not one that can be executed here."""
        flow = self._flows.get(to := ctx.transition.to)
        if isinstance(flow, FlowFunction) and ctx.id:
            return flow
        if not ctx.id:
            raise StepflowError('state id empty: give the State an id, StateCtx("order-42")')
        if not to:
            raise StepflowError(f"transition to id empty: State {ctx.id!r} is parked; transit it to a flow first")
        if flow is None:
            known = ", ".join(sorted(self._flows)) or "none"
            raise NotHere(f"flow not found: {to!r} is not registered here (registered: {known})")
        raise NotHere(f"{to!r} is no flow function: runs of it are advanced by a worker")

    def known(self, to: str, other: Flow[Any, Any]) -> Flow[Any, Any]:
        """The flow that a State goes to; if that is not known here, the other one."""
        return self._flows.get(to, other)

    async def _look_for(self, flow: str) -> None:
        """Look for hosts, if nothing is known of this flow here."""
        if flow and flow not in self._flows and self._look is not None:
            await self._look()

    async def newest(self, state: State) -> State:
        """The newest revision: the function may have moved its State through another working copy."""
        ctx = StateCtx(state.id)
        await self._service.do(c.GetStateByID(ctx, state.id))
        return ctx.committed

    def _call(self, flow: FlowFunction, ctx: StateCtx) -> Awaitable[Any]:
        if flow.is_async:
            result: Awaitable[Any] = flow.fn(ctx, self._engine) if flow.wants_engine else flow.fn(ctx)
            return result
        args = (ctx, self._sync_engine) if flow.wants_engine else (ctx,)
        return self._executor.call_step(copy_context(), flow.fn, *args)


class NotHere(UnknownFlow):
    """The State goes to a flow that this engine does not execute: a worker that has registered it may."""


class NoHost(NotHere):
    """The State goes to a flow that hosts serve, and none of them executes it now; `refused`: one at least could be asked, and does not want to."""

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class HandOver(c.Noop):
    """A host took the State over: it goes on with it, and commits by itself."""


def _renamed(at: ExecutionContext) -> StepflowError:
    return StepflowError(
        f"the function gave its State {at.lease.id!r} the id {at.ctx.id!r}: make a StateCtx of its own for another State"
    )


def _checked(command: Any, flow: FlowFunction) -> c.Command:
    """What a flow function returned, if it is a command."""
    if isinstance(command, c.Command):
        return command
    raise StepflowError(
        f"flow {flow.name!r} returned {command!r:.80}: it must return a command, e.g. park(ctx) or Noop()"
    )


def _following(command: c.Command, ctx: StateCtx) -> StateCtx | Outcome:
    """The State that an execution at `ctx` goes on with, once the returned command is done; or how the execution ends."""
    if isinstance(command, c.CommitCommand):
        commands = command.commands
        if len(commands) > 1:
            return _after_several(commands, ctx)
        command = commands[0]
    if isinstance(command, c.GOES_ON):
        return command.ctx
    if isinstance(command, c.Park):
        return Parked()
    if isinstance(command, c.DelayCommand):
        return Delayed()
    if isinstance(command, c.Noop):
        return Done()
    name = type(command).__name__
    raise StepflowError(
        f"unknown command {name}: a function must end with transit, park, delay, Execute, Noop or commit"
    )


def _after_several(commands: Sequence[c.Command], ctx: StateCtx) -> StateCtx | Outcome:
    if any(isinstance(part, c.DelayCommand) and part.ctx.id == ctx.id for part in commands):
        return Delayed()
    moves = [part.ctx for part in commands if isinstance(part, c.ENDS_WITH_A_WRITE) and part.ctx.id == ctx.id]
    if not moves:
        return Done()
    return moves[-1] if moves[-1].transition.to else Parked()
