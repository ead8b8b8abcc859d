"""StepCancels: tells the cancels that a step makes of all tasks of its event loop from those of whoever runs the worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from stepflow.engine.execution.attempt import Attempt, GeneratorAttempt
from stepflow.engine.threads.caller_loop import CallTask
from stepflow.model.current import current_run

FORGET_S = 1.0
log = logging.getLogger("stepflow")


class _Sentinel(asyncio.Task[None]):
    """A task that only waits. A cancel of all tasks calls its `cancel`, which does nothing if `hear` returns true."""

    def __init__(self, waiting: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, hear: Callable[[], bool]):
        super().__init__(waiting, loop=loop, name="stepflow-sentinel")
        self._hear = hear

    def cancel(self, msg: Any | None = None) -> bool:
        return False if self._hear() else super().cancel(msg)


class StepCancels:
    """The cancels that steps of one worker made of the task that claims; `held` gives its attempts.

    A task does not learn who cancelled it. But the sentinel is cancelled in the same turn of the loop, in the context of the step.
    """

    def __init__(self, held: Callable[[], Collection[Attempt]], *recover: Callable[[], None]) -> None:
        self._held, self._recover = held, recover
        self._task: asyncio.Task[Any] | None = None
        self._sentinel: _Sentinel | None = None
        self._made = 0  # since the worker's task went on after one

    async def run(self, turn: Callable[[], Awaitable[bool | None]]) -> bool:
        """Await turns until one gives an answer; after one that a step cancelled, and `recover`, comes the next."""
        self._task, self._made = asyncio.current_task(), 0
        if isinstance(self._task, CallTask):
            self._task.expose(True)
        try:
            while True:
                try:
                    if (answer := await turn()) is not None:
                        return answer
                except asyncio.CancelledError:
                    if not self._goes_on():
                        raise
                    await asyncio.sleep(0)  # tasks that had not begun are over then
                    for recover in self._recover:
                        recover()
        finally:
            if isinstance(self._task, CallTask):
                self._task.expose(False)
            await self._end()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notice what steps cancel from now on, until `run` ends: async code of one is about to run."""
        if self._sentinel is None:
            self._sentinel = _Sentinel(_wait(loop), loop, self._hear)

    def cancelling(self) -> int:
        """How many requests to cancel the worker's task did not come from a step."""
        return 0 if self._task is None else max(0, self._task.cancelling() - self._made)

    async def _end(self) -> None:
        sentinel, self._sentinel = self._sentinel, None
        if sentinel is not None:
            asyncio.Task.cancel(sentinel)
            await asyncio.wait([sentinel])

    def _goes_on(self) -> bool:
        """Whether the worker's task, which was cancelled, goes on, as only a step did that."""
        made, self._made = self._made, 0
        if self._task is None or not made:
            return False
        for _time in range(min(made, self._task.cancelling())):
            self._task.uncancel()
        return not self._task.cancelling()

    def _hear(self) -> bool:
        """Whether code of a step cancels the sentinel. Runs beside it, whose calls it cancels as well, go back."""
        run = current_run()
        held = {attempt.state.id: attempt for attempt in self._held()}
        if run not in held:
            return False
        self._made += 1
        asyncio.get_running_loop().call_later(FORGET_S, self._forget)
        log.error("run %s: a step cancelled the tasks of its event loop, with those of this worker, which goes on", run)
        held.pop(run).cancelled_all = True
        for attempt in held.values():
            attempt.stop = True
            if attempt.awaits or not isinstance(attempt, GeneratorAttempt) or attempt.flow.inline:
                attempt.interrupt()
        return True

    def _forget(self) -> None:
        """The step left the worker's task out, if that has not been cancelled by now."""
        if self._task is None or not self._task.cancelling():
            self._made = 0


async def _wait(loop: asyncio.AbstractEventLoop) -> None:
    await loop.create_future()
