"""first_of: a run waits for the first of several events and moments; the losers consume nothing."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, First, RunFailed, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock


@workflow("sync")
def decided(wf: Context) -> list[Any]:
    first = wf.first_of(
        "decided", wf.event("approved", str), wf.event("rejected", int), wf.timer(timedelta(days=2)), wf.timer(1e6)
    )
    wf.sleep("pause", 5)
    return [first.index, first.value]


@workflow("async")
async def adecided(wf: AsyncContext) -> list[Any]:
    first = await wf.first_of(
        "decided", wf.event("approved", str), wf.event("rejected", int), wf.timer(timedelta(days=2)), wf.timer(1e6)
    )
    await wf.sleep("pause", 5)
    return [first.index, first.value]


@pytest.mark.parametrize("flow", [decided, adecided], ids=["sync", "async"])
def test_the_first_way_that_ends_decides_and_replays_agree(flow: Any, store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        runs = [engine.start(flow, id=run_id) for run_id in ("late", "no", "yes")]
        engine.run_until_idle()
        info = runs[0].info()
        assert (info.status, info.position) == ("waiting", ["first_of:decided"])
        assert (info.waiting_for, info.awaits) == ("event:approved, event:rejected", ("approved", "rejected"))
        assert info.deadline == clock.datetime() + timedelta(days=2)
        assert "waits for events 'approved' or 'rejected'" in runs[0].explain()
        runs[1].publish("rejected", 7)
        runs[1].publish("approved", "too late")
        runs[2].publish("approved", "Eve")
        engine.run_until_idle()
        assert [run.info().waiting_for for run in runs] == [info.waiting_for, "delay", "delay"]
        engine.run_until_idle(advance=True)
        assert [run.result() for run in runs] == [[2, None], [1, 7], [0, "Eve"]]


def test_the_losers_consume_nothing(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> list[Any]:
        ways = wf.event("a", int), wf.event("b", int, latch=True)
        found = [wf.first_of(f"first/{n}", *ways) for n in range(3)]
        return [[one.index, one.value] for one in found] + [wf.wait_for_event("rest", "a", int)]

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        for name, number in (("b", 1), ("a", 2), ("b", 3), ("a", 4), ("a", 5)):
            run.publish(name, number)
        engine.run_until_idle()
        assert run.result() == [[1, 3], [0, 2], [0, 4], 5]


def test_an_event_after_the_time_is_too_late_and_one_before_it_is_not(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        first = wf.first_of("f", wf.timer(10), wf.event("a", int))
        return f"{first} {wf.wait_for_event('rest', 'b', int)}"

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        runs = [engine.start(flow, id=name) for name in ("early", "late")]
        engine.run_until_idle()
        clock.advance(9)
        runs[0].publish("a", 1)
        clock.advance(1)
        runs[1].publish("a", 2)
        for run in runs:
            run.publish("b", 0)
        engine.run_until_idle()
        assert [run.result() for run in runs] == [f"{First(1, 1)} 0", f"{First(0, None)} 0"]


def test_an_event_that_does_not_fit_is_used_up_and_fails_the_call(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            return str(wf.first_of("f", wf.event("a", int), wf.timer(10)))
        except Exception as error:
            wf.sleep("s", 1)
            return f"{type(error).__name__} {wf.first_of('g', wf.event('a', int), wf.timer(10))}"

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        run.publish("a", "x")
        engine.run_until_idle(advance=True)
        assert run.result() == f"CodecError {First(1, None)}"


def wrong_none(wf: Context) -> Any:
    return wf.first_of("f")


def wrong_twice(wf: Context) -> Any:
    return wf.first_of("f", wf.event("a", int), wf.timer(1), wf.event("a", str))


def wrong_thing(wf: Context) -> Any:
    return wf.first_of("f", "a")  # type: ignore[call-overload]


def wrong_name(wf: Context) -> Any:
    return wf.first_of("f", wf.event("", int))


def wrong_time(wf: Context) -> Any:
    return wf.first_of("f", wf.timer("1"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (wrong_none, r"wf\.first_of\('f'\): give what to wait for"),
        (wrong_twice, r"wf\.first_of\('f'\): 'a' is given twice"),
        (wrong_thing, r"wf\.first_of\('f'\): 'a' cannot be waited for"),
        (wrong_name, r"wf\.event\(''\): name the event"),
        (wrong_time, r"wf\.timer\('1'\): give seconds or a timedelta"),
    ],
)
def test_a_wrong_use_blocks_the_run(fn: Any, text: str, store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        flow = workflow("w")(fn)
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.status() == "blocked"
        assert re.search(text, str(run.info().blocked))


def test_other_ways_under_the_same_key_are_found(store: Driver, clock: VirtualClock) -> None:
    def before(wf: Context) -> None:
        wf.first_of("f", wf.event("a", int), wf.timer(10))

    def after(wf: Context) -> None:
        wf.first_of("f", wf.timer(10), wf.event("b", int))

    for fn in (before, after):
        with Engine(store, clock=clock) as engine:
            flow = workflow("w")(fn)
            engine.register(flow)
            if fn is before:
                engine.start(flow, id="r")
            engine.run_until_idle()
            clock.advance(10)
    with Engine(store, clock=clock) as engine:
        info = engine.get("r").info()
        assert info.status == "blocked"
        assert "first 'f' of a | timer" in str(info.blocked)
        assert "first 'f' of timer | b" in str(info.blocked)


def test_a_run_that_failed_in_a_first_of_goes_on_by_a_redrive(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> int | None:
        return wf.first_of("f", wf.event("a", int), wf.timer(10)).value

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        run.publish("a", "x")
        engine.run_until_idle()
        with pytest.raises(RunFailed, match="CodecError"):
            run.result()
        run.redrive()
        engine.run_until_idle()
        run.publish("a", 3)
        engine.run_until_idle()
        assert run.result() == 3
