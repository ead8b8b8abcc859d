"""Cases 19 to 38 of the origin's driver suite, over a foreign client: data, reads and watches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepflow.wire import flowstate_pb2 as pb
from tests.foreign.client import (
    ById,
    ByLabels,
    Commit,
    Execute,
    GetData,
    Park,
    StateNotFound,
    States,
    StoreData,
    Transit,
)
from tests.foreign.engine import CHECKSUM, Engine, copy_of, ctx_of
from tests.foreign.table import CASES as CASES
from tests.foreign.table import case

FOO_SUM, FIFTY_SUM = "3728699739546630719", "11329650324634456925"


@case(19)
async def store_data(engine: Engine) -> None:
    ctx = ctx_of("aTID")
    for alias, blob in (("bEmpty", ""), ("bNotEmpty", "aContent")):
        ctx.datas[alias].blob = blob
        await engine.do(StoreData(ctx, alias))
        first = ctx.datas[alias].rev
        assert first > 0
        assert ctx.datas[alias].annotations[CHECKSUM]
        assert ctx.current.annotations[f"flowstate.data.{alias}"] == str(first)
    await engine.do(StoreData(ctx, "bNotEmpty"))
    assert ctx.datas["bNotEmpty"].rev == first
    ctx.datas["bNotEmpty"].blob = "aContentUpdated"
    await engine.do(StoreData(ctx, "bNotEmpty"))
    assert ctx.datas["bNotEmpty"].rev > first


@case(20)
async def get_data(engine: Engine) -> None:
    ctx = ctx_of("aTID")
    ctx.datas["anAlias"].blob = "aContent"
    await engine.do(StoreData(ctx, "anAlias"))
    rev = ctx.datas["anAlias"].rev
    del ctx.datas["anAlias"]
    await engine.do(GetData(ctx, "anAlias"))
    assert (ctx.datas["anAlias"].rev, ctx.datas["anAlias"].blob) == (rev, "aContent")
    ctx.datas["anAlias"].rev, ctx.datas["anAlias"].blob = rev + 1, ""
    await engine.do(GetData(ctx, "anAlias"))
    assert (ctx.datas["anAlias"].rev, ctx.datas["anAlias"].blob) == (rev, "aContent")
    ctx.datas["anAlias"].blob = ""
    await engine.do(GetData(ctx, "anAlias"))
    assert ctx.datas["anAlias"].blob == ""


async def data_store_get(engine: Engine, *, commits: bool) -> None:
    seen = []

    def together(*commands: Any) -> tuple[Any, ...]:
        return (Commit(commands),) if commits else commands

    @engine.flow("store")
    async def store(ctx: Any) -> Any:
        await engine.visit("store")
        ctx.datas["aDataKey"].blob = "foo"
        await engine.do(*together(StoreData(ctx, "aDataKey"), Transit(ctx, "get")))
        return Execute(ctx)

    @engine.flow("get")
    async def get(ctx: Any) -> Any:
        await engine.visit("get")
        if not commits:
            del ctx.datas["aDataKey"]
        await engine.do(*together(GetData(ctx, "aDataKey"), Transit(ctx, "end")))
        return Execute(ctx)

    @engine.flow("end")
    async def end(ctx: Any) -> Any:
        await engine.visit("end")
        seen.append(ctx.datas["aDataKey"])
        return Park(ctx)

    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "store"))
    await engine.execute(ctx)
    assert engine.visited == ["store", "get", "end"]
    assert seen == [pb.Data(rev=1, blob="foo", annotations={CHECKSUM: FOO_SUM})]
    if commits:
        log = States()
        await engine.do(log)
        assert [dict(s.annotations) for s in log.found if s.id == "aTID"] == [{"flowstate.data.aDataKey": "1"}] * 2


@case(21)
async def data_store_and_get(engine: Engine) -> None:
    await data_store_get(engine, commits=False)


@case(22)
async def data_store_get_with_commit(engine: Engine) -> None:
    await data_store_get(engine, commits=True)


@case(23)
async def data_flow_config(engine: Engine) -> None:
    seen = []

    async def compute(ctx: Any, key: str, name: str, to: str) -> Any:
        await engine.visit(key)
        await engine.do(GetData(ctx, "config_set"), GetData(ctx, "data"))
        number = json.loads(ctx.datas["config_set"].blob)[key][name]
        value = int(ctx.datas["data"].blob)
        ctx.datas["data"].blob = str(value * number if name == "a" else value // number)
        await engine.do(StoreData(ctx, "data"), Transit(ctx, to))
        return Execute(ctx)

    @engine.flow("foo")
    async def foo(ctx: Any) -> Any:
        return await compute(ctx, "foo", "a", "bar")

    @engine.flow("bar")
    async def bar(ctx: Any) -> Any:
        return await compute(ctx, "bar", "b", "end")

    @engine.flow("end")
    async def end(ctx: Any) -> Any:
        await engine.visit("end")
        await engine.do(GetData(ctx, "data"))
        seen.append(ctx.datas["data"])
        return Park(ctx)

    ctx = ctx_of("aTID")
    ctx.datas["config_set"].blob = json.dumps({"foo": {"a": 10}, "bar": {"b": 20}})
    ctx.datas["data"].blob = "100"
    await engine.do(StoreData(ctx, "config_set"), StoreData(ctx, "data"), Transit(ctx, "foo"))
    await engine.execute(ctx)
    assert engine.visited == ["foo", "bar", "end"]
    assert seen == [pb.Data(rev=4, blob="50", annotations={CHECKSUM: FIFTY_SUM})]


async def thrice(engine: Engine, **maps: dict[str, str]) -> list[pb.StateCtx]:
    """A State that is committed three times, as it was after each commit."""
    ctx, after = ctx_of("aTID", **maps), []
    for value in ("1", "2", "3"):
        ctx.current.annotations["v"] = value
        await engine.do(Commit((Park(ctx),)))
        after.append(copy_of(ctx))
    return after


@case(24)
async def get_one_by_id_and_rev(engine: Engine) -> None:
    first, _, _ = await thrice(engine)
    found = ctx_of("")
    await engine.do(ById(found, "aTID", first.committed.rev))
    assert found == first
    assert (found.committed == found.current, list(found.transitions)) == (True, [])
    assert found.committed.committed_at_unix_milli > 0


@case(25)
async def get_one_latest_by_id(engine: Engine) -> None:
    _, _, last = await thrice(engine)
    found = ctx_of("")
    await engine.do(ById(found, "aTID"))
    assert found == last


@case(26)
async def get_one_latest_by_label(engine: Engine) -> None:
    _, _, last = await thrice(engine, labels={"foo": "fooVal"})
    found = ctx_of("")
    await engine.do(ByLabels(found, {"foo": "fooVal"}))
    assert found == last


@case(27)
async def get_one_not_found(engine: Engine) -> None:
    with pytest.raises(StateNotFound):
        await engine.do(ById(ctx_of(""), "notExist"))
    with pytest.raises(StateNotFound):
        await engine.do(ByLabels(ctx_of(""), {"foo": "notExist"}))


async def labelled(engine: Engine) -> tuple[pb.State, ...]:
    """Two revisions of one State, the second with another label, and another State."""
    first, other = ctx_of("aTID", labels={"foo": "fooVal"}), ctx_of("anotherTID", labels={"bar": "barVal"})
    await engine.do(Commit((Park(first),)))
    one = copy_of(first).committed
    first.current.labels["bar"] = "barVal"
    await engine.do(Commit((Park(first),)), Commit((Park(other),)))
    return one, first.committed, other.committed


async def found_by(engine: Engine, *labels: dict[str, str], **query: Any) -> list[pb.State]:
    command = States(labels, **query)
    await engine.do(command)
    assert not command.more
    return [state for state in command.found if not state.id.startswith("flowstate.")]


@case(28)
async def get_many_labels(engine: Engine) -> None:
    one, two, _other = await labelled(engine)
    found = await found_by(engine, {"foo": "fooVal"})
    assert found == [one, two]
    assert dict(found[1].labels) == {"foo": "fooVal", "bar": "barVal"}


async def either(engine: Engine) -> list[pb.State]:
    one, other = ctx_of("aTID", labels={"foo": "fooVal"}), ctx_of("anotherTID", labels={"bar": "barVal"})
    await engine.do(Commit((Park(one),)), Commit((Park(other),)))
    return [one.committed, other.committed]


@case(29)
async def get_many_or_labels(engine: Engine) -> None:
    expected = await either(engine)
    assert await found_by(engine, {"foo": "fooVal"}, {"bar": "barVal"}) == expected


@case(30)
async def get_many_since_latest(engine: Engine) -> None:
    _, _, last = await thrice(engine, labels={"foo": "fooVal"})
    assert await found_by(engine, {"foo": "fooVal"}, since_rev=-1) == [last.committed]


@case(31)
async def get_many_since_rev(engine: Engine) -> None:
    revisions = [ctx.committed for ctx in await thrice(engine, labels={"foo": "fooVal"})]
    for known, since in enumerate((0, revisions[0].rev, revisions[1].rev, revisions[2].rev)):
        assert await found_by(engine, {"foo": "fooVal"}, since_rev=since) == revisions[known:]


async def once(engine: Engine) -> pb.State:
    ctx = ctx_of("aTID", labels={"foo": "fooVal"})
    await engine.do(Commit((Park(ctx),)))
    assert ctx.committed.committed_at_unix_milli > 0
    return ctx.committed


@case(32)
async def get_many_since_time(engine: Engine) -> None:
    state = await once(engine)
    at = state.committed_at_unix_milli
    assert await found_by(engine, {"foo": "fooVal"}, since_ms=at + 5000) == []
    for since in (at - 1000, at):
        assert await found_by(engine, {"foo": "fooVal"}, since_ms=since) == [state]


@case(33)
async def get_many_latest_only(engine: Engine) -> None:
    one, other = ctx_of("aTID"), ctx_of("anotherTID")
    for _ in range(3):
        await engine.do(Commit((Park(one),)), Commit((Park(other),)))
    assert await found_by(engine, latest_only=True) == [one.committed, other.committed]


async def seen_by_watch(engine: Engine, number: int, *labels: dict[str, str], since: int = 0) -> list[pb.State]:
    """The first States that a watch delivers."""
    seen: list[pb.State] = []
    async for state in engine.watch(*labels, since=since):
        seen.append(state)
        if len(seen) == number:
            return seen
    raise AssertionError


@case(34)
async def watch_labels(engine: Engine) -> None:
    one, two, _other = await labelled(engine)
    assert await seen_by_watch(engine, 2, {"foo": "fooVal"}) == [one, two]


@case(35)
async def watch_or_labels(engine: Engine) -> None:
    expected = await either(engine)
    assert await seen_by_watch(engine, 2, {"foo": "fooVal"}, {"bar": "barVal"}) == expected


@case(36)
async def watch_since_latest(engine: Engine) -> None:
    _, _, last = await thrice(engine, labels={"foo": "fooVal"})
    assert await seen_by_watch(engine, 1, {"foo": "fooVal"}, since=-1) == [last.committed]


@case(37)
async def watch_since_rev(engine: Engine) -> None:
    first, second, third = await thrice(engine, labels={"foo": "fooVal"})
    seen = await seen_by_watch(engine, 2, {"foo": "fooVal"}, since=first.committed.rev)
    assert seen == [second.committed, third.committed]


@case(38)
async def watch_since_time(engine: Engine) -> None:
    """A watch with a time sends it with each of its queries, next to the revision that it has seen."""
    state = await once(engine)
    at = state.committed_at_unix_milli
    assert await found_by(engine, {"foo": "fooVal"}, since_ms=at - 1000) == [state]
    assert await found_by(engine, {"foo": "fooVal"}, since_ms=at - 1000, since_rev=state.rev) == []
    assert await found_by(engine, {"foo": "fooVal"}, since_ms=at + 5000) == []
