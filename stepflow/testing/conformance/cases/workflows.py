"""Workflows on a driver: replay over restarts, in real and virtual time, retries, events, cancels, and many at once."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from attrs import define

from stepflow.drivers.port.store import Driver
from stepflow.engine.clock import VirtualClock
from stepflow.errors import Cancelled, TimedOut
from stepflow.model.retry import RetryPolicy
from stepflow.replay import AsyncContext, Context, First, Ok, workflow
from stepflow.steps import named
from stepflow.testing.conformance.cases.kit import WITHIN_S, on_loop, open_engine

CALLS: Counter[str] = Counter()


@define
class Made:
    """A value that steps return."""

    name: str
    size: int


def _make(key: str, size: int, failures: int = 0) -> Made:
    CALLS[key] += 1
    if CALLS[key] <= failures:
        raise ValueError(f"{key} é \\ ' \" %s")
    return Made(key, size)


@workflow("case/sync")
def _sync(wf: Context, name: str) -> list[Made]:
    found = [wf.execute(f"a/{n}", _make, f"{name}/a/{n}", n) for n in range(5)]
    wf.sleep("sleep", 0.02)
    found.append(wf.execute("b", _make, f"{name}/b", wf.wait_for_event("size", "size", int), 1, retry=_AGAIN))
    return found


@workflow("case/async")
async def _async(wf: AsyncContext, name: str) -> list[Made]:
    found = [await wf.execute(f"a/{n}", _make, f"{name}/a/{n}", n) for n in range(5)]
    await wf.sleep("sleep", 0.02)
    size = await wf.wait_for_event("size", "size", int)
    found.append(await wf.execute("b", _make, f"{name}/b", size, 1, retry=_AGAIN))
    return found


@workflow("case/undo")
def _undo(wf: Context, name: str) -> str:
    wf.execute("a", _make, f"{name}/a", 1)
    try:
        wf.wait_for_event("never", "never", str, timeout=timedelta(days=1))
    except TimedOut as error:
        return str(error)
    except Cancelled:
        wf.sleep("s", 0.01)
        wf.execute("undo", _make, f"{name}/undo", 1)
        raise
    return ""


def _grow(made: Made) -> None:
    CALLS[made.name] += 1
    made.size += 1


_CHAIN = named("case/chain", Made).do("grow", _grow).do("again", _grow).compile()


@workflow("case/kid")
def _kid(wf: Context, made: Made) -> int:
    wf.execute("make", _make, made.name, 1)
    wf.sleep("sleep", 0.01)
    if made.size == 3:
        raise ValueError(made.name)
    return wf.wait_for_event("go", "go", int) if made.size == 4 else made.size


@workflow("case/parent")
def _parent(wf: Context, name: str) -> list[int]:
    grown = wf.start_child("chain", _CHAIN, Made(f"{name}/chain", 5))
    kids = wf.start_children("kid", _kid, [Made(f"{name}/kid/{n}", n) for n in range(4)])
    wf.start_child("open", _kid, Made(f"{name}/open", 4))
    wf.start_child("left", _kid, Made(f"{name}/left", 4), on_parent_end="leave")
    ends = wf.results("kids", kids)
    return [wf.result("grown", grown).size, *[end.value if isinstance(end, Ok) else -1 for end in ends]]


@workflow("case/aparent")
async def _aparent(wf: AsyncContext, name: str) -> list[int]:
    grown = await wf.start_child("chain", _CHAIN, Made(f"{name}/chain", 5))
    kids = await wf.start_children("kid", _kid, [Made(f"{name}/kid/{n}", n) for n in range(4)])
    await wf.start_child("open", _kid, Made(f"{name}/open", 4))
    await wf.start_child("left", _kid, Made(f"{name}/left", 4), on_parent_end="leave")
    ends = await wf.results("kids", kids)
    return [(await wf.result("grown", grown)).size, *[end.value if isinstance(end, Ok) else -1 for end in ends]]


@workflow("case/gather")
async def _gather(wf: AsyncContext, name: str) -> list[str]:
    async def branch(n: int) -> str:
        size = await wf.wait_for_event(f"wait/{n}", f"size/{n}", int)
        return str((await wf.execute(f"c/{n}", _make, f"{name}/c/{n}", size)).size)

    first = wf.first_of("first", wf.event("é", str), wf.event("two words", str), wf.timer(timedelta(days=1)))
    one, two, found = await wf.gather(branch(1), branch(2), first)
    return [one, two, str(found)]


_AGAIN = RetryPolicy(delay=0.01)


class WorkflowCases:
    """Give it a fixture `driver`."""

    @on_loop
    async def test_many_workflows_at_once_make_each_step_once(self, driver: Driver) -> None:
        CALLS.clear()
        async with open_engine(driver, _sync, _async) as engine:
            runs = [await engine.start(flow, f"{flow.name}/{n}") for n in range(8) for flow in (_sync, _async)]
            for n, run in enumerate(runs):
                await run.publish("size", n)
            for n, run in enumerate(runs):
                found = await run.result(timeout=WITHIN_S)
                assert [item.size for item in found] == [0, 1, 2, 3, 4, n]
        assert {key: n for key, n in CALLS.items() if n != (2 if key.endswith("/b") else 1)} == {}

    @on_loop
    async def test_a_workflow_goes_on_in_other_engines_where_it_was(self, driver: Driver) -> None:
        CALLS.clear()
        clock = VirtualClock()
        for flow in (_sync, _async):
            async with open_engine(driver, flow, clock=clock) as engine:
                await engine.start(flow, flow.name, id=flow.name)
                await engine.run_until_idle()
                assert await engine.get(flow.name).status() == "sleeping"
            clock.advance(1)
            async with open_engine(driver, flow, clock=clock) as engine:
                await engine.run_until_idle()
                info = await engine.get(flow.name).info()
                assert (info.status, info.waiting_for, info.position) == ("waiting", "event:size", ["event:size"])
                await engine.get(flow.name).publish("size", 7)
                await engine.run_until_idle()
                assert (await engine.get(flow.name).info()).attempt == 2
            async with open_engine(driver, flow, clock=clock) as engine:
                await engine.run_until_idle(advance=True)
                assert (await engine.get(flow, flow.name).result())[-1] == Made(f"{flow.name}/b", 7)
        assert {key: n for key, n in CALLS.items() if n != (2 if key.endswith("/b") else 1)} == {}

    @on_loop
    async def test_a_cancel_wakes_a_workflow_that_waits_and_lets_it_undo(self, driver: Driver) -> None:
        CALLS.clear()
        clock = VirtualClock()
        async with open_engine(driver, _undo, clock=clock) as engine:
            cancelled, late = [await engine.start(_undo, name) for name in ("x", "y")]
            await engine.run_until_idle()
            await cancelled.cancel()
            await engine.run_until_idle(advance=True)
            assert (await cancelled.status(), CALLS["x/undo"]) == ("cancelled", 1)
            assert await late.result() == "never: no event 'never' within 1 d"

    @on_loop
    async def test_children_of_any_style_run_once_and_their_parent_gets_their_results(self, driver: Driver) -> None:
        CALLS.clear()
        async with open_engine(driver, _parent, _aparent, _kid, _CHAIN) as engine:
            runs = [
                await engine.start(flow, f"{flow.name}/{n}", id=f"{flow.name}/{n}")
                for n in range(3)
                for flow in (_parent, _aparent)
            ]
            for run in runs:
                assert await run.result(timeout=WITHIN_S) == [7, 0, 1, 2, -1]
                children = {child.id.removeprefix(run.id): child for child in await engine.runs(parent=run.id)}
                assert len(children) == 7
                assert {child.parent for child in children.values()} == {run.id}
                assert children["/open"].status == "cancelled" or children["/open"].cancel_requested
                left = engine.get(_kid, f"{run.id}/left")
                await left.publish("go", 9)
                assert await left.result(timeout=WITHIN_S) == 9
        assert {key: n for key, n in CALLS.items() if n != (2 if key.endswith("/chain") else 1)} == {}

    @on_loop
    async def test_a_workflow_waits_for_several_events_at_a_time(self, driver: Driver) -> None:
        CALLS.clear()
        clock, labels = VirtualClock(), {"case": "gather"}
        for names in (["é", "size/1", "size/2"], ["two words", "size/2", "size/1"], ["size/1", "size/2"]):
            run_id = "/".join(names)
            async with open_engine(driver, _gather, clock=clock) as engine:
                await engine.start(_gather, run_id, id=run_id, labels=labels)
            for name in names:
                async with open_engine(driver, _gather, clock=clock) as engine:
                    await engine.run_until_idle()
                    info = await engine.get(run_id).info()
                    assert (info.status, name in info.awaits) == ("waiting", True)
                    assert await engine.broadcast(labels, name, 5 if name.startswith("size") else "x") == 1
            async with open_engine(driver, _gather, clock=clock) as engine:
                await engine.run_until_idle(advance=True)
                first = {"é": First(0, "x"), "two words": First(1, "x")}.get(names[0], First(2, None))
                assert await engine.get(_gather, run_id).result() == ["5", "5", str(first)]
        assert set(CALLS.values()) == {1}
