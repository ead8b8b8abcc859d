"""`result()`: many tasks that wait for runs cost the store as little as a few do, and each hears of its own run."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncEngine, CodecError, NotFound, StoreError
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Store
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.engine.client import unadvanced, waiters
from stepflow.model.state import PARKED
from stepflow.testing.conformance.kit import NOW, creation, ended, make, record, write
from tests.engine.flows import Order, chain

Calls = list[str]


@asynccontextmanager
async def two(path: Path) -> AsyncIterator[tuple[AsyncEngine, Store, Calls]]:
    """An engine, the session of another process, and the reads of the engine's store; the test says when it hears of changes."""
    driver, calls = SqliteDriver(path), Calls()
    async with AsyncEngine(driver) as engine:
        with closing(driver.connect("", Owner("other", "host", 1), NOW)) as other:
            store = engine._session.store
            closing_down = threading.Event()
            store.wait_for_change = partial(deaf, closing_down)  # type: ignore[method-assign]
            for name in ("load", "read"):
                setattr(store, name, counted(getattr(store, name), name, calls))
            try:
                yield engine, other, calls
            finally:
                closing_down.set()


def counted(method: Callable[[Any], Any], name: str, calls: Calls) -> Callable[[Any], Any]:
    def call(argument: Any) -> Any:
        calls.append(name)
        return method(argument)

    return call


def deaf(closing_down: threading.Event, token: int, timeout_s: float) -> int:
    """No change is ever noticed."""
    closing_down.wait(timeout_s)
    return token


async def heard(engine: AsyncEngine) -> None:
    """The engine hears of a change by another process, and has looked at the store."""
    engine._session.notifier.store_changed()
    registry = engine._session._waiters
    while registry._looking is not None or registry._all:
        await asyncio.wait([registry._looking] if registry._looking else [asyncio.ensure_future(asyncio.sleep(0))])


def end(store: Store, run_id: str) -> None:
    make(store, write(run_id, record(store, run_id).state.rev, transition=ended()))


async def wait_for(engine: AsyncEngine, ids: list[str]) -> list[asyncio.Task[Any]]:
    """Tasks that wait for these runs; the store was looked at for all of them."""
    tasks = [asyncio.create_task(engine.get(run_id).result()) for run_id in ids]
    await asyncio.sleep(0)
    await heard(engine)
    return tasks


def test_a_thousand_waiters_read_the_store_as_often_as_ten(tmp_path: Path) -> None:
    async def reads(number: int) -> int:
        async with two(tmp_path / f"{number}.db") as (engine, other, calls):
            ids = [f"gate-{n}" for n in range(number)]
            make(other, creation("foreign", due=None), *[creation(run_id, due=None) for run_id in ids])
            tasks = await wait_for(engine, ids)
            for _ in range(10):
                make(other, write("foreign", record(other, "foreign").state.rev))
                await heard(engine)
            assert not any(task.done() for task in tasks)
            for run_id, task in zip(ids[:10], tasks, strict=False):
                end(other, run_id)
                engine._session.notifier.store_changed()
                await task
            assert [task.done() for task in tasks] == [n < 10 for n in range(number)]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert not engine._session._waiters._waiting
            return len(calls)

    assert asyncio.run(reads(1000)) <= 1.5 * asyncio.run(reads(10))


def test_the_news_of_a_run_loads_that_run_only(tmp_path: Path) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, calls):
            ids = [f"gate-{n}" for n in range(50)]
            make(other, *[creation(run_id, due=None) for run_id in ids])
            tasks = await wait_for(engine, ids)
            calls.clear()
            end(other, "gate-3")
            end(other, "gate-4")
            engine._session.notifier.run_changed("gate-3")
            engine._session.notifier.run_changed("nobody waits for this one")
            await tasks[3]
            assert calls == ["load"]
            assert [task for task in tasks if task.done()] == [tasks[3]]

    asyncio.run(go())


def test_two_tasks_may_wait_for_one_run(tmp_path: Path) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, calls):
            make(other, creation("gate", due=None))
            tasks = await wait_for(engine, ["gate"] * 3)
            tasks[1].cancel()
            calls.clear()
            end(other, "gate")
            engine._session.notifier.run_changed("gate")
            assert [await tasks[0], await tasks[2]] == [{}, {}]
            assert calls == ["load"]
            with pytest.raises(asyncio.CancelledError):
                await tasks[1]

    asyncio.run(go())


def test_a_lost_notice_is_made_up_for_by_one_poll_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters, "POLL_S", 0.02)

    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, calls):
            ids = [f"gate-{n}" for n in range(50)]
            make(other, *[creation(run_id, due=None) for run_id in ids])
            tasks = await wait_for(engine, ids)
            calls.clear()
            make(other, *[write(i, record(other, i).state.rev, transition=ended()) for i in ids])
            await asyncio.wait(tasks)
            assert calls.count("load") == 1

    asyncio.run(go())


