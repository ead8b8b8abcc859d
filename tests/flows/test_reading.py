"""Reading States: by id and revision, by labels, many at once; and watching them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from stepflow import (
    AsyncEngine,
    GetStateByID,
    GetStateByLabels,
    GetStates,
    NotFound,
    StateCtx,
    StepflowError,
    commit,
    park,
)
from stepflow.testing import VirtualClock
from tests.flows.tracker import on_loop

FOO, BAR = {"foo": "fooVal"}, {"bar": "barVal"}


def same(a: StateCtx, b: StateCtx) -> bool:
    return (a.current, a.committed, a.transitions) == (b.current, b.committed, b.transitions)


def three(engine, labels):
    """The same State committed three times, with a copy of each."""
    ctx, copies = StateCtx("aTID", dict(labels)), []
    for v in "123":
        ctx.annotations["v"] = v
        engine.do(commit(park(ctx)))
        copies.append(ctx.copy())
    return copies


def many(engine):
    first = StateCtx("aTID", dict(FOO))
    engine.do(commit(park(first)))
    one = first.committed
    first.labels.update(BAR)
    engine.do(commit(park(first)))
    other = StateCtx("anotherTID", dict(BAR))
    engine.do(commit(park(other)))
    return one, first.committed, other.committed


def test_one_by_id_and_rev(engine):
    first, _second, last = three(engine, {})
    for rev, expected in ((first.committed.rev, first), (0, last)):
        ctx = StateCtx("")
        engine.do(GetStateByID(ctx, "aTID", rev))
        assert same(ctx, expected)
        assert ctx.current == ctx.committed
        assert ctx.committed.committed_at > 0


def test_the_newest_by_labels(engine):
    last = three(engine, FOO)[-1]
    ctx = StateCtx("")
    engine.do(GetStateByLabels(ctx, FOO))
    assert same(ctx, last)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (lambda ctx: GetStateByID(ctx, "notExist"), "state not found; id=notExist"),
        (lambda ctx: GetStateByID(ctx, "notExist", 7), "state not found; id=notExist rev=7"),
        (lambda ctx: GetStateByLabels(ctx, FOO), "state not found; labels="),
    ],
)
def test_not_found(engine, command, error):
    with pytest.raises(NotFound, match=error):
        engine.do(command(StateCtx("")))


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (lambda ctx: GetStateByID(ctx, ""), "id is empty"),
        (lambda ctx: GetStateByID(ctx, "x", -1), "rev must be >= 0"),
        (lambda ctx: GetStateByLabels(ctx, {}), "labels are empty"),
        (lambda ctx: GetStates(since_rev=-2), "since_rev=-2"),
        (lambda ctx: GetStates(since_rev=99), "since_rev=99: the newest revision of this store is 0"),
        (lambda ctx: GetStates(limit=0), "limit=0"),
        (lambda ctx: GetStates(labels=({"a": 1},)), "labels"),
    ],
)
def test_bad_questions(engine, command, error):
    with pytest.raises(StepflowError, match=error):
        engine.do(command(StateCtx("")))


def test_many_by_labels(engine):
    one, two, other = many(engine)
    found = engine.states(FOO)
    assert (found.states, found.more) == ((one, two), False)
    assert found.states[1].labels == {**FOO, **BAR}
    assert engine.states(FOO, BAR).states == (one, two, other)
    assert engine.states({**FOO, **BAR}).states == (two,)
    assert engine.states({}).states == (one, two, other)


def test_many_since_a_revision(engine):
    revs = [ctx.committed.rev for ctx in three(engine, FOO)]
    assert [s.rev for s in engine.states(FOO, since_rev=-1).states] == revs[-1:]
    for i, since in enumerate([0, *revs]):
        found = engine.states(FOO, since_rev=since)
        assert ([s.rev for s in found.states], found.more) == (revs[i:], False)


def test_many_since_a_time(engine, clock):
    clock.advance(10)
    at = clock.datetime()
    three(engine, FOO)
    assert engine.states(since=at + timedelta(seconds=5)).states == ()
    assert len(engine.states(since=at).states) == 3
    assert len(engine.states(since=at - timedelta(seconds=1)).states) == 3


def test_only_the_newest_of_each(engine):
    one, other = StateCtx("aTID"), StateCtx("anotherTID")
    for _ in range(3):
        engine.do(commit(park(one)), commit(park(other)))
    found = engine.states(latest_only=True)
    assert (found.states, found.more) == ((one.committed, other.committed), False)


def test_pages(engine):
    for i in range(5):
        engine.do(commit(park(StateCtx(f"s{i}"))))
    found = engine.states(limit=3)
    assert ([s.id for s in found.states], found.more) == (["s0", "s1", "s2"], True)
    rest = engine.states(limit=3, since_rev=found.states[-1].rev)
    assert ([s.id for s in rest.states], rest.more) == (["s3", "s4"], False)


@pytest.mark.parametrize(("label", "count"), [(None, 450), ("three", 150), ("two", 225)])
def test_an_iterator_reads_to_the_newest_and_ends(engine, label, count):
    for i in range(450):
        labels = {"three": "x"} if i % 3 == 0 else {}
        engine.do(commit(park(StateCtx(f"s{i}", labels | ({"two": "x"} if i % 2 else {})))))
    found = list(engine.iterate(*([{label: "x"}] if label else [])))
    assert len(found) == count
    assert [s.rev for s in found] == sorted({s.rev for s in found})
    assert len(list(engine.iterate(since_rev=found[-1].rev))) == 450 - found[-1].rev


async def collected(engine, *labels, since=0, count):
    """The first `count` States of a watch, and that no more follow."""
    watch = engine.watch(*labels, since=since)
    found = [await watch.next(10) for _ in range(count)]
    assert await watch.next(0.2) is None
    assert all(s.committed_at > 0 for s in found)
    return found


@on_loop
async def test_watches(store):
    async with AsyncEngine(store) as engine:
        ctx = StateCtx("aTID", dict(FOO))
        await engine.do(commit(park(ctx)))
        one = ctx.committed
        ctx.labels.update(BAR)
        await engine.do(commit(park(ctx)))
        other = StateCtx("anotherTID", dict(BAR))
        await engine.do(commit(park(other)))
        all_three = [one, ctx.committed, other.committed]
        assert await collected(engine, FOO, count=2) == all_three[:2]
        assert await collected(engine, FOO, BAR, count=3) == all_three
        assert await collected(engine, since="latest", count=1) == all_three[-1:]
        assert await collected(engine, since=-1, count=1) == all_three[-1:]
        assert await collected(engine, since=one.rev, count=2) == all_three[1:]


@on_loop
async def test_watches_since_a_time(store):
    clock = VirtualClock()
    async with AsyncEngine(store, clock=clock) as engine:
        ctx = StateCtx("aTID")
        await engine.do(commit(park(ctx)))
        at = clock.datetime()
        assert await collected(engine, since=at - timedelta(seconds=1), count=1) == [ctx.committed]
        assert await collected(engine, since=at + timedelta(seconds=5), count=0) == []
        with pytest.raises(StepflowError, match="since_rev=7"):
            await engine.watch(since=7).next(1)


@on_loop
async def test_a_wait_that_was_cancelled_loses_nothing(store):
    async with AsyncEngine(store) as engine:
        watch = engine.watch()
        for i in range(20):
            waiting = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0)
            ctx = StateCtx(f"s{i}")
            doing = asyncio.ensure_future(engine.do(commit(park(ctx))))
            waiting.cancel()
            await doing
            await asyncio.wait([waiting])
        assert [(await watch.next(10)).id for _ in range(20)] == [f"s{i}" for i in range(20)]
