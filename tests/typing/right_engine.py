"""Right programs with engines: mypy --strict and pyright strict accept every line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from opentelemetry.sdk.trace import TracerProvider

from stepflow import (
    Affected,
    AsyncEngine,
    AsyncRun,
    AsyncSchedule,
    Conflict,
    Current,
    Delayed,
    Done,
    Engine,
    HistoryEntry,
    Idle,
    MemoryDriver,
    OpenTelemetry,
    Page,
    Parked,
    RetryPolicy,
    Run,
    RunExists,
    RunFailed,
    RunFilter,
    RunInfo,
    Schedule,
    ScheduleInfo,
    State,
    StateCtx,
    Status,
    Steps,
    SyncWatch,
    TimelineEntry,
    Watch,
    current,
    named,
)
from stepflow.model.commands import States
from stepflow.testing import VirtualClock


@dataclass
class Order:
    n: int = 0


@dataclass
class Payment:
    cents: int


def pay(order: Order, payment: Payment) -> None: ...
def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
    return {"n": raw.get("number", 0)}


policy = RetryPolicy(delay=timedelta(seconds=5), max_delay=60, on=(ValueError, OSError))
order_flow = (
    named("order.v1", Order)
    .wait_event("paid", "payment.received", Payment, pay, timeout=timedelta(days=7))
    .retry("ship", policy, Steps(Order).do("label", lambda order: print(order.n)))
    .compile(retry=policy, upgrade=upgrade)
)
bare_flow = named("bare").do("a", lambda: print("a")).compile()


def sync_program() -> None:
    clock = VirtualClock()
    Engine("memory://", instrument=OpenTelemetry(TracerProvider()))
    Engine("memory://", instrument=False)
    with Engine("sqlite:///orders.db", clock=clock, namespace="eu", concurrency=8, retention=None) as engine:
        engine.register(order_flow, bare_flow)
        run = engine.start(order_flow, Order(1), id="order-1", labels={"tenant": "acme"}, priority=-1)
        assert_type(run, Run[Order])
        assert_type(run.result(timeout=1.5), Order)
        assert_type(run.exchange(), Order)
        assert_type(engine.get(order_flow, "order-1"), Run[Order])
        assert_type(engine.get("order-1"), Run[Any])
        engine.start(bare_flow)
        engine.start(order_flow, Order(), at=datetime.now(UTC) + timedelta(hours=1))
        run.publish("payment.received", Payment(5), id="evt-1")
        assert_type(run.status(), Status)
        info = run.info()
        assert_type(info, RunInfo)
        assert_type(info.position, list[str])
        assert_type(info.due, datetime | None)
        assert_type(run.history(), list[HistoryEntry])
        assert_type(run.timeline(10, cursor=None), Page[TimelineEntry])
        assert_type(run.explain(), str)
        assert_type(engine.runs(flow="order.v1", status=Status.FAILED, limit=5), Page[RunInfo])
        page = engine.runs(RunFilter(status=["failed"], error_type="ValueError"), order="updated")
        assert_type(page[0], RunInfo)
        assert_type(page.next, str | None)
        assert_type(engine.cancel(RunFilter(open=True), dry_run=False), Affected)
        assert_type(engine.redrive(["a", "b"]).skipped, Mapping[str, str])
        idle = engine.run_until_idle(advance=True)
        assert_type(idle, Idle)
        assert_type(idle.next_due, datetime | None)
        assert_type(engine.prune(timedelta(days=1)), int)
        engine.start(
            order_flow, Order(), limits=(), dedup_key="k", dedup_window=60.0, run_timeout=timedelta(1), tx=None
        )
        assert_type(engine.start_many(order_flow, [("a", Order())], labels={"a": "b"}), list[Run[Order]])
        assert_type(engine.tally(), dict[str, dict[str, int]])
        assert_type(engine.states({"a": "b"}, since_rev=3, latest_only=True, limit=5), States)
        assert_type(engine.iterate({"a": "b"}, since=datetime.now(UTC)), Iterator[State])
        assert_type(engine.get_state("order-1", 2), StateCtx)
        assert_type(engine.execute(engine.get_state("order-1")), Done | Parked | Delayed | Conflict)
        watch = engine.watch({"a": "b"}, since="latest")
        assert_type(watch, SyncWatch)
        assert_type(watch.next(timeout=1.5), State | None)
        assert_type(next(watch), State)
        clock.advance(5)
        schedule = engine.schedule(
            "nightly", order_flow, Order(1), cron="@daily", tz="Europe/Berlin", overlap="queue", run_timeout=60
        )
        assert_type(schedule, Schedule[Order])
        assert_type(schedule.trigger(), Run[Order])
        assert_type(
            schedule.backfill(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)), list[Run[Order]]
        )
        assert_type(schedule.runs(limit=3), list[RunInfo])
        assert_type(engine.get_schedule("nightly"), Schedule[Any])
        assert_type(engine.schedules(), list[ScheduleInfo])
        with engine.worker():
            run.cancel()
            run.redrive()


async def async_program() -> None:
    async with AsyncEngine(MemoryDriver()) as engine:
        engine.register(order_flow)
        run = await engine.start(order_flow, Order(1))
        assert_type(run, AsyncRun[Order])
        assert_type(await run.result(), Order)
        assert_type(engine.get(order_flow, "x"), AsyncRun[Order])
        assert_type(await engine.run_until_idle(), Idle)
        assert_type(await engine.start_many(order_flow, [(None, Order())]), list[AsyncRun[Order]])
        assert_type(await engine.states(limit=5), States)
        assert_type(engine.iterate(since_rev=3), AsyncIterator[State])
        assert_type(engine.watch(), Watch)
        schedule = await engine.schedule("often", order_flow, Order(), every=timedelta(hours=1))
        assert_type(schedule, AsyncSchedule[Order])
        assert_type(await schedule.trigger(), AsyncRun[Order])
        async with engine.worker():
            assert_type(await run.status(), Status)


def inside_of_a_step() -> None:
    here = current()
    assert_type(here, Current)
    assert_type(here.key, str)
    assert_type(here.attempt, int)
    assert_type(here.once("a", round, 2.5), int)
    assert_type(here.once("b", price_of, "lamp", 2), int)
    assert_type(here.once("c", price_of, "lamp", 2, at_most_once=True), int)


async def inside_of_an_async_step() -> None:
    here = current()
    assert_type(await here.aonce("a", price_of, "lamp", 2, at_most_once=True), int)
    assert_type(await here.aonce("b", aprice_of, "lamp", at_most_once=True), int)


def price_of(item: str, count: int) -> int:
    return len(item) * count


async def aprice_of(item: str) -> int:
    return len(item)


def handle(engine: Engine) -> Order | None:
    try:
        return engine.start(order_flow, Order(2), id="order-1").result()
    except RunExists as exists:
        print(exists.run)
    except RunFailed as failed:
        assert_type(failed.traceback, str)
    return None
