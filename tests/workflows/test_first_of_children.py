"""first_of with children: the end of a child is one of the ways, and a child that loses goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    MemoryDriver,
    RunCancelled,
    RunFailed,
    StateCtx,
    commit,
    flow,
    named,
    park,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.workflows.family import Item, add

HOUR = timedelta(hours=1)


@workflow("told")
def told(wf: Context) -> str:
    answer = wf.wait_for_event("answer", "answer", str)
    if answer == "fail":
        raise ValueError(answer)
    return answer


chain = named("chain", Item).wait_event("answer", "answer", str, lambda item, _: add(item)).compile()


@flow("function")
def function(ctx: StateCtx) -> Any:
    return commit(park(ctx))


@workflow("sync")
def first(wf: Context, style: str) -> list[Any]:
    child = wf.start_child("kid", FLOWS[style], Item(1) if style == "chain" else None)
    found = wf.first_of("first", wf.event("a", int), child, wf.timer(HOUR), wf.event("b", int))
    rest = wf.result("kid-done", child) if wf.wait_for_event("then", "then", bool) else None
    return [found.index, _plain(found.value), _plain(rest)]


@workflow("async")
async def afirst(wf: AsyncContext, style: str) -> list[Any]:
    child = await wf.start_child("kid", FLOWS[style], Item(1) if style == "chain" else None)
    found = await wf.first_of("first", wf.event("a", int), child, wf.timer(HOUR), wf.event("b", int))
    rest = await wf.result("kid-done", child) if await wf.wait_for_event("then", "then", bool) else None
    return [found.index, _plain(found.value), _plain(rest)]


FLOWS: dict[str, Any] = {"workflow": told, "chain": chain, "function": function}


def _plain(value: Any) -> Any:
    return value.n if isinstance(value, Item) else value


@pytest.mark.parametrize("style", ["workflow", "chain"])
@pytest.mark.parametrize("flow", [first, afirst], ids=["sync", "async"])
def test_the_end_of_a_child_of_any_style_is_a_way(flow: Any, style: str, store: Driver, clock: VirtualClock) -> None:
    value = 2 if style == "chain" else "x"
    with Engine(store, clock=clock) as engine:
        engine.register(flow, *FLOWS.values())
        wins, loses = engine.start(flow, style, id="wins"), engine.start(flow, style, id="loses")
        engine.run_until_idle()
        assert wins.info().awaits == ("a", "stepflow.child:kid", "b")
        assert "it waits for events 'a' or 'b' or the end of its child 'wins/kid'" in wins.explain()
        engine.get("wins/kid").publish("answer", "x")
        loses.publish("b", 5)
        engine.run_until_idle()
        assert [run.info().awaits for run in (wins, loses)] == [("then",), ("then",)]
        assert engine.get("loses/kid").status() == "waiting"
        engine.get("loses/kid").publish("answer", "x")
        for run in (wins, loses):
            run.publish("then", True)
        engine.run_until_idle()
        assert wins.result() == [1, value, value]
        assert loses.result() == [3, 5, value]


@pytest.mark.parametrize("flow", [first, afirst], ids=["sync", "async"])
@pytest.mark.parametrize("how", ["failed", "cancelled", "function"])
def test_a_child_that_does_not_complete_is_raised_as_by_result(
    how: str, flow: Any, store: Driver, clock: VirtualClock
) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(flow, *FLOWS.values())
        run = engine.start(flow, "function" if how == "function" else "workflow", id="p")
        engine.run_until_idle()
        child = engine.get("p/kid")
        if how == "failed":
            child.publish("answer", "fail")
        else:
            child.cancel()
        engine.run_until_idle()
        with pytest.raises(RunFailed) as caught:
            run.result()
        kind, text = ("RunFailed", "ValueError: fail") if how == "failed" else ("RunCancelled", "was cancelled")
        assert caught.value.type.endswith(kind)
        assert text in caught.value.message
        if how == "failed":  # the same again, until the child goes on
            child.redrive()
            run.redrive()
            engine.run_until_idle()
            assert "event:stepflow.child:kid" not in str(run.info().unread)
            assert run.status() == "failed"


def test_a_caught_failure_of_a_child_is_the_same_at_each_replay(store: Driver, clock: VirtualClock) -> None:
    seen: list[str] = []

    @workflow("p")
    def parent(wf: Context) -> str:
        child = wf.start_child("kid", told)
        try:
            wf.first_of("first", child, wf.timer(HOUR))
        except (RunFailed, RunCancelled) as error:
            seen.append(f"{type(error).__name__} {error}")
        wf.sleep("s", 5)
        return seen[-1]

    with Engine(store, clock=clock) as engine:
        engine.register(parent, told)
        run = engine.start(parent, id="p")
        engine.run_until_idle()
        engine.get("p/kid").publish("answer", "fail")
        engine.run_until_idle(advance=True)
        assert run.result() == seen[0] == seen[1]
        assert "ValueError: fail" in seen[0]


def test_a_child_that_is_redriven_before_its_parent_looks_is_waited_for(store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(first, told)
        engine.start(first, "workflow", id="p")
        engine.run_until_idle()
    with Engine(store, clock=clock) as engine:
        engine.register(told)
        engine.get("p/kid").publish("answer", "fail")
        engine.run_until_idle()
        engine.get("p/kid").redrive()
    with Engine(store, clock=clock) as engine:
        engine.register(first)
        engine.run_until_idle()
        assert engine.get("p").status() == "waiting"
        engine.get("p").publish("a", 1)
        engine.get("p").publish("then", False)
        engine.run_until_idle()
        assert engine.get("p").result() == [0, 1, None]


ACTIONS = st.lists(st.sampled_from(["a", "b", "kid", "work", "late"]), max_size=6)


@given(ACTIONS)
def test_what_came_first_wins_whenever_the_workers_look(actions: list[str]) -> None:
    """Events and the end of the child at different times, with and without a look of the parent's worker in between."""
    clock, store = VirtualClock(), MemoryDriver()
    with Engine(store, clock=clock) as all_flows, Engine(store, clock=clock) as children:
        all_flows.register(first, told)
        children.register(told)
        run = all_flows.start(first, "workflow", id="p")
        all_flows.run_until_idle()
        expected, late = [2, None], False
        for number, action in enumerate(actions):
            clock.advance(1)
            if action == "work":
                all_flows.run_until_idle()
                continue
            if action == "late":
                clock.advance(3600)
                late = True
                continue
            if action == "kid":
                if actions[:number].count("kid"):
                    continue
                children.get("p/kid").publish("answer", "x")
                children.run_until_idle()
            else:
                run.publish(action, number)
            if expected == [2, None] and not late:
                expected = {"a": [0, number], "b": [3, number], "kid": [1, "x"]}[action]
        run.publish("then", False)
        all_flows.run_until_idle(advance=True)
        assert run.result()[:2] == expected
