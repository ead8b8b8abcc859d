"""gather: calls side by side, several of which may wait; crashes, cancels and other code than was recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncContext, Cancelled, Engine, RetryPolicy, RunFailed, TimedOut, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock

MADE: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    MADE.clear()


def made(what: str) -> str:
    MADE[what] += 1
    return what


async def amade(what: str) -> str:
    await asyncio.sleep(0)
    return made(what)


def broken(what: str) -> str:
    made(what)
    raise ValueError(what)


async def shipped(wf: AsyncContext, name: str) -> str:
    """A branch of several calls."""
    await wf.execute(f"pack/{name}", made, f"pack {name}")
    await wf.sleep(f"truck/{name}", 10)
    where = await wf.wait_for_event(f"arrived/{name}", f"arrived.{name}", str)
    return await wf.execute(f"sign/{name}", amade, f"sign {name} {where}")


@workflow("order")
async def order(wf: AsyncContext) -> list[Any]:
    await wf.execute("begin", made, "begin")
    found: tuple[Any, ...] = await wf.gather(
        wf.execute("pay", amade, "pay"),
        wf.wait_for_event("approved", "approved", int),
        wf.sleep("pause", 5),
        shipped(wf, "a"),
        shipped(wf, "b"),
        wf.first_of("f", wf.event("x", str), wf.timer(timedelta(hours=1))),
        wf.gather(wf.now("now"), wf.execute("deep", made, "deep")),
        wf.map("m", made, ["i", "j"]),
    )
    await wf.execute("end", made, "end")
    return [str(found[n]) for n in (0, 1, 2, 3, 4, 5)] + [found[6][1], [one.ok for one in found[7]]]


EXPECTED = ["pay", "7", "None", "sign a Rome", "sign b Oslo", "First(index=1, value=None)", "deep", [True, True]]


def test_branches_wait_at_the_same_time_and_each_step_is_made_once(store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(order)
        run = engine.start(order)
        engine.run_until_idle()
        info = run.info()
        assert (info.status, info.awaits) == ("waiting", ("approved", "x"))
        assert info.position == ["event:approved", "sleep:pause", "sleep:truck/a", "sleep:truck/b", "first_of:f"]
        assert info.due == clock.datetime() + timedelta(seconds=5)
        clock.advance(10)
        engine.run_until_idle()
        assert set(run.info().awaits) == {"approved", "x", "arrived.a", "arrived.b"}
        run.publish("arrived.b", "Oslo")
        engine.run_until_idle()
        assert set(run.info().awaits) == {"approved", "x", "arrived.a"}
        run.publish("arrived.a", "Rome")
        run.publish("approved", 7)
        engine.run_until_idle()
        assert run.info().position == ["first_of:f"]
        engine.run_until_idle(advance=True)
        assert run.result() == EXPECTED
    assert set(MADE.values()) == {1}
    assert len(MADE) == 10


def test_the_first_error_in_the_order_of_the_calls_is_raised_after_all_have_ended(
    store: Driver, clock: VirtualClock
) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> list[str]:
        try:
            await wf.gather(
                wf.wait_for_event("e", "e", int, timeout=60), wf.execute("b", broken, "b"), wf.execute("c", made, "c")
            )
        except TimedOut as error:
            return ["late", str(error)]
        return []

    @workflow("failing")
    async def failing(wf: AsyncContext) -> None:
        await wf.gather(wf.sleep("s", 60), wf.execute("b", broken, "d"), wf.execute("c", broken, "e"))

    with Engine(store, clock=clock) as engine:
        engine.register(flow, failing)
        run, other = engine.start(flow), engine.start(failing)
        engine.run_until_idle(advance=True)
        assert run.result()[0] == "late"
        with pytest.raises(RunFailed, match="ValueError: d"):
            other.result()
        assert MADE == {"b": 1, "c": 1, "d": 1, "e": 1}
        other.redrive()
        engine.run_until_idle(advance=True)
        assert MADE == {"b": 1, "c": 1, "d": 2, "e": 1}


def test_a_retry_sleeps_while_others_wait(store: Driver, clock: VirtualClock) -> None:
    def flaky(what: str) -> str:
        made(what)
        if MADE[what] < 3:
            raise OSError(what)
        return what

    @workflow("w")
    async def flow(wf: AsyncContext) -> tuple[str, int]:
        policy = RetryPolicy(max_attempts=5, delay=10)
        return await wf.gather(wf.execute("f", flaky, "f", retry=policy), wf.wait_for_event("e", "e", int))

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert (run.info().awaits, run.info().attempt, run.info().position) == (("e",), 2, ["step:f", "event:e"])
        run.publish("e", 3)
        engine.run_until_idle(advance=True)
        assert run.result() == ("f", 3)
        assert MADE == {"f": 3}


def test_a_cancel_reaches_every_branch(store: Driver, clock: VirtualClock) -> None:
    async def undoing(wf: AsyncContext, name: str) -> None:
        await wf.execute(f"do/{name}", made, f"do {name}")
        try:
            await wf.wait_for_event(f"wait/{name}", "never", int)
        except Cancelled:
            await wf.sleep(f"pause/{name}", 5)
            await wf.execute(f"undo/{name}", made, f"undo {name}")
            raise

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        try:
            await wf.gather(undoing(wf, "a"), undoing(wf, "b"), wf.sleep("s", 1000))
        finally:
            await wf.execute("undo", made, "undo")

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        run.cancel()
        engine.run_until_idle()
        assert run.status() == "sleeping"
        engine.run_until_idle(advance=True)
        assert run.status() == "cancelled"
        assert dict.fromkeys(("do a", "do b", "undo a", "undo b", "undo"), 1) == MADE


def test_a_cancel_ends_async_steps_of_branches_at_once(store: Driver) -> None:
    started, ended = [], []

    async def long(name: str) -> None:
        started.append(name)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(name)

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        await wf.gather(wf.execute("a", long, "a"), wf.gather(wf.execute("b", long, "b", timeout=7200)))

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with engine.worker():
            while len(started) < 2:
                pass
            run.cancel()
            with pytest.raises(Exception, match="cancelled"):
                run.result(timeout=60)
    assert sorted(ended) == ["a", "b"]


Code = Callable[[AsyncContext], Any]


async def two(wf: AsyncContext) -> None:
    await wf.gather(wf.execute("a", made, "a"), wf.execute("b", made, "b"), wf.sleep("s", 10))
    await wf.execute("c", made, "c")


async def another(wf: AsyncContext) -> None:
    await wf.gather(wf.execute("x", made, "x"), wf.execute("b", made, "b"), wf.sleep("s", 10))


async def one_less(wf: AsyncContext) -> None:
    await wf.gather(wf.execute("a", made, "a"), wf.execute("b", made, "b"))
    await wf.execute("c", made, "c")


async def before(wf: AsyncContext) -> None:
    await wf.execute("new", made, "new")
    await two(wf)


async def without(wf: AsyncContext) -> None:
    await wf.execute("a", made, "a")


async def raising(wf: AsyncContext) -> None:
    async def bad() -> None:
        raise KeyError("b")

    await wf.gather(wf.execute("a", made, "a"), bad(), wf.sleep("s", 10))


async def catching(wf: AsyncContext) -> None:
    try:
        await raising(wf)
    except KeyError:
        await wf.execute("undo", made, "undo")


async def longer(wf: AsyncContext) -> None:
    async def more() -> None:
        await wf.execute("b", made, "b")
        await wf.execute("b2", made, "b2")

    await wf.gather(wf.execute("a", made, "a"), more(), wf.sleep("s", 10))
    await wf.execute("c", made, "c")


@pytest.mark.parametrize(
    ("code", "recorded"),
    [
        (another, "step 'a' of made"),
        (one_less, "sleep 's'"),
        (before, "step 'a' of made and 2 more"),
        (without, "step 'a' of made and 2 more"),
        (raising, "step 'b' of made"),
        (catching, "step 'b' of made"),
    ],
)
def test_other_code_than_was_recorded_is_found(code: Code, recorded: str, store: Driver, clock: VirtualClock) -> None:
    for fn in (two, code):
        with Engine(store, clock=clock) as engine:
            flow = workflow("w")(fn)
            engine.register(flow)
            if fn is two:
                engine.start(flow, id="r")
            engine.run_until_idle()
            clock.advance(10)
    with Engine(store, clock=clock) as engine:
        info = engine.get("r").info()
        assert info.status == "blocked"
        assert recorded in str(info.blocked)


def test_a_branch_may_become_longer_while_the_gather_goes_on(store: Driver, clock: VirtualClock) -> None:
    for fn in (two, longer):
        with Engine(store, clock=clock) as engine:
            flow = workflow("w")(fn)
            engine.register(flow)
            if fn is two:
                engine.start(flow, id="r")
            engine.run_until_idle()
            clock.advance(10)
    with Engine(store, clock=clock) as engine:
        assert engine.get("r").status() == "completed"
        assert MADE == {"a": 1, "b": 1, "b2": 1, "c": 1}


def blocked_by(fn: Code) -> str:
    with Engine("memory://", clock=VirtualClock()) as engine:
        flow = workflow("w")(fn)
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.status() == "blocked"
        return str(run.info().blocked)


def test_wrong_uses_are_found() -> None:
    async def no_call(wf: AsyncContext) -> None:
        await wf.gather(wf.sleep("s", 1), 3)  # type: ignore[call-overload]

    async def swallowing(wf: AsyncContext) -> None:
        async def bad() -> None:
            try:
                await wf.sleep("s", 1)
            except BaseException:
                made("went on")

        await wf.gather(bad())

    async def anew(wf: AsyncContext) -> None:
        async def again() -> None:
            wf.continue_as_new(None)

        await wf.gather(again())

    async def same_key(wf: AsyncContext) -> None:
        await wf.gather(wf.execute("a", made, "a"), wf.execute("a", made, "a"))

    async def task(wf: AsyncContext) -> None:
        async def inner() -> None:
            await asyncio.create_task(wf.execute("a", made, "a"))

        await wf.gather(inner())

    async def twice(wf: AsyncContext) -> None:
        call = wf.execute("a", made, "a")
        await wf.gather(call, call)

    async def awaited(wf: AsyncContext) -> None:
        call = wf.execute("a", made, "a")
        await call
        await wf.gather(call)

    for fn, text in (
        (twice, "not awaited, each once"),
        (awaited, "not awaited, each once"),
        (no_call, "wf.gather(3): give calls that are not awaited"),
        (swallowing, "sleep:s had suspended the run"),
        (anew, "wf.continue_as_new() is called inside of wf.gather"),
        (same_key, "wf.execute('a'): the key was used before"),
        (task, "use `await wf.gather(...)`"),
    ):
        assert text in blocked_by(fn)


def test_nothing_to_gather(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> list[Any]:
        return [
            list(await wf.gather(*[wf.sleep("s", 0) for _ in range(0)])),
            list(await wf.gather(wf.execute("a", made, "a"))),
        ]

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.result() == [[], ["a"]]


def test_transactions_in_branches_are_recorded_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        connection.execute("create table payments (number integer)")

    def pay(connection: sqlite3.Connection, number: int) -> int:
        connection.execute("insert into payments values (?)", (number,))
        return number

    async def twice(wf: AsyncContext, number: int) -> int:
        first = await wf.transaction(f"a/{number}", pay, number)
        await wf.sleep(f"s/{number}", 5)
        return first + await wf.transaction(f"b/{number}", pay, number + 10)

    @workflow("w")
    async def flow(wf: AsyncContext) -> list[int]:
        return list(await wf.gather(twice(wf, 1), twice(wf, 2), wf.execute("c", int, "3")))

    with Engine(url, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        assert run.result() == [12, 14, 3]
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        assert sorted(connection.execute("select number from payments")) == [(1,), (2,), (11,), (12,)]
