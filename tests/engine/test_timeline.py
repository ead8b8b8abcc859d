"""The timeline of a run: revisions and journalled calls in the order of time, with what passed between them, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    NotFound,
    Page,
    RetryPolicy,
    StepflowError,
    TimelineEntry,
    named,
    workflow,
)
from stepflow.drivers.port.journal import JournalQuery
from stepflow.engine.store_reader import StoreReader
from stepflow.testing import VirtualClock

SECOND = timedelta(seconds=1)
order_flow = named("order.v1").do("a", lambda: took(1)).do("b", lambda: took(1)).compile()
failing: list[str] = []
running: list[VirtualClock] = []  # the clock that the calls move on


@pytest.fixture(autouse=True)
def moved(clock: VirtualClock) -> Iterator[None]:
    running.append(clock)
    failing.clear()
    yield
    running.clear()


def took(seconds: float) -> None:
    """Let so much time pass."""
    running[-1].advance(seconds)


def reserve() -> str:
    took(2)
    return "reserved"


def pay() -> int:
    took(3)
    if failing:
        raise ConnectionError(failing.pop())
    return 100


def refuse() -> None:
    took(1)
    raise ValueError("<no>")


PATIENT = RetryPolicy(max_attempts=3, delay=60, factor=1.0, jitter=0)


@workflow("shop.v1")
def shop(wf: Context, number: int) -> int:
    wf.execute("reserve", reserve)
    paid: int = wf.execute("pay", pay, retry=PATIENT)
    wf.sleep("cool-off", 3600)
    try:
        wf.execute("refuse", refuse)
    except ValueError:
        wf.execute("undo", reserve)
    wf.wait_for_event("approval", "approved", str)
    return paid


def told(entries: Page[TimelineEntry]) -> list[tuple[Any, ...]]:
    """Entries, the first one first: at, after, where, attempt, text."""
    found, start = [], entries[-1].at
    for one in reversed(entries):
        at = None if one.at is None or start is None else (one.at - start) / SECOND
        after = None if one.after is None else one.after / SECOND
        found.append((at, after, one.kind, one.where, one.attempt, one.text))
    return found


def whole(run: Any, limit: int) -> list[TimelineEntry]:
    """All entries by pages of so many, newest first."""
    page = run.timeline(limit)
    found = list(page)
    while page.next is not None:
        assert len(page) == limit
        page = run.timeline(limit, cursor=page.next)
        found += page
    return found


def test_revisions_and_calls_in_the_order_of_time_with_what_passed_between_them(engine: Engine) -> None:
    failing.append("no bank")
    engine.register(shop)
    run = engine.start(shop, 1, id="a")
    engine.run_until_idle(advance=True)
    took(10)
    run.publish("approved", "Ada")
    engine.run_until_idle()
    found = run.timeline()
    assert told(found) == [
        (0, None, "revision", "shop.v1", 1, ""),
        (2, 2, "step", "reserve", 1, '"reserved"'),
        (5, 3, "revision", "step:pay", 2, "attempt 1 failed: ConnectionError: no bank"),
        (68, 63, "step", "pay", 2, "100"),  # behind the pause between the attempts
        (68, 0, "sleep", "cool-off", 1, "until 2000-01-01T01:01:08Z"),
        (68, 0, "revision", "sleep:cool-off", 1, ""),
        (3669, 1, "step", "refuse", 1, "ValueError: <no>"),  # behind the end of the sleep
        (3671, 2, "step", "undo", 1, '"reserved"'),
        (3671, 0, "revision", "event:approval", 1, "waits for approved"),
        (3681, 10, "event", "approval", 1, '"Ada"'),
        (3681, 0, "revision", "event:approval", 1, ""),  # it waits no more
        (3681, 0, "revision", "", 1, ""),
    ]
    assert [one.status for one in found if one.status] == ["completed"]
    assert [one.where for one in found if one.failed] == ["refuse", "step:pay"]
    assert {one.name for one in found if one.kind == "step"} == {"reserve", "pay", "refuse"}
    assert found.next is None


def test_recorded_times_are_told_as_times(engine: Engine) -> None:
    @workflow("timed")
    def timed(wf: Context) -> None:
        wf.now("begin")
        wf.first_of("either", wf.event("go", str), wf.timer(60))

    engine.register(timed)
    run = engine.start(timed, id="t")
    engine.run_until_idle()
    found = {entry.where: entry.text for entry in run.timeline() if entry.kind != "revision"}
    assert found == {"begin": "2000-01-01T00:00:00Z", "either": "-, 2000-01-01T00:01:00Z"}


def test_a_call_that_waits_for_its_next_attempt_tells_when_that_is(engine: Engine) -> None:
    failing.extend(("third", "second", "first"))
    engine.register(shop)
    run = engine.start(shop, 1, id="a")
    engine.run_until_idle()
    (call,) = [one for one in run.timeline() if one.kind == "attempt"]
    assert call.text == "ConnectionError: first; next try at 2000-01-01T00:01:05Z"
    assert (call.where, call.attempt) == ("pay", 1)
    engine.run_until_idle(advance=True)
    entries = run.timeline()
    (call,) = [one for one in entries if one.where == "pay"]
    assert (call.attempt, call.failed, call.text) == (3, True, "ConnectionError: third")
    assert [one.attempt for one in reversed(entries) if one.where == "step:pay"] == [2, 3, 1]


def test_a_wait_that_a_cancel_ended_has_no_error_of_its_own(engine: Engine) -> None:
    engine.register(shop)
    run = engine.start(shop, 1, id="a")
    engine.run_until_idle(advance=True)
    run.cancel()
    engine.run_until_idle()
    (call,) = [one for one in run.timeline() if one.where == "approval"]
    assert (call.kind, call.failed, call.text) == ("cancelled", False, "")


gates: list[asyncio.Event] = []


async def slow() -> str:
    if failing:
        raise ConnectionError(failing.pop())
    await gates[-1].wait()
    took(1)
    return "at last"


async def quick(last: bool) -> None:
    took(1)
    if last:
        gates[-1].set()


@workflow("side.v1")
async def side(wf: AsyncContext, calls: int) -> int:
    gates.append(asyncio.Event())

    async def others() -> None:
        for number in range(calls):
            await wf.execute(f"quick-{number}", quick, number == calls - 1)

    await wf.gather(wf.execute("slow", slow, retry=RetryPolicy(max_attempts=2, delay=0.0)), others())
    await wf.wait_for_event("go", "go", str)
    return calls


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
def test_pages_have_each_record_once_also_where_a_call_ended_long_after_later_ones(engine: Engine, limit: int) -> None:
    failing.append("once")
    engine.register(side)
    run = engine.start(side, 5, id="a")
    engine.run_until_idle()
    took(60)
    run.publish("go", "now")
    engine.run_until_idle()
    found, entries = whole(run, limit), run.timeline()
    revs, keys = [one.rev for one in run.history()], [row.key for row in run.recording().rows]
    assert keys[0] == "slow"
    for some in (found, entries):
        assert sorted(one.rev for one in some if one.rev) == revs
        assert sorted(one.where for one in some if one.seq) == sorted(keys)
    assert [one.at for one in entries] == sorted((one.at for one in entries if one.at), reverse=True)
    order = [one.where for one in reversed(entries) if one.seq]
    assert order.index("slow") > order.index("quick-3")
    assert next(one for one in entries if one.where == "go").after == timedelta(minutes=1)
    assert entries[0].status == found[0].status == "completed"


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_a_chain_has_only_revisions(engine: Engine, limit: int) -> None:
    engine.register(order_flow)
    run = engine.start(order_flow, None, id="a")
    engine.run_until_idle()
    history = run.history()
    found = whole(run, limit)
    assert [one.rev for one in found] == [one.rev for one in reversed(history)]
    assert [one.position for one in found] == [one.position for one in reversed(history)]


@workflow("long.v1")
def long(wf: Context, calls: int) -> int:
    for number in range(calls):
        wf.random_uint64(f"n{number}")
    return calls


def test_a_page_of_a_long_journal_reads_no_more_than_it_shows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.register(long)
    run = engine.start(long, 1000, id="a")
    engine.run_until_idle()
    sizes: list[int] = []
    read = StoreReader.read

    async def counted(self: StoreReader, query: Any) -> Any:
        found = await read(self, query)
        sizes.extend(map(len, found) if isinstance(query, JournalQuery) else [len(found)])
        return found

    monkeypatch.setattr(StoreReader, "read", counted)
    assert len(run.timeline(10)) == 10
    assert sizes == [2, 11]


def test_a_clock_that_is_set_back_hides_no_revision(engine: Engine, clock: VirtualClock) -> None:
    def nothing() -> None:
        pass

    back = named("back.v1").do("a", nothing).do("b", lambda: clock.jump(-3600)).do("c", nothing).do("d", nothing)
    flow = back.do("e", nothing).compile()
    engine.register(flow)
    run = engine.start(flow, id="a")
    engine.run_until_idle()
    for limit in (1, 2, 3, 4, 5, 6, 100):
        entries = whole(run, limit)
        assert [one.rev for one in entries] == sorted((one.rev for one in entries if one.rev), reverse=True)
        assert len(entries) == 6


def test_what_is_no_page_is_refused(engine: Engine) -> None:
    run = engine.start(shop, 1, id="a")
    for wrong in ("", "x", "1", "1-", "-1", "1-x", "²-1", "1-" + "9" * 19, "9" * 5000 + "-1", "٣-٣", 7, b"1-1"):
        with pytest.raises(StepflowError, match="give the `next` of a page of timeline"):
            run.timeline(cursor=wrong)
    for limit in (0, -1):
        with pytest.raises(StepflowError):
            run.timeline(limit)
    assert run.timeline(cursor="1-1") == []
    with pytest.raises(NotFound):
        engine.get("none").timeline()


@workflow("instant.v1")
def instant(wf: Context) -> int:
    for number in (1, 2):
        wf.execute(f"before-{number}", ready)
        wf.wait_for_event(f"wait-{number}", f"told-{number}", int)
        wf.sleep(f"nap-{number}", 0.0)
    return wf.execute("last", ready)


def ready() -> int:
    return 1


@pytest.mark.parametrize("limit", [100, 3, 1])
def test_records_of_one_time_are_in_the_order_of_their_causes(engine: Engine, limit: int) -> None:
    engine.register(instant)
    run = engine.start(instant, id="a")
    for number in (1, 2):
        engine.run_until_idle()
        run.publish(f"told-{number}", 7)
    engine.run_until_idle()
    assert run.status() == "completed"
    found = [one.where if one.rev is None else f"rev {one.where}" for one in reversed(whole(run, limit))]
    calls = [one for one in found if not one.startswith("rev")]
    assert calls == ["before-1", "wait-1", "nap-1", "before-2", "wait-2", "nap-2", "last"]
    for number in (1, 2):
        first = found.index(f"rev event:wait-{number}")
        assert found.index(f"before-{number}") < first < found.index(f"wait-{number}"), found
    revs = [one.rev for one in whole(run, limit) if one.rev]
    assert revs == sorted(revs, reverse=True)
    assert found[0] == "rev instant.v1"
    assert found[-1].startswith("rev")


def test_what_a_person_did_is_told_with_its_revision(engine: Engine) -> None:
    flow = named("fails.v1").do("a", ready).do("b", broken).compile()
    engine.register(flow)
    run = engine.start(flow, id="a")
    engine.run_until_idle()
    first = run.history()[0].rev
    for act in (run.redrive, lambda: run.rewind(rev=first)):
        act()
        engine.run_until_idle()
    copy = run.fork(rev=first, id="copy")
    engine.run_until_idle()
    texts = [one.text.partition(" [")[0] for one in reversed(run.timeline())]
    assert texts[2:] == [
        "ValueError: no",
        "redriven",
        "ValueError: no",
        f"rewound to revision {first}",
        "",
        "ValueError: no",
    ]
    assert copy.timeline()[-1].text == f"forked from run 'a' at revision {first}"
    again = copy.fork(rev=copy.history()[0].rev, id="again")
    assert [one.text for one in again.timeline()] == [f"forked from run 'copy' at revision {copy.history()[0].rev}"]


def broken() -> None:
    raise ValueError("no")
