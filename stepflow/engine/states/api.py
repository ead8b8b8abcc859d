"""The verbs on States, for the event loop: do, execute, read, iterate, watch."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Literal, Protocol

from stepflow.drivers.port.delays import Delay
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.states.checks import copy_of
from stepflow.engine.states.executions import Executions
from stepflow.engine.states.finish_execution import execute
from stepflow.engine.states.function_runner import FunctionRunner, Outcome
from stepflow.engine.states.kept_leases import KeptLeases
from stepflow.engine.states.lease import ExecutionContext
from stepflow.engine.states.service import StateService, groups
from stepflow.engine.states.watch import RevisionFeed, Watch
from stepflow.errors import StepflowError, Stopping
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.error_text import loggable
from stepflow.model.state import State

Labels = Mapping[str, str]
Since = int | datetime | Literal["latest"]
PAGE = 200
log = logging.getLogger("stepflow")


class VerbParts(Protocol):
    """What the verbs need of an open engine; before it is open there is only `lifetime`, which then refuses."""

    lifetime: Lifetime
    clock: Clock
    committer: Committer
    service: StateService
    leases: KeptLeases
    executions: Executions
    runner: FunctionRunner
    feed: RevisionFeed


class AsyncVerbs:
    """What callers and flow functions do with States."""

    def __init__(self, parts: VerbParts) -> None:
        self._parts = parts

    async def do(self, *commands: c.Command) -> c.States | list[Delay] | None:
        """Carry out commands one after another, stopping at the first error; `commit(...)` is the atomic one.

        Returns the answer of the last command if it is a query. Raises RevMismatch when another commit moved a State first.
        """
        self._parts.lifetime.check_open()
        if not commands:
            raise StepflowError("no commands to do: give do(...) at least one")
        answer: c.States | list[Delay] | None = None
        for command in commands:
            if isinstance(command, c.CommitCommand):
                answer = None
                await self._parts.service.commit(command)
            elif isinstance(command, c.Execute):
                await self._parts.executions.in_background(partial(self._execute_copy, copy_of(command.ctx)))
            else:
                answer = await self._parts.service.do(command)
        return answer

    async def execute(self, ctx: StateCtx) -> Outcome:
        """Call the flow function that the State goes to, and what follows, here and now: Done, Parked, Delayed, Conflict.

        Raises what a function raised; the State stays as last committed.
        """
        self._parts.lifetime.check_open()
        return await self._run(self._begun(ctx))

    async def states(
        self,
        *labels: Labels,
        since_rev: int = 0,
        since: datetime | None = None,
        latest_only: bool = False,
        limit: int = 50,
    ) -> c.States:
        """Revisions that have all labels of one of the groups (no groups: all), ascending, at most `limit`.

        `since_rev` is exclusive, -1 asks for the newest match; `since` is a time, inclusive; `latest_only` leaves out
        revisions that are not the newest of their State.
        """
        self._parts.lifetime.check_open()
        return await self._parts.service.states(c.GetStates(labels, since_rev, since, latest_only, limit))

    async def iterate(
        self, *labels: Labels, since_rev: int = 0, since: datetime | None = None, latest_only: bool = False
    ) -> AsyncIterator[State]:
        """All revisions as `states` would give them, page by page, up to the newest; then it ends."""
        while True:
            page = await self.states(*labels, since_rev=since_rev, since=since, latest_only=latest_only, limit=PAGE)
            for state in page.states:
                yield state
            if not page.more:
                return
            since_rev = page.states[-1].rev

    async def get_state(self, id: str, rev: int = 0) -> StateCtx:  # noqa: A002
        """A working copy of a stored State, of its newest revision if `rev` is 0; NotFound if there is none."""
        self._parts.lifetime.check_open()
        ctx = StateCtx(id)
        await self._parts.service.do(c.GetStateByID(ctx, id, rev))
        return ctx

    def watch(self, *labels: Labels, since: Since = 0) -> Watch:
        """Every revision that has all labels of one of the groups, for ever: none is missed, none repeated.

        `since` is a revision (exclusive), a point in time, or `"latest"`: from the newest match on, itself included.
        """
        parts = self._parts
        parts.lifetime.check_open()
        wanted = groups(labels)
        return Watch(parts.feed, wanted, lambda: parts.service.start_of(wanted, since), parts.executions.current())

    def _begun(self, ctx: StateCtx) -> ExecutionContext:
        if not isinstance(ctx, StateCtx):
            raise StepflowError(f"execute({ctx!r:.80}): give a StateCtx")
        lifetime = self._parts.lifetime
        return ExecutionContext(ctx, self._parts.leases.take(ctx), lambda: lifetime.closing)

    def _execute_copy(self, copy: StateCtx) -> Coroutine[Any, Any, None]:
        return self._execute(self._begun(copy))

    async def _run(self, at: ExecutionContext) -> Outcome:
        if at.lease.fence is not None:  # the beats may have ended between `take` and now
            self._parts.leases.beat_while_held()
        return await execute(self._parts.runner, self._parts.committer, self._parts.clock, at)

    async def _execute(self, at: ExecutionContext) -> None:
        try:
            await self._run(at)
        except Stopping:
            log.info("execution of State %s ended with its engine", at.ctx.id)
        except Exception as error:
            log.error("execute failed: State %s", at.ctx.id, exc_info=loggable(error))
