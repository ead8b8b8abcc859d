"""A run that was cancelled goes on, from any of its calls, as if it had not been: nothing of what undid it is left, and its children begin anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, Status, current, workflow

DID: list[str] = []
DAY = timedelta(days=1)
Go = Callable[[Any, str], Any]


@pytest.fixture
def engine(engine: Engine) -> Engine:
    DID.clear()
    engine.register(order, async_order, parent, several, child, paying, branches)
    return engine


@pytest.fixture(params=["fork", "rewind"])
def go(request: pytest.FixtureRequest, engine: Engine) -> Go:
    """Lets a run, or a fork of it, go on from before a step, until it ends."""

    def back(run: Any, step: str) -> Any:
        DID.clear()
        if request.param == "fork":
            run = run.fork(step=step)
        else:
            run.rewind(step=step)
        engine.run_until_idle(advance=True)
        return run

    return back


def did(what: str) -> str:
    DID.append(what)
    return what


async def adid(what: str) -> str:
    return did(what)


@workflow("order")
def order(wf: Context, name: str) -> str:
    wf.execute("reserve", did, "reserve")
    try:
        wf.sleep("nap", DAY)
        return wf.execute("pack", did, "pack")
    finally:
        wf.execute("undo", did, "undo")
        wf.sleep("undo nap", 60)
        wf.execute("undo more", did, "undo more")


@workflow("async order")
async def async_order(wf: AsyncContext, name: str) -> str:
    await wf.execute("reserve", adid, "reserve")
    try:
        await wf.sleep("nap", DAY)
        return await wf.execute("pack", adid, "pack")
    finally:
        await wf.execute("undo", adid, "undo")
        await wf.sleep("undo nap", 60)
        await wf.execute("undo more", adid, "undo more")


@workflow("child")
def child(wf: Context, name: str) -> str:
    wf.sleep("nap", DAY)
    return wf.execute("work", did, f"work of {name}")


@workflow("parent")
def parent(wf: Context, name: str) -> str:
    return wf.result("end", wf.start_child("begin", child, name))


@workflow("several")
def several(wf: Context, name: str) -> int:
    quick = wf.start_child("quick", child, "quick")
    wf.result("quick end", quick)
    slow = wf.start_child("slow", child, "slow")
    return wf.first_of("first", slow, wf.timer(timedelta(hours=1))).index


def pay(name: str) -> str:
    did("pay")
    ENGINES[-1].get(current().run_id).cancel()
    return name


ENGINES: list[Engine] = []


@workflow("paying")
def paying(wf: Context, name: str) -> str:
    try:
        return wf.execute("pay", pay, name, at_most_once=True)
    finally:
        wf.execute("undo", did, "undo")


@workflow("branches")
async def branches(wf: AsyncContext, name: str) -> str:
    async def branch(key: str) -> str:
        await wf.execute(f"{key} before", adid, f"{key} before")
        try:
            await wf.sleep(f"{key} nap", DAY)
        finally:
            await wf.execute(f"{key} after", adid, f"{key} after")
        return key

    return "".join(await wf.gather(branch("a"), branch("b")))


@pytest.mark.parametrize("flow", [order, async_order], ids=lambda flow: flow.name)
@pytest.mark.parametrize("step", ["nap", "undo", "undo nap", "undo more"])
def test_a_workflow_that_was_cancelled_goes_on_from_any_call(engine: Engine, go: Go, flow: Any, step: str) -> None:
    run = engine.start(flow, "n", id="r")
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle(advance=True)
    assert (run.status(), DID) == (Status.CANCELLED, ["reserve", "undo", "undo more"])
    run = go(run, step)
    assert (run.result(), DID) == ("pack", ["pack", "undo", "undo more"])


@pytest.mark.parametrize("flow", [order, async_order], ids=lambda flow: flow.name)
def test_one_that_is_undoing_what_it_did_goes_on_from_a_revision_of_that(engine: Engine, flow: Any) -> None:
    run = engine.start(flow, "n", id="r")
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle()
    assert run.info().position == ["sleep:undo nap"]
    fork = run.fork(rev=run.info().rev)
    run.rewind(rev=run.info().rev)
    DID.clear()
    engine.run_until_idle(advance=True)
    assert (run.result(), fork.result()) == ("pack", "pack")
    assert sorted(DID) == ["pack", "pack", "undo", "undo", "undo more", "undo more"]


@pytest.mark.parametrize("step", ["begin", "end"])
def test_a_child_that_was_cancelled_with_its_parent_begins_anew(engine: Engine, go: Go, step: str) -> None:
    run = engine.start(parent, "n", id="r")
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle()
    assert [one.status for one in engine.runs(parent="r")] == [Status.CANCELLED]
    assert (go(run, step).result(), DID) == ("work of n", ["work of n"])


def test_so_does_one_that_the_end_of_its_parent_cancelled(engine: Engine, go: Go) -> None:
    run = engine.start(several, "n", id="r")
    engine.run_until_idle(advance=True)
    assert (run.result(), DID) == (1, ["work of quick"])
    again = go(run, "first")
    assert (again.result(), DID) == (1, [])
    mine = [one.status for one in engine.runs(parent=again.id)]
    assert mine.count(Status.CANCELLED) == (1 if again.id != "r" else 2)


def test_a_call_that_was_made_when_the_cancel_came_is_not_made_again(engine: Engine, go: Go) -> None:
    ENGINES.append(engine)
    run = engine.start(paying, "n", id="r")
    engine.run_until_idle()
    assert (run.status(), DID) == (Status.CANCELLED, ["pay", "undo"])
    assert [one.kind for one in run.timeline() if one.where == "pay"] == ["cancelled"]
    assert (go(run, "undo").result(), DID) == ("n", ["undo"])


@pytest.mark.parametrize("step", ["a after", "b after"])
def test_branches_that_were_cancelled_go_on(engine: Engine, go: Go, step: str) -> None:
    run = engine.start(branches, "n", id="r")
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle()
    assert run.status() is Status.CANCELLED
    assert (go(run, step).result(), sorted(DID)) == ("ab", ["a after", "b after"])
