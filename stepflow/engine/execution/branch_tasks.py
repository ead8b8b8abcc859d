"""BranchTasks: makes the calls of `wf.gather` in tasks, one for each branch, and tells which task may make durable calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any

from attrs import define, evolve, field

from stepflow.engine.threads.futures import end_of_cancelled
from stepflow.engine.threads.raised import own_error
from stepflow.model.current import Current, enter
from stepflow.replay.branches import Branch
from stepflow.replay.effects import Note, Together
from stepflow.replay.journal import Journal


@define(eq=False)
class BranchTasks:
    """The tasks of the gathers of one attempt that have not ended; `awaiting` are those that call an async step."""

    branches: dict[asyncio.Task[Any] | None, Branch] = field(factory=dict)
    awaiting: set[asyncio.Task[Any]] = field(factory=set)
    moving: asyncio.Lock = field(factory=asyncio.Lock)  # held for a commit that makes a revision, and for a transaction

    def present(self) -> Branch | None:
        """The branch of the present task."""
        return self.branches.get(asyncio.current_task())

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """The present task calls an async step, which a cancel of the run ends."""
        task = asyncio.current_task()
        assert task is not None
        self.awaiting.add(task)
        try:
            yield
        finally:
            self.awaiting.discard(task)

    def cancel(self, journal: Journal) -> None:
        """Cancel the async steps, but for those that undo what a cancelled branch did."""
        for task in self.awaiting:
            if not journal.is_cancelled(self.branches[task]):
                task.cancel()

    async def run(
        self,
        journal: Journal,
        effect: Together,
        current: Current,
        record: Callable[[list[Note]], Awaitable[None]],
        cancelled: Callable[[], bool],
    ) -> None:
        """Let the branches come to their ends. `record` commits rows; `cancelled()` tells whether a CancelledError is a cancel of the run."""
        around, running = journal.branch, dict[asyncio.Task[Any], Branch]()
        # The branches hear of a cancel once, also of one that comes while rows are recorded.
        told = journal.is_cancelled(around)
        try:
            for branch, call in effect.calls:
                task = asyncio.create_task(self._in_branch(branch, call, evolve(current, step="", attempt=1)))
                self.branches[task] = running[task] = branch
            while running:
                if not told and cancelled():
                    told = True
                    self.cancel(journal)
                try:
                    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    if not cancelled():
                        raise
                    continue
                journal.switch(around)
                ended = [running.pop(task) for task in done]
                if running or journal.ends:  # what waits is recorded now: the others may take long, or end the attempt
                    await self._record(ended, record)
        finally:
            for task in running:
                task.cancel()
            if running:
                await end_of_cancelled(running)
            for _branch, call in effect.calls:
                if getcoroutinestate(call) == CORO_CREATED:
                    call.close()
            self.branches = {task: branch for task, branch in self.branches.items() if branch.parent is not around}
            journal.switch(around)

    async def _record(self, ended: list[Branch], record: Callable[[list[Note]], Awaitable[None]]) -> None:
        waiting = [branch for branch in ended if branch.suspension is not None and branch.suspension.rows]
        if waiting:
            rows = [row for branch in waiting for row in branch.suspension.rows]
            for branch in waiting:
                branch.suspension = evolve(branch.suspension, rows=())
            await record(rows)

    async def _in_branch(self, branch: Branch, call: Coroutine[Any, Any, Any], current: Current) -> None:
        """Keep the outcome of a branch on it: SystemExit in a task of its own would end the event loop."""
        enter(current)
        if self.present() is None:  # an eager task factory: `run` notes the task first
            await asyncio.sleep(0)
        try:
            branch.value = await call
        except BaseException as error:  # noqa: BLE001 - the gather decides
            branch.error = own_error(error)
