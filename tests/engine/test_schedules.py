"""Schedules: which runs they start under virtual time, how they overlap, and what pause, trigger, backfill and upsert do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow import AsyncEngine, CodecError, Context, Engine, NotFound, Status, StepflowError, named, workflow
from stepflow.drivers.memory.driver import MemoryDriver
from stepflow.drivers.port.commit import Commit, Owner
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery
from stepflow.testing import VirtualClock
from tests.engine.flows import Order

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 3, 28, tzinfo=UTC)
QUICK = named("quick", Order).do("a", lambda: None).compile()
HELD = named("held", Order).wait_event("go", "go", str, lambda _order, _go: None).compile()
OTHER = named("other", Order).do("b", lambda: None).compile()


@workflow("naps")
def naps(wf: Context, hours: int) -> int:
    wf.sleep("nap", timedelta(hours=hours))
    return hours


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def engine(store, clock):
    with Engine(store, clock=clock) as engine:
        engine.register(QUICK, HELD, naps)
        yield engine


def go(engine, duration: timedelta) -> None:
    engine.run_until_idle(advance=True, until=duration)


def ids(schedule) -> list[str]:
    """The ids of the runs, the oldest first, without the name of the schedule and the year."""
    return [run.id.partition("@2026-")[2] for run in reversed(schedule.runs(100))]


def test_each_tick_starts_one_run_with_the_input_and_the_labels(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(log=["x"]), cron="0 */6 * * *", labels={"tenant": "a"})
    assert schedule.id == "s"
    assert schedule.info().next == START + 6 * HOUR
    go(engine, DAY)
    assert ids(schedule) == ["03-28T06:00:00Z", "03-28T12:00:00Z", "03-28T18:00:00Z", "03-29T00:00:00Z"]
    info = engine.get("s@2026-03-28T06:00:00Z").info()
    assert info.status is Status.COMPLETED
    assert info.labels == {"tenant": "a", "stepflow.schedule": "s"}
    assert info.created_at == START + 6 * HOUR
    assert engine.get(QUICK, "s@2026-03-28T06:00:00Z").result().log == ["x"]
    seen = schedule.info()
    assert (seen.last, seen.last_run) == (START + DAY, "s@2026-03-29T00:00:00Z")
    assert (seen.next, seen.skipped, seen.queued) == (START + 30 * HOUR, None, ())
    assert [one.id for one in engine.schedules()] == ["s"]


def test_a_daily_time_fires_once_on_each_local_day(engine):
    schedule = engine.schedule("s", QUICK, Order(), cron="30 2 * * *", tz="Europe/Berlin")
    go(engine, 3 * DAY)
    assert ids(schedule) == ["03-28T01:30:00Z", "03-29T01:00:00Z", "03-30T00:30:00Z"]


def test_days_of_an_hourly_schedule(engine):
    schedule = engine.schedule("s", QUICK, Order(), cron="@hourly")
    engine.run_until_idle(advance=True, until=timedelta(days=3))
    assert engine.tally() == {"quick": {"completed": 72}}
    assert len(schedule.runs(1000)) == 72


def test_a_tick_and_the_end_of_its_run_ask_for_schedules_three_times(clock):
    asked: list[Any] = []

    class CountingDriver(MemoryDriver):
        def connect(self, namespace: str, owner: Owner, now: int) -> Any:
            store = super().connect(namespace, owner, now)
            read = store.read

            def counted(query: Any) -> Any:
                if isinstance(query, ScheduleQuery):
                    asked.append(query)
                return read(query)

            store.read = counted  # type: ignore[method-assign]
            return store

    with Engine(CountingDriver(), clock=clock) as engine:
        engine.register(QUICK)
        schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
        asked.clear()
        go(engine, 10 * HOUR)
        found = len(asked)
        assert len(ids(schedule)) == 10
    assert found == 30  # what is due, and what is due next; at the end of the run whether a tick waited for that


def test_an_interval_counts_from_the_making_of_the_schedule_without_drift(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), every=timedelta(minutes=7, milliseconds=250))
    go(engine, timedelta(minutes=22))
    assert ids(schedule) == ["03-28T00:07:00.250000Z", "03-28T00:14:00.500000Z", "03-28T00:21:00.750000Z"]
    assert engine.schedule("e", QUICK, Order(), cron="@every 1h30m").info().next == clock.datetime() + 1.5 * HOUR


def test_skip_leaves_out_the_ticks_while_a_run_goes_on(engine):
    schedule = engine.schedule("s", naps, 5, every=2 * HOUR)
    go(engine, 12 * HOUR)
    assert ids(schedule) == ["03-28T02:00:00Z", "03-28T08:00:00Z"]
    assert "run 's@2026-03-28T08:00:00Z' had not ended" in schedule.explain()


def test_queue_starts_every_tick_in_order_one_behind_the_other(engine):
    schedule = engine.schedule("s", naps, 3, every=2 * HOUR, overlap="queue")
    go(engine, 12 * HOUR)
    assert ids(schedule) == ["03-28T02:00:00Z", "03-28T04:00:00Z", "03-28T06:00:00Z", "03-28T08:00:00Z"]
    begun = [run.created_at for run in reversed(schedule.runs())]
    assert begun == [START + (2 + 3 * n) * HOUR for n in range(4)]
    assert schedule.info().queued == (START + 10 * HOUR, START + 12 * HOUR)
    assert "2 tick(s) are queued since" in schedule.explain()


def test_cancel_ends_the_run_before(engine):
    schedule = engine.schedule("s", HELD, Order(), every=2 * HOUR, overlap="cancel")
    go(engine, 6 * HOUR)
    assert [run.status for run in reversed(schedule.runs())] == [Status.CANCELLED, Status.CANCELLED, Status.WAITING]


def test_ticks_that_nobody_noticed_are_missed_unless_the_window_reaches_back(engine, clock):
    late = engine.schedule("late", QUICK, Order(), every=HOUR)
    caught = engine.schedule("caught", QUICK, Order(), every=HOUR, catch_up=2 * HOUR, overlap="queue")
    clock.advance(timedelta(hours=5, minutes=30))
    engine.run_until_idle()
    go(engine, timedelta(minutes=29))
    assert ids(late) == []
    assert ids(caught) == ["03-28T04:00:00Z", "03-28T05:00:00Z"]
    assert "2026-03-28T05:00:00Z started no run: no worker looked at it within 60 s" in late.explain()
    assert (late.info().skipped, caught.info().skipped) == (START + 5 * HOUR, START + 3 * HOUR)
    go(engine, HOUR)
    assert ids(late) == ["03-28T06:00:00Z"]


def test_jitter_delays_each_tick_by_its_own_part(engine):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR, jitter=timedelta(minutes=30))
    go(engine, 12 * HOUR)
    delays = [run.created_at - (START + (n + 1) * HOUR) for n, run in enumerate(reversed(schedule.runs()))]
    assert len(delays) >= 11
    assert all(timedelta(0) <= one < timedelta(minutes=30) for one in delays)
    assert len(set(delays)) > 5
    assert "with its jitter at" in schedule.explain()


def test_a_pause_starts_nothing_and_resume_goes_on_after_now(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
    schedule.pause()
    schedule.pause()
    assert schedule.info().paused
    assert schedule.info().next is None
    assert "it is paused" in schedule.explain()
    assert engine.run_until_idle(advance=True).next_due is None
    clock.advance(timedelta(hours=3, minutes=30))
    schedule.resume()
    schedule.resume()
    go(engine, HOUR)
    assert ids(schedule) == ["03-28T04:00:00Z"]


def test_upsert_keeps_a_pause_and_the_next_tick_of_the_same_timing(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
    clock.advance(timedelta(minutes=20))
    schedule.pause()
    again = engine.schedule("s", QUICK, Order(log=["new"]), every=HOUR, labels={"a": "b"})
    assert again.info().paused
    again.resume()
    assert again.info().next == START + HOUR
    go(engine, HOUR)
    assert engine.get(QUICK, "s@2026-03-28T01:00:00Z").result().log == ["new"]
    changed = engine.schedule("s", QUICK, Order(), every=timedelta(minutes=90))
    assert changed.info().next == START + timedelta(minutes=90)  # anchored where the schedule was made
    assert engine.schedule("s", QUICK, Order(), cron="@daily").info().next == START + DAY
    assert engine.schedule("s", QUICK, Order(), cron="0 0 * * *").info().timing == "0 0 * * *"


def test_trigger_starts_a_run_beside_the_ticks(engine):
    schedule = engine.schedule("s", naps, 3, every=HOUR)
    schedule.pause()
    run = schedule.trigger()
    assert run.id.startswith("s@trigger-")
    assert run.info().labels["stepflow.schedule"] == "s"
    schedule.resume()
    go(engine, timedelta(hours=2, minutes=30))
    assert len(schedule.runs()) == 1  # ticks are skipped while it goes on
    go(engine, 2 * HOUR)
    assert run.result() == 3
    assert len(schedule.runs()) == 2


def test_backfill_starts_the_runs_that_are_missing(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), cron="@hourly")
    go(engine, 3 * HOUR)
    runs = schedule.backfill(START - 2 * HOUR, START + 3 * HOUR)
    assert [run.id for run in runs] == [
        "s@2026-03-27T22:00:00Z",
        "s@2026-03-27T23:00:00Z",
        "s@2026-03-28T00:00:00Z",
        "s@2026-03-28T01:00:00Z",
        "s@2026-03-28T02:00:00Z",
        "s@2026-03-28T03:00:00Z",
    ]
    engine.run_until_idle()
    assert engine.tally() == {"quick": {"completed": 6}}
    assert schedule.backfill(START + timedelta(minutes=1), START + timedelta(minutes=2)) == []
    for start, end, why in [
        (START, START - HOUR, "start is after end"),
        (START, clock.datetime() + HOUR, "in the future"),
        (START.replace(tzinfo=None), START, "aware datetime"),
        (START - timedelta(days=900), START, "more than 10000 ticks"),
        (datetime.min.replace(tzinfo=UTC), START, r"backfill\(0001-01-01 00:00:00\+00:00, 2026.*more than 10000 ticks"),
    ]:
        with pytest.raises(StepflowError, match=why):
            schedule.backfill(start, end)


def test_the_clock_of_who_backfills_may_be_ahead_of_that_of_the_store(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), cron="@hourly")
    clock.advance(2 * HOUR - timedelta(seconds=30))
    assert [run.id for run in schedule.backfill(START, clock.datetime() + timedelta(seconds=40))] == [
        "s@2026-03-28T00:00:00Z",
        "s@2026-03-28T01:00:00Z",
    ]


def test_a_tick_that_was_backfilled_is_not_done_again(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
    clock.advance(HOUR)
    schedule.backfill(START, START + HOUR)
    engine.run_until_idle()
    assert ids(schedule) == ["03-28T01:00:00Z"]
    assert schedule.info().next == START + 2 * HOUR


def test_a_tick_is_not_done_again_after_its_run_was_pruned(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), cron="@hourly")
    go(engine, HOUR)
    clock.advance(timedelta(minutes=1))
    assert engine.prune(timedelta(0)) == 1
    engine.run_until_idle()
    assert schedule.runs() == []
    assert schedule.info().last == START + HOUR


def test_a_deleted_schedule_starts_nothing_and_its_runs_go_on(engine):
    schedule = engine.schedule("s", naps, 3, every=HOUR)
    go(engine, HOUR)
    schedule.delete()
    go(engine, 5 * HOUR)
    assert engine.tally() == {"naps": {"completed": 1}}
    assert engine.schedules() == []
    calls = (schedule.info, schedule.pause, schedule.resume, schedule.trigger, schedule.delete, schedule.explain)
    for call in (*calls, lambda: schedule.backfill(START, START), engine.get_schedule("nobody").runs):
        with pytest.raises(NotFound, match="there is no schedule"):
            call()


def test_runs_of_a_flow_that_no_worker_knows_wait_for_one(engine, store, clock):
    schedule = engine.schedule("s", OTHER, Order(), every=HOUR, priority=-3)
    go(engine, 3 * HOUR)
    assert [run.priority for run in schedule.runs()] == [-3]
    assert [run.status for run in schedule.runs()] == [Status.QUEUED]
    assert "registered flow 'other'" in schedule.explain()
    with Engine(store, clock=clock) as able:
        able.register(OTHER)
        able.run_until_idle()
    assert [run.status for run in schedule.runs()] == [Status.COMPLETED]


def test_two_engines_fire_each_tick_once(engine, store, clock):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
    with Engine(store, clock=clock) as other:
        other.register(QUICK)
        for _ in range(4):
            clock.advance(HOUR)
            for one in (other, engine):
                one.run_until_idle()
    assert ids(schedule) == [f"03-28T0{n}:00:00Z" for n in (1, 2, 3, 4)]


def test_a_run_starts_as_the_registered_flow_does_today(store, clock):
    old = named("f", Order).do("old", lambda: None).compile()
    new = named("f", Order).do("new", lambda: None).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(new)
        schedule = engine.schedule("s", old, Order(), every=HOUR)
        go(engine, HOUR)
        assert [run.status for run in schedule.runs()] == [Status.COMPLETED]


def test_the_first_wait_of_a_run_has_its_time_limit_from_the_tick_on(engine, store, clock):
    waits = named("w", Order).wait_event("go", "go", str, lambda _o, _g: None, timeout=2 * HOUR).compile()
    engine.register(waits)
    schedule = engine.schedule("s", waits, Order(), every=3 * HOUR)
    go(engine, 4 * HOUR)
    assert schedule.runs()[0].deadline == START + 5 * HOUR
    go(engine, timedelta(minutes=90))
    assert [run.status for run in schedule.runs()] == [Status.FAILED]


def test_what_goes_on_for_ever_names_the_schedule(engine):
    engine.schedule("s", QUICK, Order(), every=HOUR)
    with pytest.raises(StepflowError, match=r"after 20 jumps .* a tick of schedule 's' is due.* give until="):
        engine.run_until_idle(advance=True, max_jumps=20)


def test_a_schedule_that_cannot_be_read_keeps_no_other_from_its_ticks(store, clock, engine, caplog):
    schedule = engine.schedule("good", QUICK, Order(), every=timedelta(seconds=90))
    session = engine._engine._session.store
    for name, body in (("a", "nonsense"), ("b", '{"format":99}'), ("c", '{"format":1,"id":"c"}')):
        (done,) = session.commit([Commit(schedule=ScheduleChange(name, 0, 0, body))], 1)
        assert not isinstance(done, Exception)
    go(engine, timedelta(minutes=2))
    assert ids(schedule) == ["03-28T00:01:30Z"]
    assert "schedule a cannot be read here" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "neither was given"),
        ({"cron": "* * * * *", "every": HOUR}, "both were given"),
        ({"cron": "61 * * * *"}, "61 is outside of 0-59"),
        ({"cron": "0 0 30 2 *"}, "no month that it names has a day 30"),
        ({"cron": "@every 0s"}, "above 0"),
        ({"cron": "@every 5us"}, "a millisecond or more"),
        ({"every": timedelta(0)}, "a millisecond or more"),
        ({"every": 60}, "give a timedelta"),
        ({"cron": "@daily", "tz": "Mars/Base"}, "there is no such time zone"),
        ({"every": HOUR, "tz": "Europe/Berlin"}, "leave tz= out"),
        ({"every": HOUR, "overlap": "replace"}, "'skip', 'queue' or 'cancel'"),
        ({"every": HOUR, "catch_up": -HOUR}, "catch_up="),
        ({"every": HOUR, "jitter": 5}, "jitter="),
        ({"every": HOUR, "jitter": HOUR}, "not shorter than the interval"),
        ({"every": HOUR, "labels": {"a": 1}}, "labels"),
        ({"every": HOUR, "labels": {"stepflow.parent": "run"}}, "are given by stepflow"),
        ({"every": HOUR, "priority": "high"}, "priority="),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_stored(engine, given, why):
    with pytest.raises(StepflowError, match=why):
        engine.schedule("s", QUICK, Order(), **given)
    assert engine.schedules() == []


def test_ids_and_inputs_are_checked_as_those_of_runs(engine):
    for name in ("", "a\0b", "x" * 2000, 5):
        with pytest.raises(StepflowError, match="id="):
            engine.schedule(name, QUICK, Order(), every=HOUR)
    with pytest.raises(CodecError):
        engine.schedule("s", QUICK, object(), every=HOUR)
    assert engine.schedules() == []


def test_the_async_face(store, clock):
    async def work() -> None:
        async with AsyncEngine(store, clock=clock) as engine:
            engine.register(QUICK)
            schedule = await engine.schedule("s", QUICK, Order(), every=HOUR)
            await engine.run_until_idle(advance=True, until=HOUR)
            assert repr(schedule) == "AsyncSchedule('s')"
            assert [run.id for run in await schedule.runs()] == ["s@2026-03-28T01:00:00Z"]
            assert (await (await engine.get_schedule("s").trigger()).status()) is Status.QUEUED
            assert [one.id for one in await engine.schedules()] == ["s"]

    asyncio.run(work())
