"""Data of a State: stored, loaded, changed; part of the commit it stands in."""

from __future__ import annotations

import json

import pytest

from stepflow import (
    AsyncEngine,
    Execute,
    GetData,
    Parked,
    RevMismatch,
    StateCtx,
    StepflowError,
    StoreData,
    commit,
    flow,
    park,
    transit,
)
from stepflow.engine.checksum import xxhash64
from stepflow.model.data import Data
from tests.flows.tracker import on_loop

SUM = "checksum/xxhash64"


def test_checksums():
    assert (xxhash64(b"foo"), xxhash64(b"50")) == ("3728699739546630719", "11329650324634456925")


def test_store_again_only_what_changed(engine):
    ctx = StateCtx("s")
    ctx.set_data("bEmpty", b"")
    ctx.set_data("bNotEmpty", "aContent")
    for alias in ctx.datas:
        engine.do(StoreData(ctx, alias))
        data = ctx.data(alias)
        assert data.rev > 0
        assert data.annotations[SUM] == xxhash64(data.blob)
        assert ctx.annotations[f"flowstate.data.{alias}"] == str(data.rev)
        before = data.rev
        engine.do(StoreData(ctx, alias))
        assert ctx.data(alias).rev == before
        ctx.set_data(alias, "aContentUpdated")
        engine.do(StoreData(ctx, alias))
        assert ctx.data(alias).rev > before


def test_dirty():
    assert Data(b"x").dirty("1")
    assert not Data(b"x", 3).dirty("1")
    assert not Data(b"x", 3, {SUM: "1"}).dirty("1")
    assert Data(b"x", 3, {SUM: "2"}).dirty("1")
    assert Data(b"x", 3, {SUM: "no number"}).dirty("1")


def test_get_loads_what_is_not_there_and_nothing_else(engine):
    ctx = StateCtx("s")
    ctx.set_data("anAlias", "aContent")
    engine.do(StoreData(ctx, "anAlias"))
    rev = ctx.data("anAlias").rev
    ctx.datas.clear()
    engine.do(GetData(ctx, "anAlias"))
    assert (ctx.data("anAlias").rev, ctx.data("anAlias").text()) == (rev, "aContent")
    ctx.datas["anAlias"] = Data(b"", rev + 1)
    engine.do(GetData(ctx, "anAlias"))
    assert (ctx.data("anAlias").rev, ctx.data("anAlias").blob) == (rev, b"aContent")
    ctx.data("anAlias").blob = b""
    engine.do(GetData(ctx, "anAlias"))
    assert ctx.data("anAlias").blob == b""


@pytest.mark.parametrize("commits", [False, True], ids=["memory", "commit"])
@on_loop
async def test_store_in_one_flow_and_get_in_the_next(store, track, commits):
    seen = []

    def together(*commands):
        return [commit(*commands)] if commits else commands

    @flow("store")
    async def put(ctx, engine):
        track(ctx)
        ctx.set_data("aDataKey", "foo")
        await engine.do(*together(StoreData(ctx, "aDataKey"), transit(ctx, "get")))
        return Execute(ctx)

    @flow("get")
    def get(ctx, engine):
        track(ctx)
        ctx.datas.clear()
        engine.do(*together(GetData(ctx, "aDataKey"), transit(ctx, "end")))
        return Execute(ctx)

    @flow("end")
    def end(ctx):
        track(ctx)
        seen.append(ctx.data("aDataKey"))
        return park(ctx)

    async with AsyncEngine(store) as engine:
        engine.register(put, get, end)
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "store"))
        assert await engine.execute(ctx) == Parked()
        assert track.visited == ["store", "get", "end"]
        assert seen == [Data(b"foo", 1, {SUM: "3728699739546630719"})]
        if commits:
            stored = await engine.get_state("aTID", 1)
            assert stored.annotations == {"flowstate.data.aDataKey": "1"}


@on_loop
async def test_a_flow_that_is_configured_by_data(store, track):
    @flow("foo")
    def foo(ctx, engine):
        track(ctx)
        engine.do(GetData(ctx, "config"), GetData(ctx, "data"))
        factor = json.loads(ctx.data("config").text())["foo"]["a"]
        ctx.set_data("data", str(factor * int(ctx.data("data").text())))
        engine.do(StoreData(ctx, "data"), transit(ctx, "bar"))
        return Execute(ctx)

    @flow("bar")
    def bar(ctx, engine):
        track(ctx)
        divisor = json.loads(ctx.data("config").text())["bar"]["b"]
        ctx.set_data("data", str(int(ctx.data("data").text()) // divisor))
        engine.do(StoreData(ctx, "data"))
        return transit(ctx, "end")

    @flow("end")
    def end(ctx):
        track(ctx)
        return park(ctx)

    async with AsyncEngine(store) as engine:
        engine.register(foo, bar, end)
        ctx = StateCtx("aTID")
        ctx.set_data("config", json.dumps({"foo": {"a": 10}, "bar": {"b": 20}}))
        ctx.set_data("data", "100")
        await engine.do(StoreData(ctx, "config"), StoreData(ctx, "data"), transit(ctx, "foo"))
        assert [d.rev for d in ctx.datas.values()] == [1, 2]
        await engine.execute(ctx)
        assert track.visited == ["foo", "bar", "end"]
        assert ctx.data("data") == Data(b"50", 4, {SUM: "11329650324634456925"})


def test_data_of_a_commit_that_failed_was_never_stored(engine):
    ctx = StateCtx("s")
    engine.do(commit(park(ctx)))
    stale = ctx.copy()
    engine.do(commit(park(ctx)))
    stale.set_data("d", "x")
    with pytest.raises(RevMismatch):
        engine.do(commit(StoreData(stale, "d"), park(stale)))
    assert stale.data("d") == Data(b"x")
    assert stale.annotations == {}
    ctx.set_data("d", "y")
    engine.do(commit(StoreData(ctx, "d"), park(ctx)))
    assert ctx.data("d").rev == 1


def test_binary_data_comes_back_byte_for_byte(engine):
    blob = bytes(range(256))
    ctx = StateCtx("s")
    ctx.set_data("d", blob, binary=True)
    engine.do(commit(StoreData(ctx, "d"), park(ctx)))
    again = engine.get_state("s")
    engine.do(GetData(again, "d"))
    assert (again.data("d").blob, again.data("d").binary) == (blob, True)


@pytest.mark.parametrize(
    ("annotations", "alias", "error"),
    [
        ({}, "", "alias is empty"),
        ({}, "x", 'annotation "flowstate.data.x" is not set'),
        ({"flowstate.data.x": "ten"}, "x", 'annotation "flowstate.data.x" contains invalid data revision'),
        ({"flowstate.data.x": "-1"}, "x", 'annotation "flowstate.data.x" contains invalid data revision'),
        ({"flowstate.data.x": "77"}, "x", "data not found: revision 77"),
    ],
)
def test_get_says_what_is_wrong(engine, annotations, alias, error):
    with pytest.raises(StepflowError, match=error):
        engine.do(GetData(StateCtx("s", {}, annotations), alias))


def test_store_says_what_is_wrong(engine):
    ctx = StateCtx("s")
    with pytest.raises(StepflowError, match="data 'x' of 's' is not loaded"):
        engine.do(StoreData(ctx, "x"))
    ctx.datas["x"] = Data(b"", -1)
    with pytest.raises(StepflowError, match="data rev is negative"):
        engine.do(StoreData(ctx, "x"))
    with pytest.raises(StepflowError, match="alias is empty"):
        ctx.set_data("", b"")
