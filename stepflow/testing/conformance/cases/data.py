"""Cases 19 to 23: data of a State is stored once, loaded where it is missing, and goes along from flow to flow."""

from __future__ import annotations

import json

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.states.api import AsyncVerbs
from stepflow.engine.states.checksum import xxhash64
from stepflow.engine.states.function_runner import Parked
from stepflow.model.commands import Command, Execute, GetData, StoreData, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.data import ALIAS_PREFIX, CHECKSUM, Data
from stepflow.model.function import flow
from stepflow.testing.conformance.cases.kit import Tracker, on_loop, open_engine, parking, refusal, together


async def _store_and_get(driver: Driver, *, commits: bool) -> None:
    track, seen = Tracker(), []

    @flow("store")
    async def put(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx)
        ctx.set_data("aDataKey", "foo")
        await engine.do(*together(commits, StoreData(ctx, "aDataKey"), transit(ctx, "get")))
        return Execute(ctx)

    @flow("get")
    def get(ctx: StateCtx, engine: BlockingVerbs) -> Command:
        track(ctx)
        ctx.datas.clear()
        engine.do(*together(commits, GetData(ctx, "aDataKey"), transit(ctx, "end")))
        return Execute(ctx)

    @flow("end")
    def end(ctx: StateCtx) -> Command:
        track(ctx)
        seen.append(ctx.data("aDataKey"))
        return park(ctx)

    async with open_engine(driver, put, get, end) as engine:
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "store"))
        assert await engine.execute(ctx) == Parked()
        if commits:
            first = (await engine.states()).states[0]
            assert first.annotations == {f"{ALIAS_PREFIX}aDataKey": "1"}
    assert track.visited == ["store", "get", "end"]
    assert seen == [Data(b"foo", 1, {CHECKSUM: "3728699739546630719"})]


class DataCases:
    """Data: its revisions, its checksum, its place in a commit."""

    @on_loop
    async def test_case_19_store_data(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("aTID")
            ctx.set_data("bEmpty", "")
            ctx.set_data("bNotEmpty", "aContent")
            for alias, data in ctx.datas.items():
                await engine.do(StoreData(ctx, alias))
                assert data.rev > 0
                assert data.annotations[CHECKSUM] == xxhash64(data.blob)
                assert ctx.annotations[ALIAS_PREFIX + alias] == str(data.rev)
                before = data.rev
                await engine.do(StoreData(ctx, alias))
                assert data.rev == before
                data.blob = b"aContentUpdated"
                await engine.do(StoreData(ctx, alias))
                assert data.rev > before
                assert ctx.annotations[ALIAS_PREFIX + alias] == str(data.rev)

    @on_loop
    async def test_case_20_get_data(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("aTID")
            ctx.set_data("anAlias", "aContent")
            await engine.do(StoreData(ctx, "anAlias"))
            rev = ctx.data("anAlias").rev
            ctx.datas.clear()
            await engine.do(GetData(ctx, "anAlias"))
            assert (ctx.data("anAlias").rev, ctx.data("anAlias").text()) == (rev, "aContent")
            ctx.datas["anAlias"] = Data(b"", rev + 1)
            await engine.do(GetData(ctx, "anAlias"))
            assert (ctx.data("anAlias").rev, ctx.data("anAlias").text()) == (rev, "aContent")
            ctx.data("anAlias").blob = b""
            await engine.do(GetData(ctx, "anAlias"))
            assert ctx.data("anAlias").blob == b""

    @on_loop
    async def test_case_21_data_store_get(self, driver: Driver) -> None:
        await _store_and_get(driver, commits=False)

    @on_loop
    async def test_case_22_data_store_get_with_commit(self, driver: Driver) -> None:
        await _store_and_get(driver, commits=True)

    @on_loop
    async def test_case_23_data_flow_config(self, driver: Driver) -> None:
        track = Tracker()

        @flow("foo")
        def foo(ctx: StateCtx, engine: BlockingVerbs) -> Command:
            track(ctx)
            engine.do(GetData(ctx, "config"), GetData(ctx, "data"))
            factor = json.loads(ctx.data("config").text())["foo"]["a"]
            ctx.set_data("data", str(factor * int(ctx.data("data").text())))
            engine.do(StoreData(ctx, "data"), transit(ctx, "bar"))
            return Execute(ctx)

        @flow("bar")
        def bar(ctx: StateCtx, engine: BlockingVerbs) -> Command:
            track(ctx)
            divisor = json.loads(ctx.data("config").text())["bar"]["b"]
            ctx.set_data("data", str(int(ctx.data("data").text()) // divisor))
            engine.do(StoreData(ctx, "data"))
            return transit(ctx, "end")

        async with open_engine(driver, foo, bar, parking("end", track)) as engine:
            ctx = StateCtx("aTID")
            ctx.set_data("config", json.dumps({"foo": {"a": 10}, "bar": {"b": 20}}))
            ctx.set_data("data", "100")
            await engine.do(StoreData(ctx, "config"), StoreData(ctx, "data"), transit(ctx, "foo"))
            assert [d.rev for d in ctx.datas.values()] == [1, 2]
            assert await engine.execute(ctx) == Parked()
            assert ctx.data("data") == Data(b"50", 4, {CHECKSUM: "11329650324634456925"})
        assert track.visited == ["foo", "bar", "end"]

    @pytest.mark.parametrize("blob", [b"", b"abc", bytes(range(256)), b"\x00"], ids=ascii)
    @on_loop
    async def test_data_of_every_kind_comes_back(self, driver: Driver, blob: bytes) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("aTID")
            ctx.set_data("d", blob, binary=True).annotations["kind"] = "any"
            await engine.do(StoreData(ctx, "d"))
            stored = ctx.data("d")
            del ctx.datas["d"]
            await engine.do(GetData(ctx, "d"))
            assert ctx.data("d") == stored
            assert (stored.blob, stored.binary, stored.annotations["kind"]) == (blob, True, "any")

    @pytest.mark.parametrize("rev", ["0", "-1", "2", "no number"])
    @on_loop
    async def test_data_of_a_revision_that_is_not_there_is_an_error(self, driver: Driver, rev: str) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("aTID")
            ctx.set_data("d", "x")
            await engine.do(StoreData(ctx, "d"))
            stranger = StateCtx("other", annotations={f"{ALIAS_PREFIX}d": rev})
            error = await refusal(engine.do(GetData(stranger, "d")))
            assert "data not found" in str(error) or "invalid data revision" in str(error)
            assert stranger.datas == {}
