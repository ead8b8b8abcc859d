"""Flow functions that hosts execute: the engine that calls commits what they return, as if they were its own."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from stepflow import (
    Command,
    Engine,
    FlowEngine,
    GetData,
    Noop,
    Parked,
    RemoteFailed,
    RetryPolicy,
    StateCtx,
    StoreData,
    UnknownFlow,
    commit,
    delay,
    flow,
    park,
    transit,
)
from stepflow.model.recovery import TRIED
from stepflow.remote import RemoteHosts, remote_flow
from tests.remote.hosting import SECRET, hosted

AT_ONCE = RetryPolicy(delay=0)
WORK = remote_flow("work")


@flow("work", retry=AT_ONCE)
def work(ctx: StateCtx) -> Command:
    ctx.labels["seen"], ctx.annotations["thread"] = "yes", threading.current_thread().name
    return commit(park(ctx, state="done"))


def test_a_run_of_a_flow_of_another_process_is_executed_there(store, caller):
    with hosted(store, [work]) as host, caller() as engine:
        run = engine.start(WORK, id="r", labels={"tenant": "a"})
        engine.run_until_idle()
        state = engine.get_state("r")
        assert (state.parked, state.annotation("state"), state.labels) == (True, "done", {"tenant": "a", "seen": "yes"})
        assert host.asked == ["/flowstate.v1.Flow/Execute"]
        assert [entry.rev for entry in run.history()] == [run.history()[0].rev, state.rev]


def test_an_execution_for_a_caller_finds_the_host(store, caller):
    with hosted(store, [work]), caller() as engine:
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "work")))
        assert engine.execute(ctx) == Parked()
        assert ctx.committed.annotations["thread"]


def test_without_remote_a_flow_of_a_host_is_not_known(store):
    with hosted(store, [work]), Engine(store) as engine:
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "work")))
        with pytest.raises(UnknownFlow, match="not registered here"):
            engine.execute(ctx)


def test_a_flow_that_is_registered_here_is_called_here(store, caller):
    with hosted(store, [work]) as host, caller() as engine:
        engine.register(work)
        engine.start(work, id="r")
        engine.run_until_idle()
        assert engine.get_state("r").annotation("state") == "done"
        assert host.asked == []


@flow("first")
def first(ctx: StateCtx) -> Command:
    ctx.annotations["first"] = "here"
    return transit(ctx, "second", via="memory")


@flow("second")
async def second(ctx: StateCtx) -> Command:
    ctx.annotations["second"] = ctx.annotation("via")
    return commit(transit(ctx, "third"))


@flow("third")
def third(ctx: StateCtx) -> Command:
    return commit(park(ctx, state=ctx.annotations["first"] + ctx.annotations["second"]))


def test_functions_here_and_there_share_one_execution(store, caller):
    with hosted(store, [second]), caller() as engine:
        engine.register(first, third)
        engine.start(first, id="r")
        engine.run_until_idle()
        assert engine.get_state("r").annotation("state") == "herememory"
        assert len(engine.states().states) == 4  # the start, the commit of `second`, the last one, and the registration


@flow("data")
async def data(ctx: StateCtx, engine: FlowEngine) -> Command:
    if ctx.annotation("step") == "read":
        await engine.do(GetData(ctx, "blob"))
        return commit(park(ctx, state=ctx.data("blob").blob.hex()))
    ctx.set_data("blob", b"\x00\xff", binary=True)
    return commit(StoreData(ctx, "blob"), transit(ctx, "data", step="read"))


def test_functions_have_data_and_an_engine(store, caller):
    with hosted(store, [data]), caller() as engine:
        engine.start(remote_flow("data"), id="r")
        engine.run_until_idle()
        assert engine.get_state("r").annotation("state") == "00ff"


@flow("later")
def later(ctx: StateCtx) -> Command:
    return commit(park(ctx, state="late")) if ctx.delayed_until else commit(park(ctx), delay(ctx, "later", 0))


def test_a_delay_of_a_function_is_a_delay(store, caller):
    with hosted(store, [later]), caller() as engine:
        run = engine.start(remote_flow("later"), id="r")
        engine.run_until_idle()
        if run.info().to:  # it is rounded up to seconds
            assert run.info().due is not None
        with engine.worker():
            next(state for state in engine.watch(since=0) if state.transition.annotations.get("state") == "late")


@flow("fan")
def fan(ctx: StateCtx) -> Command:
    made = [transit(StateCtx(f"{ctx.id}/{n}"), "work") for n in range(3)]
    return commit(park(ctx), *made)


def test_a_command_may_make_other_states(store, caller):
    with hosted(store, [fan, work]), caller() as engine:
        engine.start(remote_flow("fan"), id="r")
        engine.run_until_idle()
        engine.run_until_idle()
        assert [engine.get_state(f"r/{n}").annotation("state") for n in range(3)] == ["done"] * 3


@flow("own.commits")
async def own_commits(ctx: StateCtx, engine: FlowEngine) -> Command:
    if ctx.annotation("step") == "two":
        await engine.do(commit(park(ctx, state="itself")))
        return Noop()
    await engine.do(commit(transit(ctx, "own.commits", step="one")))
    return commit(transit(ctx, "own.commits", step="two"))


def test_a_function_may_commit_its_state_itself(store, caller):
    with hosted(store, [own_commits]), caller() as engine:
        run = engine.start(remote_flow("own.commits"), id="r")
        engine.run_until_idle()
        assert engine.get_state("r").annotation("state") == "itself"
        steps = [s.transition.annotations.get("step", s.transition.to) for s in engine.states().states if s.id == "r"]
        assert steps == ["own.commits", "one", "two", ""]
        assert run.info().error is None


CALLS = Counter[str]()


@flow("fails", retry=RetryPolicy(max_attempts=2, delay=0))
def fails(ctx: StateCtx) -> Command:
    CALLS["fails"] += 1
    raise ValueError(f"attempt {CALLS['fails']}")


@flow("fails.once", retry=RetryPolicy(max_attempts=5, delay=0, on=OSError))
def fails_once(ctx: StateCtx) -> Command:
    CALLS["once"] += 1
    raise ValueError("not one of them")


def test_what_a_function_raises_is_retried_by_its_policy_and_stored_as_its_error(store, caller):
    CALLS.clear()
    with hosted(store, [fails]), caller() as engine:
        run = engine.start(remote_flow("fails"), id="r")
        engine.run_until_idle()
        info = run.info()
        assert (str(info.status), info.error.type, info.error.message) == ("failed", "ValueError", "attempt 2")
        assert "in fails" in info.error.traceback


def test_an_error_that_the_policy_does_not_retry_ends_the_run(store, caller):
    CALLS.clear()
    with hosted(store, [fails_once]), caller() as engine:
        run = engine.start(remote_flow("fails.once"), id="r")
        engine.run_until_idle()
        assert (str(run.status()), CALLS["once"]) == ("failed", 1)


def test_a_caller_s_execution_raises_what_the_function_raised(store, caller):
    CALLS.clear()
    with hosted(store, [fails]) as host, caller() as engine:
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "fails")))
        with pytest.raises(RemoteFailed, match="ValueError: attempt 1") as raised:
            engine.execute(ctx)
        assert (raised.value.host, raised.value.type, raised.value.retried) == (host.url, "ValueError", True)
        assert engine.get_state("s").transition.to == "fails"


@flow("nothing", retry=RetryPolicy(max_attempts=2, delay=0))
def nothing(ctx: StateCtx) -> Command:
    return None  # type: ignore[return-value]


def test_a_function_that_returns_no_command_fails(store, caller):
    with hosted(store, [nothing]), caller() as engine:
        run = engine.start(remote_flow("nothing"), id="r")
        engine.run_until_idle()
        assert "must return a command" in run.info().error.message


@flow("in.mem", retry=AT_ONCE)
def in_memory(ctx: StateCtx) -> Command:
    return park(ctx, state="kept")


def test_a_move_in_memory_is_committed_by_the_caller(store, caller):
    with hosted(store, [in_memory]), caller() as engine:
        engine.start(remote_flow("in.mem"), id="r")
        engine.run_until_idle()
        assert engine.get_state("r").annotation("state") == "kept"


def test_calls_go_to_the_hosts_in_turn(store, caller):
    with hosted(store, [work]) as one, hosted(store, [work]) as other, caller(concurrency=1) as engine:
        for number in range(20):
            engine.start(WORK, id=f"r{number}")
        engine.run_until_idle()
        assert (len(one.asked), len(other.asked)) == (10, 10)


def test_a_host_that_cannot_be_reached_costs_no_attempt(store, caller):
    with hosted(store, [work]) as good, hosted(store, [work], listens=False), caller(concurrency=1) as engine:
        runs = [engine.start(WORK, id=f"r{number}") for number in range(5)]
        engine.run_until_idle()
        assert len(good.asked) == 5
        assert [TRIED in engine.get_state(run.id).transition.annotations for run in runs] == [False] * 5
        assert [engine.get_state(run.id).annotation("state") for run in runs] == ["done"] * 5


def test_a_host_that_leaves_is_called_no_more_and_its_runs_wait(store, caller):
    with caller() as engine:
        with hosted(store, [work]):
            engine.start(WORK, id="r1")
            engine.run_until_idle()
            (registered,) = engine.runs(flow="stepflow.host")
            assert str(registered.status) == "running"
        assert str(engine.get(registered.id).status()) == "completed"
        run = engine.start(WORK, id="r2")
        engine.run_until_idle()
        assert str(run.status()) == "queued"
        assert "no worker has taken it" in run.explain()
        with hosted(store, [work]):
            engine.run_until_idle()
            assert engine.get_state("r2").annotation("state") == "done"


def test_a_worker_hears_of_a_new_host(store, caller):
    with caller() as engine, engine.worker():
        engine.start(WORK, id="r")
        with hosted(store, [work]):
            next(state for state in engine.watch({"seen": "yes"}, since=0))
        assert engine.health().ok
        assert "remote flows" in [task.name for task in engine.health().tasks]


def test_one_worker_of_a_namespace_does_not_see_the_hosts_of_another(store):
    remote = RemoteHosts(secret=SECRET)
    with hosted(store, [work], namespace="a") as host, Engine(store, namespace="b", remote=remote) as engine:
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        assert (str(run.status()), host.asked) == ("queued", [])
