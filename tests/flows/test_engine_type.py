"""The engine that flow functions receive starts runs, finds, publishes, lists and counts them, in every kind of function."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import AsyncFlowEngine, Command, Engine, FlowEngine, RunExists, StateCtx, commit, flow, named, park

CHILD = named("child", dict[str, int]).wait_event("w", "e", int, lambda d, n: d.update(n=n)).compile()


def make(kind: str, seen: dict[str, Any]) -> Any:
    """A flow function of this kind that uses all verbs on runs."""
    if kind == "sync":

        @flow("parent")
        def parent(ctx: StateCtx, engine: FlowEngine) -> Command:
            assert isinstance(engine, FlowEngine)
            run = engine.start(CHILD, {"n": 0}, id="one")
            engine.start_many(CHILD, [("two", {})])
            run.publish("e", 7)
            engine.get("two").cancel()
            with pytest.raises(RunExists) as refused:
                engine.start(CHILD, {"n": 9}, id="one")
            seen["exists"] = refused.value.run.info().id
            seen["runs"] = sorted(one.id for one in engine.runs(flow="child"))
            seen["tally"] = engine.tally()["child"]
            return commit(park(ctx))

        return parent

    @flow("parent")
    async def aparent(ctx: StateCtx, engine: AsyncFlowEngine) -> Command:
        assert isinstance(engine, AsyncFlowEngine)
        run = await engine.start(CHILD, {"n": 0}, id="one")
        await engine.start_many(CHILD, [("two", {})])
        await run.publish("e", 7)
        await engine.get("two").cancel()
        with pytest.raises(RunExists) as refused:
            await engine.start(CHILD, {"n": 9}, id="one")
        seen["exists"] = (await refused.value.run.info()).id
        seen["runs"] = sorted(one.id for one in await engine.runs(flow="child"))
        seen["tally"] = (await engine.tally())["child"]
        return commit(park(ctx))

    return aparent


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("virtual", [True, False])
def test_a_flow_function_starts_publishes_and_reads(store, clock, kind, virtual):
    seen: dict[str, Any] = {}
    parent = make(kind, seen)
    with Engine(store, clock=clock if virtual else None) as engine:
        engine.register(parent, CHILD)
        engine.start(parent, id="parent")
        engine.run_until_idle()
        assert engine.get("parent").info().error is None
        assert engine.get("one").result(timeout=60) == {"n": 7}
    assert seen["runs"] == ["one", "two"]
    assert seen["exists"] == "one"
    assert sum(seen["tally"].values()) == 2


def test_an_engine_can_take_its_place(store, clock):
    """A function that is annotated with the type may be called with the engine itself."""

    def starts(engine: FlowEngine) -> str:
        return engine.start(CHILD, {}, id="one").id

    with Engine(store, clock=clock) as engine:
        assert starts(engine) == "one"