def test_a_run_that_is_pruned_or_damaged_fails_its_own_waiter(tmp_path: Path) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, _calls):
            ids = ["gone", "damaged", "good", "open"]
            make(other, *[creation(run_id, due=None) for run_id in ids])
            gone, damaged, good, open_ = await wait_for(engine, ids)
            end(other, "gone")
            assert SqliteDriver(tmp_path / "runs.db").maintenance("").prune(NOW + 1, 1) == 1
            for run_id in ids[1:3]:
                end(other, run_id)
            with closing(sqlite3.connect(tmp_path / "runs.db")) as file, file:
                file.execute("UPDATE stepflow_states SET transition = '{' WHERE id = 'damaged'")
            await heard(engine)
            assert await good == {}
            with pytest.raises(NotFound, match="gone"):
                await gone
            with pytest.raises(CodecError, match="run 'damaged': its stored transition cannot be read"):
                await damaged
            assert not open_.done()

    asyncio.run(go())


def test_an_error_of_the_store_reaches_every_waiter(tmp_path: Path) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, _calls):
            make(other, *[creation(f"gate-{n}", due=None) for n in range(20)])
            tasks = await wait_for(engine, [f"gate-{n}" for n in range(20)])
            engine._session.store.close()
            engine._session.notifier.store_changed()
            await asyncio.wait(tasks)
            assert all(isinstance(task.exception(), StoreError) for task in tasks)

    asyncio.run(go())


def test_a_run_that_ended_already_takes_one_load(tmp_path: Path) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, _other, calls):
            flow = chain("flow", "a")
            engine.register(flow)
            run = await engine.start(flow, Order())
            await engine.run_until_idle()
            calls.clear()
            assert (await run.result()).log == ["a"]
            assert calls == ["load"]

    asyncio.run(go())


def test_a_wait_that_begins_while_the_engines_are_looked_at_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "POLL_S", 3600.0)

    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, _other, _calls):
            flow = chain("flow", "a")
            engine.register(flow)
            run = await engine.start(flow, Order())
            await engine.run_until_idle()
            inside, go_on = asyncio.Event(), asyncio.Event()

            async def look() -> None:
                inside.set()
                await go_on.wait()

            found = engine._session._waiters
            monkeypatch.setattr(found._unadvanced, "look", look)
            monkeypatch.setattr(type(engine._session.reader), "alone", False)
            found._begin()
            await inside.wait()
            result = asyncio.create_task(run.result())
            await asyncio.sleep(0)
            go_on.set()
            assert (await asyncio.wait_for(result, 60)).log == ["a"]

    asyncio.run(go())


Worked = Callable[[AsyncEngine, Store], Any]


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings so far, of waits that are looked at with the first news after they began."""
    monkeypatch.setattr(unadvanced, "AFTER_S", 0.0)
    return lambda: [r.getMessage() for r in caplog.records if getattr(r, "event", "") == "unadvanced"]


def test_a_wait_for_a_flow_that_no_engine_advances_is_told_once(
    tmp_path: Path, warned: Callable[[], list[str]]
) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, calls):
            ids = ["a", "b", "c"]
            make(other, *[creation(run_id) for run_id in ids])
            tasks = await wait_for(engine, ids)
            for _ in range(3):
                await heard(engine)
            flow = record(other, "a").state.transition.to
            (text,) = warned()
            assert text.startswith(
                f"no engine advances flow {flow!r}: result() of run 'a' and 2 more waits for a worker;"
            )
            assert text.endswith("run `stepflow worker MODULE`, or register it here and use engine.worker()")
            calls.clear()
            await heard(engine)
            assert calls == ["read", "load"]  # which of all awaited runs ended, and those: no look at owners
            for run_id in ids:
                end(other, run_id)
            await heard(engine)
            await asyncio.gather(*tasks)

    asyncio.run(go())


@pytest.mark.parametrize("who", ["another", "this", "a holder"])
def test_a_wait_for_a_run_that_an_engine_may_advance_is_quiet(
    tmp_path: Path, warned: Callable[[], list[str]], who: str
) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, other, _calls):
            make(other, creation("a", due=NOW + 10**15), creation("parked", due=None, transition=PARKED))
            flow = record(other, "a").state.transition.to
            if who == "another":
                other.claim({flow: ""}, NOW, 1)
                other.beat(NOW)
            elif who == "a holder":
                make(other, creation("b", due=NOW))
                assert other.claim({flow: ""}, NOW, 1)
            engine._session.flows |= {flow: object()} if who == "this" else {}  # type: ignore[dict-item]
            engine._session.lifetime._at_rest.clear() if who == "this" else None
            tasks = await wait_for(engine, ["b" if who == "a holder" else "a", "parked"])
            await heard(engine)
            await heard(engine)
            assert warned() == []
            engine._session.lifetime._at_rest.set()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    asyncio.run(go())


def test_an_engine_that_has_registered_the_flow_but_does_not_work_is_told_so(
    tmp_path: Path, warned: Callable[[], list[str]]
) -> None:
    async def go() -> None:
        async with two(tmp_path / "runs.db") as (engine, _other, _calls):
            flow = chain("noted", "one")
            engine.register(flow)
            await engine.start(flow, Order(), id="a")
            await engine.run_until_idle()
            await engine.start(flow, Order(), id="b")
            (task,) = await wait_for(engine, ["b"])
            await heard(engine)
            (text,) = warned()
            assert "this engine has registered it, but does not work: use engine.worker()" in text
            await engine.run_until_idle()
            await task

    asyncio.run(go())
