"""Reads that tasks make at the same time share a thread, and each gets its own answer or error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from stepflow import AsyncEngine, MemoryDriver, NotFound, StepflowError, named
from stepflow.drivers.memory.session import MemoryStore
from stepflow.engine.threads.grouped import MOST, Grouped
from stepflow.engine.threads.thread_pool import ThreadPool

FLOW = named("waits").wait_event("w", "go", Any, lambda _exchange, _payload: None).compile()


def with_pool(test: Callable[[ThreadPool], Awaitable[None]]) -> None:
    """Run a test that has a pool of threads."""

    async def work() -> None:
        pool = ThreadPool(asyncio.get_running_loop(), "x")
        try:
            await test(pool)
        finally:
            pool.close()

    asyncio.run(work())


def test_tasks_that_are_ready_together_share_calls():
    asked: list[list[int]] = []

    def squares(keys: Sequence[int]) -> list[int]:
        asked.append(list(keys))
        return [key * key for key in keys]

    async def test(pool: ThreadPool) -> None:
        square = Grouped(pool, squares)
        found = await asyncio.gather(*(square(number) for number in range(MOST + 2)))
        assert found == [number * number for number in range(MOST + 2)]
        assert await square(7) == 49

    with_pool(test)
    assert sorted(map(len, asked)) == [1, 2, MOST]


def test_an_error_is_that_of_its_key_alone():
    def thirds(keys: Sequence[int]) -> list[float]:
        return [3 / key for key in keys]

    async def test(pool: ThreadPool) -> None:
        third = Grouped(pool, thirds)
        found = await asyncio.gather(*(third(number) for number in (1, 0, 3)), return_exceptions=True)
        assert found[0] == 3.0
        assert found[2] == 1.0
        assert isinstance(found[1], ZeroDivisionError)

    with_pool(test)


def test_a_task_that_is_cancelled_keeps_no_other_from_its_answer():
    async def test(pool: ThreadPool) -> None:
        same = Grouped(pool, list)
        first, second = asyncio.create_task(same(1)), asyncio.create_task(same(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 2
        with pytest.raises(asyncio.CancelledError):
            await first

    with_pool(test)


def test_a_pool_that_was_closed_refuses_all():
    async def test(pool: ThreadPool) -> None:
        same = Grouped(pool, list)
        pool.close()
        found = await asyncio.gather(same(1), same(2), return_exceptions=True)
        assert [type(one) for one in found] == [StepflowError, StepflowError]

    with_pool(test)


def test_clients_that_ask_for_runs_at_the_same_time_share_a_load(monkeypatch: pytest.MonkeyPatch):
    loads: list[list[str]] = []
    reads: list[str] = []
    load, read = MemoryStore.load, MemoryStore.read

    def counted_load(store: MemoryStore, ids: Sequence[str]) -> Any:
        loads.append(list(ids))
        return load(store, ids)

    def counted_read(store: MemoryStore, query: Any) -> Any:
        reads.append(type(query).__name__)
        return read(store, query)

    async def test() -> None:
        async with AsyncEngine(MemoryDriver()) as engine:
            engine.register(FLOW)
            runs = [await engine.start(FLOW, id=f"run-{number}") for number in range(40)]
            monkeypatch.setattr(MemoryStore, "load", counted_load)
            monkeypatch.setattr(MemoryStore, "read", counted_read)
            found = await asyncio.gather(*(run.info() for run in runs))
            assert [one.id for one in found] == [run.id for run in runs]
            assert loads == [[run.id for run in runs]]
            assert reads.count("PausedFlowsQuery") == 1
            with pytest.raises(NotFound, match="nowhere"):
                await engine.get(FLOW, "nowhere").info()

    asyncio.run(test())


def test_a_client_sees_what_it_did_before():
    async def test() -> None:
        async with AsyncEngine(MemoryDriver()) as engine:
            engine.register(FLOW)
            runs = [await engine.start(FLOW, id=f"run-{number}") for number in range(20)]

            async def client(number: int) -> str:
                await runs[number].cancel()
                return (await runs[number].info()).status

            assert set(await asyncio.gather(*(client(number) for number in range(20)))) == {"cancelled"}

    asyncio.run(test())
