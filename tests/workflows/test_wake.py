"""A sleeping workflow that is woken goes on at once, and does not sleep again when it is replayed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, RetryPolicy, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock

HOUR = timedelta(hours=1)
CALLS: list[str] = []


def note(what: str) -> None:
    CALLS.append(what)


def fails_first() -> str:
    CALLS.append("try")
    if CALLS.count("try") == 1:
        raise OSError("not yet")
    return "done"


@workflow("sleeps")
def sleeps(wf: Context, _input: None) -> str:
    wf.execute("a", note, "a")
    wf.sleep("first", HOUR)
    wf.execute("b", note, "b")
    wf.sleep("second", timedelta(minutes=1))
    wf.execute("c", note, "c")
    return "done"


@workflow("asleeps")
async def asleeps(wf: AsyncContext, _input: None) -> str:
    await wf.execute("a", note, "a")
    await wf.sleep("first", HOUR)
    await wf.execute("b", note, "b")
    await wf.sleep("second", timedelta(minutes=1))
    await wf.execute("c", note, "c")
    return "done"


@workflow("backs_off")
def backs_off(wf: Context, _input: None) -> str:
    return wf.execute("try", fails_first, retry=RetryPolicy(max_attempts=3, delay=3600))


@workflow("timer")
def timer(wf: Context, _input: None) -> str:
    wf.first_of("t", wf.timer(HOUR))
    wf.first_of("u", wf.timer(timedelta(minutes=1)))
    return "done"


@pytest.mark.parametrize("flow", [sleeps, asleeps], ids=["sync", "async"])
def test_a_sleep_that_a_caller_ends_is_over_for_all_replays(flow: Any, store: Driver, clock: VirtualClock) -> None:
    CALLS.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, None, id="r")
        engine.run_until_idle()
        run.wake()
        assert run.status() == "queued"
        idle = engine.run_until_idle()
        assert CALLS == ["a", "b"]
        assert idle.next_due == clock.datetime() + timedelta(minutes=1)
        assert "wake" not in run.explain()
    clock.advance(timedelta(minutes=1))
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.run_until_idle()
        assert engine.get(flow, "r").result() == "done"
    assert CALLS == ["a", "b", "c"]


@pytest.mark.parametrize(("flow", "minutes"), [(backs_off, 0), (timer, 1)], ids=["back-off", "timer"])
def test_a_retry_and_a_timer_do_not_wait_for_their_time(
    flow: Any, minutes: int, store: Driver, clock: VirtualClock
) -> None:
    CALLS.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, None)
        engine.run_until_idle()
        assert run.status() == "sleeping"
        run.wake()
        engine.run_until_idle()
        clock.advance(timedelta(minutes=minutes))
        engine.run_until_idle()
        assert run.result() == "done"


@workflow("both")
async def both(wf: AsyncContext, _input: None) -> tuple[str, str]:
    async def sleeps_for(key: str, hours: int) -> str:
        await wf.sleep(key, hours * HOUR)
        return key

    return await wf.gather(sleeps_for("short", 1), sleeps_for("long", 2))


def test_of_several_branches_that_sleep_the_first_is_woken(store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(both)
        run = engine.start(both, None)
        engine.run_until_idle()
        began = clock.datetime()
        run.wake()
        assert engine.run_until_idle().next_due == began + 2 * HOUR
        clock.advance(2 * HOUR)
        engine.run_until_idle()
        assert run.result() == ("short", "long")
