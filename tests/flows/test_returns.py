"""Return values of flow functions: commands that continue, commands that stop, and mistakes."""

from __future__ import annotations

import pytest

from stepflow import (
    AsyncEngine,
    Conflict,
    DefinitionError,
    Delayed,
    Done,
    Engine,
    Execute,
    GetData,
    GetDelayedStates,
    GetStateByID,
    GetStateByLabels,
    GetStates,
    Noop,
    Parked,
    Stack,
    StateCtx,
    StepflowError,
    StoreData,
    UnknownFlow,
    Unstack,
    commit,
    delay,
    flow,
    named,
    park,
    transit,
)
from stepflow.testing.conformance.cases.kit import on_loop


@flow("end")
def end(ctx):
    ctx.annotations["ended"] = "yes"
    return commit(park(ctx))


def returning(make):
    """A flow function that returns `make(ctx)`."""
    return flow("start")(lambda ctx: make(ctx))  # noqa: PLW0108 - `park` has more parameters


GOES_ON_OR_STOPS = {
    "transit": (lambda ctx: transit(ctx, "end"), Parked()),
    "transit in a commit": (lambda ctx: commit(transit(ctx, "end")), Parked()),
    "execute": (lambda ctx: Execute(moved(ctx)), Parked()),
    "transit of another": (lambda ctx: transit(StateCtx("other"), "end"), Parked()),
    "several with a transit": (lambda ctx: commit(park(StateCtx("other")), transit(ctx, "end")), Parked()),
    "park": (park, Parked()),
    "park in a commit": (lambda ctx: commit(park(ctx)), Parked()),
    "several with a park": (lambda ctx: commit(park(ctx), transit(StateCtx("other"), "end")), Parked()),
    "delay": (lambda ctx: delay(ctx, "end", 60), Delayed()),
    "delay in a commit": (lambda ctx: commit(delay(ctx, "end", 60)), Delayed()),
    "park and delay": (lambda ctx: commit(park(ctx), delay(ctx, "end", 60)), Delayed()),
    "noop": (lambda ctx: Noop(), Done()),
    "noop in a commit": (lambda ctx: commit(Noop()), Done()),
    "a commit of others": (lambda ctx: commit(park(StateCtx("other")), park(StateCtx("third"))), Done()),
}
ENDED = {"transit", "transit in a commit", "execute", "several with a transit"}


def moved(ctx):
    ctx.move("end", {})
    return ctx


@pytest.mark.parametrize("name", GOES_ON_OR_STOPS)
def test_the_outcome(engine, name):
    make, outcome = GOES_ON_OR_STOPS[name]
    engine.register(returning(make), end)
    ctx = StateCtx("s")
    engine.do(commit(transit(ctx, "start")))
    assert engine.execute(ctx) == outcome
    assert (engine.get_state("s").annotations == {"ended": "yes"}) == (name in ENDED)


MISTAKES = {
    "nothing": (lambda ctx: None, "'start' returned None: it must return a command"),
    "something else": (lambda ctx: "park", "'start' returned 'park'"),
    "stack": (lambda ctx: Stack(ctx, ctx, "x"), "unknown command Stack"),
    "unstack": (lambda ctx: Unstack(stacked(ctx), StateCtx(""), "x"), "unknown command Unstack"),
    "store data": (lambda ctx: StoreData(with_data(ctx), "x"), "unknown command StoreData"),
    "get data": (lambda ctx: GetData(with_data(ctx), "y"), 'annotation "flowstate.data.y" is not set'),
    "get by id": (lambda ctx: GetStateByID(StateCtx(""), ctx.id), "unknown command GetStateByID"),
    "get by labels": (lambda ctx: GetStateByLabels(StateCtx(""), ctx.labels), "unknown command GetStateByLabels"),
    "get states": (lambda ctx: GetStates(), "unknown command GetStates"),
    "get delayed states": (lambda ctx: GetDelayedStates(), "unknown command GetDelayedStates"),
    "a commit of a read": (lambda ctx: commit(GetStateByID(StateCtx(""), ctx.id)), "unknown command GetStateByID"),
    "an empty commit": (lambda ctx: commit(), "no commands to commit"),
    "no flow": (lambda ctx: transit(ctx, ""), "flow id empty"),
    "parked": (lambda ctx: Execute(StateCtx("new")), "transition to id empty"),
    "no id": (lambda ctx: Execute(StateCtx("")), "state id empty"),
    "no State": (lambda ctx: Execute("new"), "'new' is no StateCtx"),
}


