"""A pause while calls go on side by side: they end and are recorded, none begins, and none is made again."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, Ok, RetryPolicy, RunCancelled, RunFailed, Status, workflow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from tests.engine.test_time_limits import until

MADE: Counter[str] = Counter()
FIRST: list[str] = []  # the calls that go on side by side when the run is paused
PAUSES: list[str] = []  # the one of them that pauses the run; it ends first
FAILS: list[str] = []
OTHER: list[Engine] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    for noted in (MADE, FIRST, PAUSES, FAILS):
        noted.clear()


@pytest.fixture
def engine(store: Driver) -> Iterator[Engine]:
    with Engine(store) as engine, Engine(store) as other:
        OTHER[:] = [other]
        yield engine


def recorded() -> set[str]:
    """The keys of the calls that are recorded as ended."""
    return {row.key for row in OTHER[0].get("r").recording().rows if not row.kind.startswith("intent")}


def may_end(key: str) -> bool:
    """Whether a call of `FIRST` may end now; the first one of them pauses the run."""
    if key in PAUSES:
        if not MADE.keys() >= {*FIRST}:
            return False
        OTHER[0].get("r").pause()
        return True
    return key not in FIRST or {*PAUSES} <= recorded()


def ended(key: str) -> str:
    if key in FAILS:
        raise ValueError(key)
    return key


def call(key: str) -> str:
    MADE[key] += 1
    until(lambda: may_end(key))
    return ended(key)


async def acall(key: str) -> str:
    MADE[key] += 1
    await asyncio.to_thread(until, lambda: may_end(key))
    return ended(key)


Code = Callable[[AsyncContext], Coroutine[Any, Any, Any]]


def keys(count: int, key: str = "m") -> list[str]:
    return [f"{key}[{n}]" for n in range(count)]


def shown(found: Any) -> Any:
    """What a map or a gather gave, as a list of texts."""
    return [(one.value if one.ok else str(one.error)) if hasattr(one, "ok") else one for one in found]


@workflow("sync map")
def sync_map(wf: Context) -> list[str]:
    return shown(wf.map("m", call, keys(5), width=3))


@workflow("async map")
async def async_map(wf: AsyncContext) -> list[str]:
    return shown(await wf.map("m", acall, keys(5), width=3))


@workflow("map of sync calls")
async def map_of_sync(wf: AsyncContext) -> list[str]:
    return shown(await wf.map("m", call, keys(5), width=3))


async def one_by_one(wf: AsyncContext, *names: str) -> str:
    for key in names:
        try:
            await wf.execute(key, acall, key)
        except ValueError:
            continue
    return names[-1]


async def guarded(wf: AsyncContext, key: str, fn: Any) -> str:
    try:
        return await wf.execute(key, fn, key, at_most_once=True)
    except ValueError as error:
        return str(error)


@workflow("gather")
async def gather(wf: AsyncContext) -> list[str]:
    return list(await wf.gather(one_by_one(wf, "a", "later"), guarded(wf, "b", call), guarded(wf, "c", acall)))


@workflow("nested gathers")
async def nested(wf: AsyncContext) -> list[str]:
    inner = wf.gather(guarded(wf, "b", acall), one_by_one(wf, "c", "next"))
    return [str(one) for one in await wf.gather(one_by_one(wf, "a"), inner, wf.sleep("s", 0.001))]


@workflow("map in a gather")
async def map_in_gather(wf: AsyncContext) -> list[str]:
    found, *rest = await wf.gather(wf.map("m", acall, keys(5), width=3), guarded(wf, "a", acall))
    return [*shown(found), *rest]


STYLES = [
    (sync_map, keys(3), keys(5)),
    (async_map, keys(3), keys(5)),
    (map_of_sync, keys(3), keys(5)),
    (gather, ["a", "b", "c"], ["later", "b", "c"]),
    (nested, ["a", "b", "c"], ["a", "('b', 'next')", "None"]),
    (map_in_gather, [*keys(3), "a"], [*keys(5), "a"]),
]


@pytest.mark.parametrize("fails", [False, True], ids=["", "one fails"])
@pytest.mark.parametrize(
    ("style", "first", "result", "pauses"),
    [pytest.param(*one, key, id=f"{one[0].name}: {key}") for one in STYLES for key in one[1]],
)
def test_each_call_is_made_once_and_none_begins(
    style: Any, first: list[str], result: list[str], pauses: str, fails: bool, engine: Engine
) -> None:
    FIRST[:], PAUSES[:], FAILS[:] = first, [pauses], [first[first.index(pauses) - 1]] if fails else []
    engine.register(style)
    run = engine.start(style, id="r")
    with engine.worker():
        until(lambda: run.status() is Status.PAUSED)
        assert Counter(first) == MADE
        assert {*first} <= recorded()
        run.resume()
        assert run.result(timeout=60) == result
    assert set(MADE.values()) == {1}
    assert run.info().crashes == 0


async def waits(wf: AsyncContext) -> None:
    await wf.wait_for_event("next", "e", int)


async def sleeps(wf: AsyncContext) -> None:
    await wf.sleep("next", 0.001)


async def labels(wf: AsyncContext) -> None:
    await wf.set_labels("next", {"a": "b"})


async def starts_a_child(wf: AsyncContext) -> None:
    await wf.start_child("next", child)


async def draws(wf: AsyncContext) -> None:
    await wf.random_uuid7("next")


async def calls_at_most_once(wf: AsyncContext) -> None:
    await wf.execute("next", acall, "next", at_most_once=True)


async def gathers(wf: AsyncContext) -> None:
    await wf.gather(wf.execute("next", acall, "next"), wf.sleep("t", 0.001))


async def maps(wf: AsyncContext) -> None:
    await wf.map("next", acall, ["next"])


async def waits_for_the_first(wf: AsyncContext) -> None:
    await wf.first_of("next", wf.event("e", int), wf.timer(timedelta(hours=1)))


@workflow("child")
def child(wf: Context) -> None:
    wf.now("n")


KINDS = [waits, sleeps, labels, starts_a_child, draws, calls_at_most_once, gathers, maps, waits_for_the_first]


@pytest.mark.parametrize("next_call", KINDS, ids=lambda one: one.__name__)
def test_no_call_of_any_kind_begins_in_another_branch(next_call: Code, engine: Engine) -> None:
    async def branch(wf: AsyncContext, key: str) -> None:
        await wf.execute(key, acall, key)
        await next_call(wf)

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        await wf.gather(wf.execute("a", acall, "a"), branch(wf, "b"), wf.execute("c", acall, "c"))

    FIRST[:], PAUSES[:] = ["a", "b", "c"], ["a"]
    engine.register(flow, child)
    run = engine.start(flow, id="r")
    with engine.worker():
        until(lambda: run.status() is Status.PAUSED)
        assert {row.key for row in run.recording().rows} == {"a", "b", "c"}
        assert [one.id for one in engine.runs()] == ["r"]
        assert run.info().labels == {}
        run.publish("e", 1)
        run.resume()
        run.result(timeout=60)
    assert set(MADE.values()) == {1}


@pytest.mark.parametrize("style", [async_map, sync_map], ids=["async", "sync"])
def test_a_map_goes_on_if_the_run_is_resumed_while_calls_run(
    style: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = threading.Event()

    def may_end(key: str) -> bool:
        if key == "m[0]":
            OTHER[0].get("r").pause()
        return key != "m[1]" or resumed.is_set() if key != "m[2]" else MADE["m[3]"] > 0

    monkeypatch.setitem(globals(), "may_end", may_end)
    engine.register(style)
    run = engine.start(style, id="r")
    with engine.worker():
        until(lambda: "m[0]" in recorded() and run.info().paused)
        assert not MADE["m[3]"]
        run.resume()
        resumed.set()
        assert run.result(timeout=60) == keys(5)
    assert set(MADE.values()) == {1}


def test_a_gather_is_claimed_again_at_once_if_the_run_is_resumed_while_calls_run(engine: Engine) -> None:
    FIRST[:], PAUSES[:] = ["a", "b", "c"], ["a"]
    resumed = threading.Event()

    async def waits_for_the_resume(key: str) -> str:
        MADE[key] += 1
        await asyncio.to_thread(resumed.wait, 60)
        return key

    @workflow("w")
    async def flow(wf: AsyncContext) -> list[str]:
        return list(
            await wf.gather(
                one_by_one(wf, "a", "later"),
                wf.execute("b", waits_for_the_resume, "b", at_most_once=True),
                wf.execute("c", waits_for_the_resume, "c"),
            )
        )

    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker():
        until(lambda: "a" in recorded())
        run.resume()
        resumed.set()
        assert run.result(timeout=60) == ["later", "b", "c"]
    assert set(MADE.values()) == {1}


@pytest.mark.parametrize("where", ["map", "gather", "gather that a branch has left"])
def test_a_cancel_after_the_pause_ends_the_calls_that_run(where: str, engine: Engine) -> None:
    async def step(key: str) -> None:
        MADE[key] += 1
        if key == "m[0]":
            await asyncio.to_thread(until, lambda: len(MADE) == 3)
            OTHER[0].get("r").pause()
            return
        await asyncio.Event().wait()

    async def first(wf: AsyncContext) -> None:
        await wf.execute("m[0]", step, "m[0]")
        if where != "gather":
            await wf.execute("later", step, "later")

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        try:
            if where == "map":
                await wf.map("m", step, keys(4), width=3)
            else:
                await wf.gather(first(wf), *[wf.execute(key, step, key) for key in keys(3)[1:]])
        finally:
            await wf.execute("undo", acall, "undo")

    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker():
        until(lambda: "m[0]" in recorded())
        run.cancel()
        with pytest.raises(RunCancelled):
            run.result(timeout=60)
    assert {**dict.fromkeys(keys(3), 1), "undo": 1} == MADE


@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_a_failed_attempt_of_a_branch_counts_that_ends_with_the_pause(delay: float, engine: Engine) -> None:
    async def fails(key: str) -> int:
        MADE[key] += 1
        await asyncio.to_thread(until, lambda: "a" in recorded())
        raise OSError(key)

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        again = RetryPolicy(max_attempts=3, delay=delay, factor=1, jitter=0)
        await wf.gather(one_by_one(wf, "a", "later"), wf.execute("b", fails, "b", retry=again))

    FIRST[:], PAUSES[:] = ["a", "b"], ["a"]
    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker():
        until(lambda: run.status() is Status.PAUSED)
        assert MADE == {"a": 1, "b": 1}
        run.resume()
        with pytest.raises(RunFailed, match="OSError: b"):
            run.result(timeout=60)
    assert MADE == {"a": 1, "b": 3, "later": 1}


def test_a_transaction_beside_is_taken_back_and_made_again(tmp_path: Path) -> None:
    """The commit of a transaction meets the pause first: its writes are taken back, and the call beside it ends and is recorded."""
    path = tmp_path / "runs.db"
    noticed = threading.Event()

    def pays(connection: sqlite3.Connection, key: str) -> None:
        connection.execute("create table if not exists paid (key text)")
        connection.execute("insert into paid values (?)", (key,))

    def beside(key: str) -> str:
        MADE[key] += 1
        assert noticed.wait(60)
        return key

    @workflow("w")
    async def flow(wf: AsyncContext) -> list[Any]:
        return list(
            await wf.gather(
                wf.execute("b", beside, "b", at_most_once=True),
                one_by_one(wf, "a", "later"),
                wf.transaction("t", pays, "t"),
            )
        )

    with Engine(SqliteDriver(path)) as engine, Engine(SqliteDriver(path)) as other:
        OTHER[:] = [other]
        FIRST[:] = ["a"]
        PAUSES[:] = ["a"]
        engine.register(flow)
        run = engine.start(flow, id="r")
        with engine.worker():
            until(lambda: "a" in recorded())
            noticed.set()
            until(lambda: run.status() is Status.PAUSED)
            run.resume()
            assert run.result(timeout=60) == ["b", "later", None]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select key from paid").fetchall() == [("t",)]
    assert MADE == {"a": 1, "b": 1, "later": 1}


@workflow("all at once")
def shown_map(wf: Context) -> list[Any]:
    return [one.value for one in wf.map("m", call, keys(2)) if isinstance(one, Ok)]


def test_the_last_call_of_a_map_gives_up_the_claim(engine: Engine) -> None:
    FIRST[:], PAUSES[:] = keys(2), ["m[1]"]
    engine.register(shown_map)
    run = engine.start(shown_map, id="r")
    with engine.worker():
        until(lambda: run.status() is Status.PAUSED)
        assert recorded() == {*keys(2), "m"}
        run.resume()
        assert run.result(timeout=60) == keys(2)
    assert set(MADE.values()) == {1}
