"""once() and aonce() in flow functions: a call is made once, until a commit moves the State."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    AsyncFlowEngine,
    Command,
    Engine,
    FlowEngine,
    RetryPolicy,
    StateCtx,
    Status,
    commit,
    current,
    delay,
    flow,
    park,
    transit,
)
from tests.flows.book import AGAIN, Book, Broken, Receipt, keys


def long_function(style: str, book: Book, pause: float) -> Any:
    """Three calls, after each of which the first attempts raise; they begin after `pause` seconds."""
    left, again = [1, 2], RetryPolicy(max_attempts=5, delay=pause, factor=1, jitter=0)

    if style == "async":

        @flow("long", retry=again)
        async def along(ctx: StateCtx, _engine: AsyncFlowEngine) -> Command:
            for n in (1, 2, 3):
                found = await current().aonce(f"call-{n}", book.areceipt if n % 2 else book.receipt, n)
                assert found == Receipt(n)
                if left[:1] == [n]:
                    raise Broken(left.pop(0))
            return commit(park(ctx, done="yes"))

        return along

    @flow("long", retry=again)
    def long(ctx: StateCtx) -> Command:
        for n in (1, 2, 3):
            assert current().once(f"call-{n}", book.receipt, n) == Receipt(n)
            if left[:1] == [n]:
                raise Broken(left.pop(0))
        return park(ctx, done="yes") if style == "uncommitted" else commit(park(ctx, done="yes"))

    return long


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("style", ["sync", "async", "uncommitted"])
def test_each_call_is_made_once_over_all_retries(store, clock, book, style, real):
    long = long_function(style, book, 0 if real else 1)
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(long)
        run = engine.start(long, id="one")
        engine.run_until_idle() if real else engine.run_until_idle(advance=True)
        assert engine.get_state("one").annotation("done") == "yes"
        assert run.status() is Status.PARKED
    assert book.calls == [1, 2, 3]
    assert keys(store, "one") == []


def test_the_rows_stay_while_the_function_is_tried_again_and_when_it_has_failed(store, clock, book):
    book.raises = 3

    @flow("f", retry=RetryPolicy(max_attempts=2, delay=1, jitter=0))
    def f(ctx: StateCtx) -> Command:
        here = current()
        assert (here.run_id, here.flow, here.step) == ("one", "f", "f")
        book.seen.append(here.attempt)
        here.once("a", book.receipt, 1)
        book.may_raise()
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(f)
        run = engine.start(f, id="one")
        engine.run_until_idle()
        assert len(keys(store, "one")) == 1
        engine.run_until_idle(advance=True)
        assert run.status() is Status.FAILED
        assert len(keys(store, "one")) == 1
        run.redrive()
        engine.run_until_idle(advance=True)
        assert run.status() is Status.PARKED
    assert book.calls == [1]
    assert book.seen == [1, 2, 1, 2]
    assert keys(store, "one") == []


@pytest.mark.parametrize("committed", [False, True])
def test_each_pass_of_a_loop_begins_empty(store, clock, book, committed):
    book.raises = 2

    @flow("pass", retry=AGAIN)
    def a_pass(ctx: StateCtx) -> Command:
        number = int(ctx.annotation("n") or "0")
        if number == 3:
            return commit(park(ctx))
        book.once("call", number)
        if number == 2:
            book.may_raise()
        move = transit(ctx, "pass", n=str(number + 1))
        return commit(move) if committed else move

    with Engine(store, clock=clock) as engine:
        engine.register(a_pass)
        run = engine.start(a_pass, id="one")
        engine.run_until_idle(advance=True)
        assert run.status() is Status.PARKED
    assert book.calls == [0, 1, 2]
    seen = [number for _key, number in book.seen]
    assert seen == ([0, 1, 2, 2, 2] if committed else [0, 1, 2] * 3)
    assert keys(store, "one") == []


def test_a_commit_in_the_middle_of_a_function_begins_a_new_place(store, clock, book):
    book.raises = 2

    @flow("two parts", retry=AGAIN)
    def two_parts(ctx: StateCtx, engine: FlowEngine) -> Command:
        if not ctx.annotation("half"):
            book.once("first", 1)
            engine.do(commit(transit(ctx, "two parts", half="yes")))
            assert keys(store, "one") == []
        book.once("second", 2)
        book.may_raise()
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(two_parts)
        engine.start(two_parts, id="one")
        engine.run_until_idle(advance=True)
        assert engine.get("one").status() is Status.PARKED
    assert book.calls == [1, 2]
    assert book.seen == [("first", 1), ("second", 2), ("second", 2), ("second", 2)]
    assert keys(store, "one") == []


def test_a_delay_ends_the_place(store, clock, book):
    @flow("tick", retry=AGAIN)
    def tick(ctx: StateCtx) -> Command:
        number = int(ctx.annotation("n") or "0")
        if number == 2:
            return commit(park(ctx))
        book.once("call", number)
        return delay(ctx, "tick", 5, n=str(number + 1))

    with Engine(store, clock=clock) as engine:
        engine.register(tick)
        engine.start(tick, id="one")
        engine.run_until_idle()
        assert keys(store, "one") == []
        engine.run_until_idle(advance=True)
    assert book.calls == [0, 1]
    assert keys(store, "one") == []


def test_an_execution_of_the_caller_records_and_a_worker_goes_on_behind_it(store, clock, book):
    book.raises = 1

    @flow("f", retry=AGAIN)
    def f(ctx: StateCtx) -> Command:
        book.once("a", 1)
        book.may_raise()
        book.once("b", 2)
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(f)
        state = StateCtx("one", annotations={"flowstate.recovery.retry_after": "1ms"})
        engine.do(commit(transit(state, "f")))
        with pytest.raises(Broken):
            engine.execute(state)
        assert len(keys(store, "one")) == 1
        clock.advance(1)
        engine.run_until_idle(advance=True)
        while engine.get("one").status() is not Status.PARKED:
            engine.run_until_idle(advance=True)
    assert book.calls == [1, 2]
    assert keys(store, "one") == []


def test_what_another_commit_moved_finds_nothing_of_the_place_before(store, clock, book):
    @flow("f", retry=AGAIN)
    def f(ctx: StateCtx) -> Command:
        book.once("a", len(book.calls))
        if len(book.calls) == 1:
            raise Broken
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(f)
        engine.start(f, id="one")
        engine.run_until_idle()
        engine.do(commit(transit(engine.get_state("one"), "f")))  # not by the holder, so the row stays
        assert len(keys(store, "one")) == 1
        clock.advance(120)
        engine.run_until_idle(advance=True)
        assert engine.get("one").status() is Status.PARKED
    assert book.calls == [0, 1]
    assert keys(store, "one") == []


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize("style", ["sync", "async"])
def test_a_function_that_executes_another_one_keeps_its_own_calls(store, clock, book, style, virtual):
    @flow("inner")
    def inner(ctx: StateCtx) -> Command:
        assert current().run_id == "inner"
        book.once("k", 2)
        return commit(park(ctx))

    @flow("outer")
    def outer(ctx: StateCtx, engine: FlowEngine) -> Command:
        book.once("before", 1)
        other = StateCtx("inner")
        engine.do(commit(transit(other, "inner")))
        engine.execute(other)
        book.once("k", 3)
        assert len(keys(store, "outer")) == 2
        return commit(park(ctx))

    @flow("outer")
    async def aouter(ctx: StateCtx, engine: AsyncFlowEngine) -> Command:
        await current().aonce("before", book.receipt, 1)
        other = StateCtx("inner")
        await engine.do(commit(transit(other, "inner")))
        await engine.execute(other)
        await current().aonce("k", book.receipt, 3)
        assert len(keys(store, "outer")) == 2
        return commit(park(ctx))

    with Engine(store, clock=clock if virtual else None) as engine:
        engine.register(outer if style == "sync" else aouter, inner)
        state = StateCtx("outer")
        engine.do(commit(transit(state, "outer")))
        engine.execute(state)
    assert book.calls == [1, 2, 3]
    assert keys(store, "outer") == []


def test_a_recorded_call_is_kept_when_the_run_is_paused(store, clock, book):
    @flow("f", retry=AGAIN)
    def f(ctx: StateCtx, engine: FlowEngine) -> Command:
        book.once("a", 1)
        if len(book.seen) == 1:
            engine_of_others.get("one").pause()
        book.once("b", 2)
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine, Engine(store, clock=clock) as engine_of_others:
        engine.register(f)
        run = engine.start(f, id="one")
        engine.run_until_idle()
        assert run.status() is Status.PAUSED
        run.resume()
        engine.run_until_idle()
        assert run.status() is Status.PARKED
    assert book.calls == [1, 2]
    assert keys(store, "one") == []


def test_async_calls_go_side_by_side(store, book):
    @flow("f")
    async def f(ctx: StateCtx) -> Command:
        here = current()
        await asyncio.gather(*(here.aonce(f"k{n}", book.areceipt, n) for n in range(5)))
        return commit(park(ctx))

    async def test() -> None:
        async with AsyncEngine(store) as engine:
            engine.register(f)
            for n in range(10):
                await engine.start(f, id=f"run-{n}")
            await engine.run_until_idle()
            for n in range(10):
                assert (await engine.get_state(f"run-{n}")).parked

    asyncio.run(test())
    assert sorted(book.calls) == sorted([*range(5)] * 10)
    assert keys(store, "run-0") == []
