"""Topics: a message is published once, and wakes any number of runs, also those that begin to wait later."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, RunFailed, StepflowError, TimedOut, workflow
from stepflow.drivers.port.store import Driver
from stepflow.engine.execution import topic_log
from stepflow.testing import VirtualClock

HOUR = timedelta(hours=1)


@workflow("sync")
def reader(wf: Context, n: int) -> list[str]:
    return [wf.wait_for_topic(f"wait/{i}", "rates", str) for i in range(n)]


@workflow("async")
async def areader(wf: AsyncContext, n: int) -> list[str]:
    return [await wf.wait_for_topic(f"wait/{i}", "rates", str) for i in range(n)]


@workflow("late")
def late(wf: Context) -> str:
    wf.sleep("s", HOUR)
    return wf.wait_for_topic("wait", "rates", str, timeout=HOUR)


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        engine.register(reader, areader, late)
        yield engine


@pytest.mark.parametrize("flow", [reader, areader], ids=lambda flow: flow.name)
def test_a_message_wakes_all_runs_that_wait_and_those_that_begin_to_wait_later(engine: Engine, flow: Any) -> None:
    runs = [engine.start(flow, 1) for _ in range(30)]
    waits_later = engine.start(late)
    engine.run_until_idle()
    info = runs[0].info()
    assert (info.status, info.position, info.awaits) == ("waiting", ["topic:wait/0"], ("stepflow.topic:rates",))
    assert "it waits for a message of topic 'rates'" in runs[0].explain()
    assert info.labels == {}
    engine.publish_topic("rates", "monday")
    engine.publish_topic("other", "no")
    idle = engine.run_until_idle()
    assert {run.result()[0] for run in runs} == {"monday"}
    assert (idle.completed, idle.waiting) == (30, 1)
    engine.run_until_idle(advance=True, until=HOUR)
    assert waits_later.result() == "monday"


@pytest.mark.parametrize("flow", [reader, areader], ids=lambda flow: flow.name)
def test_each_wait_of_a_run_takes_the_next_message_once(
    store: Driver, clock: VirtualClock, flow: Any, engine: Engine
) -> None:
    run = engine.start(flow, 3)
    engine.publish_topic("rates", "a", id="1")
    engine.publish_topic("rates", "again", id="1")
    engine.run_until_idle()
    assert run.info().position == ["topic:wait/1"]
    clock.advance(1)
    engine.publish_topic("rates", "b", id="2")
    clock.advance(1)
    engine.publish_topic("rates", "c", id="3")
    with Engine(store, clock=clock) as other:
        other.register(reader, areader)
        other.run_until_idle()
    assert run.result() == ["a", "b", "c"]
    assert run.info().unread == {}


def test_more_messages_than_are_read_together(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_log, "PAGE", 2)

    @workflow("w")
    def flow(wf: Context) -> int:
        return sum(wf.first_of(f"t/{n}", wf.topic("t", int)).value for n in range(7))

    engine.register(flow)
    run = engine.start(flow)
    for number in range(7):
        engine.publish_topic("t", number)
    engine.run_until_idle()
    assert run.result() == sum(range(7))


def test_what_counts_begins_with_the_run_with_the_call_or_with_a_moment(engine: Engine, clock: VirtualClock) -> None:
    began = clock.datetime()

    @workflow("w")
    def flow(wf: Context, since: datetime | None) -> list[str]:
        wf.sleep("s", 10)
        first = wf.wait_for_topic("first", "t", str, since=since or "start")
        return [first, wf.wait_for_topic("now", "t", str, since="now")]

    engine.register(flow)
    engine.publish_topic("t", "before")
    clock.advance(1)
    runs = [engine.start(flow, since) for since in (None, began, began + timedelta(seconds=3))]
    engine.run_until_idle()
    for _ in range(3):
        clock.advance(1)
        engine.publish_topic("t", f"in second {round((clock.datetime() - began).total_seconds())}")
    clock.advance(20)
    engine.run_until_idle()
    engine.publish_topic("t", "news")
    engine.run_until_idle()
    assert [run.result() for run in runs] == [["in second 2", "news"], ["before", "news"], ["in second 3", "news"]]


def test_a_message_is_kept_as_long_as_was_said_and_pruned_after_that(
    store: Driver, clock: VirtualClock, engine: Engine
) -> None:
    began = clock.datetime()

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.wait_for_topic("t", "t", str, since=began, timeout=10)

    with Engine(store, clock=clock, keep=timedelta(hours=2)) as engine:
        engine.register(flow)
        engine.publish_topic("t", "x", keep=timedelta(days=3))
        engine.run_until_idle()
        clock.advance(2 * 86400)
        assert engine.prune(timedelta(0)) == 0
        kept = engine.start(flow)
        clock.advance(86400)
        gone = engine.start(flow)  # the message is over, whether a worker has ended it or not
        engine.run_until_idle()
        assert kept.status() == "waiting"
        clock.advance(10)
        engine.run_until_idle()
        for run in (kept, gone):
            with pytest.raises(RunFailed, match="no message of topic 't' within 10 s"):
                run.result()
        assert engine.runs(flow="stepflow.topic")[0].status == "completed"
        clock.advance(1)
        told: list[int] = []
        assert engine.prune(timedelta(0), lambda runs, _revisions: told.append(runs)) == 2  # a message is no run
        assert told == [2]
        assert engine.runs(flow="stepflow.topic") == []


def test_a_time_limit_is_raised_and_a_message_after_it_is_too_late(engine: Engine, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            return wf.wait_for_topic("t", "t", str, timeout=10)
        except TimedOut as error:
            return f"{error}; {wf.wait_for_topic('u', 't', str)}"

    engine.register(flow)
    early, run = engine.start(flow), engine.start(flow)
    engine.run_until_idle()
    clock.advance(10)
    engine.publish_topic("t", "late")
    engine.run_until_idle()
    assert early.result() == run.result() == "t: no message of topic 't' within 10 s; late"


def test_a_message_that_does_not_fit_is_taken_and_fails_the_call(engine: Engine, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> list[Any]:
        try:
            wf.wait_for_topic("t", "t", int)
        except StepflowError as error:
            first = wf.first_of("f", wf.topic("t", int), wf.timer(5))
            return [type(error).__name__, first.value]
        return []

    engine.register(flow)
    run = engine.start(flow)
    engine.publish_topic("t", "x")
    clock.advance(1)
    engine.run_until_idle()
    engine.publish_topic("t", 3)
    engine.run_until_idle()
    assert run.result() == ["CodecError", 3]


def test_a_topic_is_a_way_of_first_of_and_a_loser_is_taken_by_the_next_wait(
    engine: Engine, clock: VirtualClock
) -> None:
    @workflow("w")
    def flow(wf: Context) -> list[Any]:
        ways = wf.topic("a/b", str), wf.event("e", int), wf.topic("c", int), wf.timer(HOUR)
        return [[one.index, one.value] for one in [wf.first_of(f"first/{n}", *ways) for n in range(4)]]

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert "waits for event 'e' or a message of topic 'a/b' or a message of topic 'c'" in run.explain()
    engine.publish_topic("c", 1)
    clock.advance(1)
    run.publish("e", 2)
    clock.advance(1)
    engine.publish_topic("a/b", "three")
    engine.run_until_idle(advance=True, until=2 * HOUR)
    assert run.result() == [[2, 1], [1, 2], [0, "three"], [3, None]]


def test_branches_that_wait_for_one_topic_take_a_message_each(engine: Engine, clock: VirtualClock) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> list[str]:
        found = await wf.gather(*[wf.wait_for_topic(f"t/{n}", "t", str) for n in range(3)])
        return sorted(found)

    engine.register(flow)
    run = engine.start(flow)
    for text in ("a", "b", "c"):
        engine.run_until_idle()
        clock.advance(1)
        engine.publish_topic("t", text)
    engine.run_until_idle()
    assert run.result() == ["a", "b", "c"]


def test_a_run_that_begins_anew_goes_on_behind_what_it_took(engine: Engine, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context, seen: list[str]) -> list[str]:
        found = wf.wait_for_topic("t", "t", str)
        if len(seen) == 3:
            return [*seen, found]
        return wf.continue_as_new([*seen, found])

    engine.register(flow)
    run = engine.start(flow, [])
    for number, text in enumerate(("a", "b", "c", "d")):
        engine.publish_topic("t", text, id=text)
        clock.advance(number % 2)  # two of them at the same time
        if number % 3 == 0:
            engine.run_until_idle()
    engine.run_until_idle()
    assert run.result() == ["a", "b", "c", "d"]


def test_a_message_of_a_callers_transaction_is_published_with_it(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "runs.db"
    with Engine(f"sqlite:///{path}", clock=clock) as engine:
        engine.register(reader)
        run = engine.start(reader, 1)
        engine.run_until_idle()
        connection = sqlite3.connect(path, isolation_level=None)
        for end in ("ROLLBACK", "COMMIT"):
            connection.execute("BEGIN IMMEDIATE")
            engine.publish_topic("rates", end, tx=connection)
            connection.execute(end)
            engine.run_until_idle()
            assert run.status() == ("waiting" if end == "ROLLBACK" else "completed")
        connection.close()
        assert run.result() == ["COMMIT"]


def test_wrong_uses_are_refused(engine: Engine) -> None:
    for arguments, text in (
        ({"name": ""}, "name the topic"),
        ({"name": "x" * 401}, "has 401 bytes"),
        ({"name": "t", "id": ""}, "id=''"),
        ({"name": "t", "keep": timedelta(0)}, "keep=datetime.timedelta"),
        ({"name": "t", "keep": 5}, "keep=5"),
    ):
        with pytest.raises(StepflowError, match=text):
            engine.publish_topic(**arguments)  # type: ignore[arg-type]
    assert engine.runs(flow="stepflow.topic") == []


def wrong_name(wf: Context) -> Any:
    return wf.wait_for_topic("t", "", int)


def wrong_since(wf: Context) -> Any:
    return wf.wait_for_topic("t", "t", int, since=datetime(2026, 1, 1))  # noqa: DTZ001


def wrong_way(wf: Context) -> Any:
    return wf.first_of("f", wf.topic("t", int), wf.topic("t", str))


@pytest.mark.parametrize(
    ("fn", "text"),
    [(wrong_name, "name the topic"), (wrong_since, "aware datetime"), (wrong_way, "is given twice")],
    ids=["name", "since", "way"],
)
def test_a_wrong_wait_blocks_the_run(fn: Any, text: str, store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        flow = workflow("w")(fn)
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert text in str(run.info().blocked)
