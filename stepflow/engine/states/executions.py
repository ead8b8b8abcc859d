"""Executions: which executions of flow functions are under way in one engine, in the foreground and in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, Token, copy_context
from typing import Any

from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.lease import ExecutionContext, Lease
from stepflow.engine.threads.futures import end_of_cancelled
from stepflow.errors import StepflowError, Stopping

MAX_BACKGROUND = 1000  # executions that no caller awaits

_current: ContextVar[tuple[Executions, ExecutionContext] | None] = ContextVar("stepflow_execution", default=None)
Entered = Token[tuple["Executions", ExecutionContext] | None]


class Executions:
    """The executions of one engine; tells its Notifier when a background one is over."""

    def __init__(self, notifier: Notifier, lifetime: Lifetime) -> None:
        self._notifier, self._lifetime = notifier, lifetime
        self._slots = asyncio.Semaphore(MAX_BACKGROUND)
        self.running: set[ExecutionContext] = set()
        self._background: set[asyncio.Task[None]] = set()

    def current(self) -> ExecutionContext | None:
        """The execution of this engine that the calling code is part of."""
        found = _current.get()
        return found[1] if found is not None and found[0] is self else None

    def lease(self) -> Lease | None:
        """The lease of that execution."""
        found = _current.get()
        return found[1].lease if found is not None and found[0] is self else None

    def enter(self, execution: ExecutionContext) -> Entered:
        """From now on the calling code is part of the execution, with the threads and tasks that it starts; what `leave` takes."""
        self.running.add(execution)
        return _current.set((self, execution))

    def leave(self, execution: ExecutionContext, entered: Entered) -> None:
        """The calling code is part of what it was part of before `enter`."""
        _current.reset(entered)
        self.running.discard(execution)

    @property
    def busy(self) -> bool:
        """Whether an execution in the background does more than wait for news."""
        return len(self._background) > sum(execution.waiting for execution in self.running)

    @property
    def ids(self) -> set[str]:
        """The States at which they are."""
        return {execution.lease.id for execution in self.running}

    async def in_background(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an execution that no caller waits for; it is not part of the execution that started it.

        At most MAX_BACKGROUND run at a time: then the caller waits until one is over. A caller that is an execution itself
        is refused instead, or all of them could wait for each other.
        """
        if self.current() is not None and self._slots.locked():
            raise StepflowError(
                f"{MAX_BACKGROUND} executions run in the background already: await engine.execute(ctx) instead of"
                " do(execute(ctx)), or let the function return execute(ctx)"
            )
        await self._slots.acquire()
        try:
            if self._lifetime.closing:
                raise Stopping("the engine is being closed: execute the State with another one")
            context = copy_context()
            context.run(_current.set, None)
            task = asyncio.get_running_loop().create_task(begin(), context=context)
        except BaseException:
            self._slots.release()
            raise
        self._background.add(task)
        task.add_done_callback(self._over)

    async def end_background(self, grace_s: float) -> None:
        """Wait `grace_s` for the background executions, then cancel them."""
        if not self._background:
            return
        _done, late = await asyncio.wait(self._background, timeout=grace_s)
        for task in late:
            task.cancel()
        await end_of_cancelled(late)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        self._slots.release()
        self._notifier.schedule_at(0)
