"""Sweeps: attempts that end before their time: they hang, others cannot see their engine, or a step cancels all tasks of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt, GeneratorAttempt
from stepflow.model.current import current_run

FORGET_S = 1.0
log = logging.getLogger("stepflow")


class _Witness(asyncio.Task[None]):
    """A task that does nothing: whoever cancels all tasks cancels this one, too, and `hear` tells whether it stays."""

    def __init__(self, waiting: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, hear: Callable[[], bool]):
        super().__init__(waiting, loop=loop, name="stepflow-witness")
        self._hear = hear

    def cancel(self, msg: Any | None = None) -> bool:
        return False if self._hear() else super().cancel(msg)


class Sweeps:
    """What was cancelled by code of the steps of one worker; `held` gives its attempts.

    Nobody tells a task who cancelled it. But the witness is cancelled in the same turn of the loop, in the context of the step.
    """

    def __init__(self, held: Callable[[], Collection[Attempt]], *recover: Callable[[], None]) -> None:
        self._held, self._recover = held, recover
        self._task: asyncio.Task[Any] | None = None
        self._witness: _Witness | None = None
        self._made = 0  # since the worker's task went on after one

    async def run(self, turn: Callable[[], Awaitable[bool | None]]) -> bool:
        """Await turns until one gives an answer; after one that a step cancelled, and `recover`, comes the next."""
        self._task, self._made = asyncio.current_task(), 0
        try:
            while True:
                try:
                    if (answer := await turn()) is not None:
                        return answer
                except asyncio.CancelledError:
                    if not self._spared():
                        raise
                    await asyncio.sleep(0)  # tasks that had not begun are over then
                    for recover in self._recover:
                        recover()
        finally:
            await self._end()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notice what steps cancel from now on, until `run` ends: async code of one is about to run."""
        if self._witness is None:
            self._witness = _Witness(_wait(loop), loop, self._hear)

    def cancelling(self) -> int:
        """How many requests to cancel the worker's task did not come from a step."""
        return 0 if self._task is None else max(0, self._task.cancelling() - self._made)

    async def _end(self) -> None:
        witness, self._witness = self._witness, None
        if witness is not None:
            asyncio.Task.cancel(witness)
            await asyncio.wait([witness])

    def _spared(self) -> bool:
        """Whether the worker's task, which was cancelled, goes on, as only a step did that."""
        made, self._made = self._made, 0
        if self._task is None or not made:
            return False
        for _sweep in range(min(made, self._task.cancelling())):
            self._task.uncancel()
        return not self._task.cancelling()

    def _hear(self) -> bool:
        """Whether code of a step cancels the witness. Runs beside it, whose calls it cancels as well, go back."""
        run = current_run()
        held = {attempt.state.id: attempt for attempt in self._held()}
        if run not in held:
            return False
        self._made += 1
        asyncio.get_running_loop().call_later(FORGET_S, self._forget)
        log.error("run %s: a step cancelled the tasks of its event loop, with those of this worker, which goes on", run)
        held.pop(run).swept = True
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


def interrupt_hung(held: Collection[Attempt], mono: float) -> None:
    """Interrupt those at the monotonic time `mono`: their claims are released, their late writes are refused."""
    for attempt in list(held):
        limit = attempt.flow.options.hung_after_s
        if limit is not None and mono - attempt.moved_at > limit:
            attempt.hung = True
            run_log.hung(attempt, limit)
            attempt.interrupt()


def give_up(held: Collection[Attempt]) -> None:
    """Let attempts release their claims after their present step: this engine cannot show that it lives."""
    if going := sum(not attempt.stop for attempt in held):
        log.warning("%d run(s) are released after their present step: no heartbeat reached the store", going)
    for attempt in held:
        attempt.stop = True


def drop_all(held: Collection[Attempt]) -> None:
    """Drop what was held: others took this engine for dead. Late writes of steps that go on are refused."""
    for attempt in list(held):
        log.warning("run %s is dropped: others took this engine for dead", attempt.state.id)
        attempt.interrupt()