def stacked(ctx):
    ctx.annotations["x"] = "CgIyABIHCgFzEAEyAA=="
    return ctx


def with_data(ctx):
    ctx.set_data("x", b"1")
    return ctx


@pytest.mark.parametrize("name", MISTAKES)
def test_the_caller_gets_the_error_and_the_state_is_unchanged(engine, name):
    make, error = MISTAKES[name]
    engine.register(returning(make), end)
    ctx = StateCtx("s", {"l": "1"})
    engine.do(commit(transit(ctx, "start")))
    with pytest.raises(StepflowError, match=error):
        engine.execute(ctx)
    assert engine.get_state("s").committed.transition.to == "start"


def test_execute_says_what_it_needs(engine):
    engine.register(end, named("steps", dict).do("a", print).compile())
    with pytest.raises(StepflowError, match="state id empty"):
        engine.execute(StateCtx(""))
    with pytest.raises(StepflowError, match="transition to id empty"):
        engine.execute(StateCtx("s"))
    ctx = StateCtx("s")
    engine.do(transit(ctx, "nowhere"))
    with pytest.raises(
        UnknownFlow, match=r"flow not found: 'nowhere' is not registered here \(registered: end, steps\)"
    ):
        engine.execute(ctx)
    engine.do(transit(ctx, "steps"))
    with pytest.raises(UnknownFlow, match="'steps' is no flow function"):
        engine.execute(ctx)
    with pytest.raises(StepflowError, match="give a StateCtx"):
        engine.execute("s")


def test_what_a_function_raises_reaches_the_caller(engine):
    @flow("broken")
    def broken(ctx):
        raise LookupError("not today")

    engine.register(broken)
    ctx = StateCtx("s")
    engine.do(commit(transit(ctx, "broken")))
    with pytest.raises(LookupError, match="not today"):
        engine.execute(ctx)
    assert engine.get_state("s").transition.to == "broken"


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_flow_needs_a_name(name):
    with pytest.raises(DefinitionError, match="give the flow's name"):
        flow(name)


@pytest.mark.parametrize("fn", [lambda: None, lambda a, b, c: None, "fn"])
def test_a_flow_function_takes_a_state_and_perhaps_an_engine(fn):
    with pytest.raises(DefinitionError, match="fn"):
        flow("f")(fn)


def test_a_flow_function_can_be_called_like_itself():
    assert flow("f")(lambda ctx: park(ctx, a="b"))(StateCtx("s")).annotations == {"a": "b"}


@on_loop
async def test_sync_functions_may_call_the_engine_that_is_given_or_another_face_of_it(store):
    @flow("sync")
    def sync(ctx, verbs):
        verbs.do(commit(transit(ctx, "sync")))
        assert verbs.get_state(ctx.id).rev == ctx.rev
        return commit(transit(ctx, "captured"))

    @flow("captured")
    async def captured(ctx):
        await engine.do(commit(transit(ctx, "captured")))
        await engine.do(commit(park(ctx)))
        return commit(transit(ctx, "end"))

    async with AsyncEngine(store) as engine:
        engine.register(sync, captured, end)
        run = await engine.start(sync)
        assert (await engine.run_until_idle()).failed == 0
        ctx = await engine.get_state(run.id)
        assert (ctx.parked, ctx.annotations) == (True, {"ended": "yes"})


def test_a_sync_engine_of_another_store_can_be_used_inside_a_function(store):
    with Engine("memory://") as other, Engine(store) as engine:

        @flow("copy")
        def copy(ctx):
            other.do(commit(park(StateCtx(ctx.id))))
            return commit(park(ctx))

        engine.register(copy)
        engine.start(copy, id="s")
        engine.run_until_idle()
        assert other.get_state("s").rev == 1
        assert engine.get_state("s").parked


@on_loop
async def test_a_commit_that_meets_a_conflict_ends_the_execution_with_the_ids(store):
    @flow("slow")
    async def slow(ctx, engine):
        await engine.do(commit(park(await engine.get_state("other"))))
        return commit(park(ctx), park(others[0]))

    others = []
    async with AsyncEngine(store) as engine:
        engine.register(slow)
        await engine.do(commit(park(StateCtx("other"))))
        others.append(await engine.get_state("other"))
        ctx = StateCtx("mine")
        await engine.do(commit(transit(ctx, "slow")))
        assert await engine.execute(ctx) == Conflict(("other",))
