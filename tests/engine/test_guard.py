"""The guard of background threads and tasks: it logs a failure, backs off and goes on; a cancellation ends a task in any case."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from stepflow import Unavailable
from stepflow.drivers.port.background import Guard, join

WAIT_S = 60.0


def test_a_guard_backs_off_twice_as_long_each_time_and_counts():
    guard, pauses, left = Guard("part", longest_s=0.5), [], [False, True, True, True, True]

    def turn() -> bool:
        if left.pop():
            raise KeyError("surprise")
        return bool(left)

    guard.run(turn, pauses.append)
    assert pauses == [0.1, 0.2, 0.4, 0.5]
    assert (guard.health.failures, guard.health.failing) == (4, 4)
    assert guard.health.last_error == "KeyError: 'surprise'"
    guard.succeeded()
    assert (guard.health.failures, guard.health.failing) == (4, 0)


def test_a_guard_logs_the_traceback_of_the_first_failure_and_of_every_hundredth(caplog):
    guard = Guard("part")
    for _turn in range(201):
        guard.failed(ValueError("surprise"))
    assert [record.getMessage()[:27] for record in caplog.records] == [
        "part failed (1 in a row), n",
        "part failed (101 in a row),",
        "part failed (201 in a row),",
    ]
    assert all(record.exc_info and record.levelname == "ERROR" for record in caplog.records)
    Guard("other").failed(Unavailable("away"))
    assert (caplog.records[-1].levelname, caplog.records[-1].exc_info) == ("WARNING", None)  # no fault of the thread


async def cancelled(guard: Guard, turn: Callable[[], Awaitable[bool]], begun: asyncio.Event) -> None:
    """Cancel a guarded task once its turn has begun; it ends so."""
    task = asyncio.create_task(guard.run_task(turn, asyncio.sleep))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_guarded_task_ends_when_it_is_cancelled():
    async def test() -> None:
        guard, begun = Guard("part"), asyncio.Event()

        async def turn() -> bool:
            begun.set()
            await asyncio.Event().wait()
            return True

        await cancelled(guard, turn, begun)
        assert guard.health.failures == 0

    asyncio.run(test())


@pytest.mark.parametrize("fails", [True, False])
def test_a_guarded_task_ends_when_a_turn_loses_its_cancellation(fails):
    async def test() -> None:
        guard, begun = Guard("part"), asyncio.Event()

        async def turn() -> bool:
            if begun.is_set():
                return False
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if fails:
                    raise ValueError("in the clean-up") from None
            return True

        await cancelled(guard, turn, begun)
        assert guard.health.failures == fails

    asyncio.run(test())


def test_a_guarded_task_goes_on_after_an_earlier_cancellation_of_its_caller():
    async def test() -> list[int]:
        guard, turns = Guard("part"), list[int]()

        async def turn() -> bool:
            turns.append(len(turns))
            return len(turns) < 3

        async def caller() -> None:
            try:
                await asyncio.sleep(WAIT_S)
            except asyncio.CancelledError:
                await guard.run_task(turn, asyncio.sleep)

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        task.cancel()
        await task
        return turns

    assert asyncio.run(test()) == [0, 1, 2]


def test_a_wait_for_a_thread_that_hangs_has_an_end(caplog):
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait, name="hanging", daemon=True)
    thread.start()
    assert not join(thread, 0.01)
    assert "thread hanging did not end within 0.01 s" in caplog.text
    go_on.set()
    assert join(thread)
