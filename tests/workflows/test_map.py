"""map: a step for each item, several at a time; the results in order, each recorded when its call ends."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, Failed, Ok, RunCancelled, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock

CALLS: Counter[int] = Counter()


def half(n: int) -> int:
    CALLS[n] += 1
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


async def ahalf(n: int) -> int:
    return half(n)


def plain(found: list[Ok[int] | Failed]) -> list[Any]:
    return [one.value if isinstance(one, Ok) else "cancelled" if one.cancelled else str(one.error) for one in found]


@workflow("w")
def sync_map(wf: Context, given: dict[str, Any]) -> list[Any]:
    found = wf.map("halves", half, range(given.pop("items")), **given)
    wf.sleep("s", 1)
    return plain(found)


@workflow("w")
async def async_map(wf: AsyncContext, given: dict[str, Any]) -> list[Any]:
    found = await wf.map("halves", ahalf, range(given.pop("items")), **given)
    await wf.sleep("s", 1)
    return plain(found)


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    CALLS.clear()
    with Engine(store, clock=clock) as engine:
        yield engine


BOTH = pytest.mark.parametrize("flow", [sync_map, async_map], ids=["sync", "async"])


@BOTH
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"items": 5}, [0, "1 is odd", 1, "3 is odd", 2]),
        ({"items": 0}, []),
        ({"items": 6, "width": 1, "fail_after": 2}, [0, "1 is odd", 1, "3 is odd", "cancelled", "cancelled"]),
        ({"items": 6, "width": 1, "first": 2}, [0, "1 is odd", 1, "cancelled", "cancelled", "cancelled"]),
    ],
)
def test_each_item_is_called_once_and_the_results_are_in_order(
    flow: Any, given: dict[str, Any], expected: list[Any], engine: Engine
) -> None:
    engine.register(flow)
    run = engine.start(flow, given)
    engine.run_until_idle(advance=True)
    assert run.result() == expected
    assert set(CALLS.values()) <= {1}
    assert CALLS.total() == len([one for one in expected if one != "cancelled"])


@pytest.mark.parametrize("is_async", [False, True])
def test_items_are_called_side_by_side_but_no_more_than_width(store: Driver, is_async: bool) -> None:
    lock, now, most, full = threading.Lock(), [0], [0], threading.Barrier(3)

    def step(n: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        full.wait(60)
        with lock:
            now[0] -= 1
        return n

    @workflow("x")
    def flow(wf: Context) -> int:
        return sum(one.value for one in wf.map("m", step, range(9), width=3) if isinstance(one, Ok))

    @workflow("x")
    async def aflow(wf: AsyncContext) -> int:
        return sum(one.value for one in await wf.map("m", step, range(9), width=3) if isinstance(one, Ok))

    chosen = aflow if is_async else flow
    with Engine(store) as engine:
        engine.register(chosen)
        run = engine.start(chosen)
        with engine.worker():
            assert run.result(timeout=60) == 36
    assert most == [3]


def test_what_had_ended_is_not_called_again(store: Driver, clock: VirtualClock) -> None:
    CALLS.clear()
    stop: list[Any] = []

    def step(n: int) -> int:
        CALLS[n] += 1
        if n == 3 and stop:
            stop.pop().quit()
        return n

    @workflow("x")
    def flow(wf: Context) -> list[Any]:
        return plain(wf.map("m", step, range(6), width=1))

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        stop.append(engine._engine._session.worker)
        engine.run_until_idle()
        assert run.status() == "queued"
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.run_until_idle()
        assert engine.get("r").result() == list(range(6))
    assert set(CALLS.values()) == {1}


def test_a_cancel_ends_the_calls_that_run(store: Driver) -> None:
    began, ended = threading.Semaphore(0), list[int]()

    async def step(n: int) -> int:
        began.release()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(n)
        return n

    @workflow("x")
    async def flow(wf: AsyncContext) -> None:
        await wf.map("m", step, range(5), width=2)

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with engine.worker():
            for _ in range(2):
                assert began.acquire(timeout=60)
            run.cancel()
            with pytest.raises(RunCancelled):
                run.result(timeout=60)
    assert sorted(ended) == [0, 1]


@pytest.mark.parametrize("given", [{"width": 0}, {"fail_after": 0}, {"first": "2"}])
def test_wrong_numbers_are_found(engine: Engine, given: dict[str, Any]) -> None:
    @workflow("x")
    def flow(wf: Context) -> None:
        wf.map("m", half, [1], **given)

    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().blocked == 1
    assert "give a whole number from 1 on" in str(run.info().blocked)


def test_other_items_than_recorded_block_the_run(store: Driver, clock: VirtualClock) -> None:
    sizes = iter([3, 4])

    @workflow("x")
    def flow(wf: Context) -> None:
        wf.map("m", half, range(next(sizes)))
        wf.sleep("s", 1)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        assert "map 'm' over 3 items here, the workflow comes to map 'm' over 4 items" in str(run.info().blocked)


@pytest.mark.parametrize("items_first", [True, False])
def test_a_call_with_the_key_of_an_item_is_found(engine: Engine, items_first: bool) -> None:
    @workflow("x")
    def flow(wf: Context) -> None:
        calls: list[Callable[[], Any]] = [lambda: wf.map("m", half, [2, 4]), lambda: wf.execute("m[1]", half, 8)]
        for call in calls if items_first else reversed(calls):
            call()

    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().blocked == 1
    assert "('m[1]'): the key was used before in this workflow" in str(run.info().blocked)


@pytest.mark.parametrize("items", [5, 6])
def test_items_count_as_calls_of_the_journal(engine: Engine, items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepflow.replay.journal.MOST_ROWS", 7)

    @workflow("x")
    def flow(wf: Context) -> str:
        wf.map("m", half, [2] * items)
        return wf.execute("last", str, "end")

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert (run.status() == "completed") == (items == 5)
    assert CALLS[2] == items
    if items == 6:
        assert "wf.continue_as_new(input)" in str(run.info().error)


def test_more_items_than_a_journal_may_have_are_refused_before_the_first_is_called(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepflow.replay.journal.MOST_ROWS", 7)

    @workflow("x")
    def flow(wf: Context) -> None:
        wf.map("m", half, [2] * 8)

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert "8 more calls were to be made" in str(run.info().error)
    assert not CALLS


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_redrive_calls_the_item_again_whose_error_ended_the_run(engine: Engine, failures: int) -> None:
    left = [failures]

    def flaky(n: int) -> int:
        CALLS[n] += 1
        if n == 1 and left[0]:
            left[0] -= 1
            raise ValueError("not yet")
        return n

    @workflow("x")
    def flow(wf: Context) -> list[int]:
        found = wf.map("m", flaky, range(3))
        values = [wf.execute(f"after/{n}", abs, n) for n in range(2)]
        for one in found:
            if isinstance(one, Failed):
                raise one.error
            values.append(one.value)
        wf.sleep("s", 1)
        return values

    engine.register(flow)
    run = engine.start(flow)
    for _ in range(failures):
        engine.run_until_idle(advance=True)
        assert run.status() == "failed"
        run.redrive()
    engine.run_until_idle(advance=True)
    assert run.result() == [0, 1, 0, 1, 2]
    assert dict(CALLS) == {0: 1, 1: failures + 1, 2: 1}


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), StopIteration("x")])
@pytest.mark.parametrize("is_async", [True, False])
def test_an_item_that_raises_no_Exception_has_failed(store: Driver, error: BaseException, is_async: bool) -> None:  # noqa: N802
    def raises(n: int) -> None:
        raise error

    async def araises(n: int) -> None:
        raise error

    @workflow("x")
    async def flow(wf: AsyncContext) -> list[str]:
        found = await wf.map("m", araises if is_async else raises, [1, 2])
        return [type(one.error).__name__ for one in found if isinstance(one, Failed)]

    name = "StopIteration" if isinstance(error, StopIteration) else "RuntimeError"
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with engine.worker():
            assert run.result(timeout=60) == [name, name]
