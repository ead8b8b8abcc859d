"""Children: runs of any style that a workflow starts once, waits for without a slot, and cancels when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import (
    Context,
    Engine,
    RunCancelled,
    RunFailed,
    StateCtx,
    StepflowError,
    commit,
    transit,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.engine.client.explain import why
from stepflow.model.family import PARENT
from stepflow.testing import VirtualClock
from tests.workflows.family import (
    DID,
    FLOWS,
    aevery,
    ends,
    every,
    function,
    kid,
    statuses,
    undoing,
)


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    DID.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(*FLOWS)
        yield engine


@pytest.mark.parametrize("parent", [every, aevery], ids=lambda f: f.name)
def test_a_workflow_starts_children_once_and_gets_their_results_in_order(engine: Engine, parent: Any) -> None:
    run = engine.start(parent, 9, id="p")
    engine.run_until_idle()
    assert run.info().waiting_for == "event:stepflow.child:kid[8]"
    assert run.info().owner == ""
    assert engine.get("p/kid[8]").info().parent == "p"
    engine.run_until_idle(advance=True)
    failed = "run 'p/kid[3]' failed: ValueError: three"
    assert run.result() == [5, 0, 10, 20, failed, 40, 50, 60, 70, 80]
    assert {f"kid/{n}": 1 for n in range(9)} | {"add": 1} == DID
    assert engine.runs(parent="p", limit=3, status="failed")[0].id == "p/kid[3]"


def test_a_parent_tells_why_the_child_for_which_it_waits_does_not_move(store: Driver, clock: VirtualClock) -> None:
    @workflow("lonely")
    def lonely(wf: Context) -> None:
        wf.result("end", wf.start_child("kid", kid, 1))

    with Engine(store, clock=clock) as engine:
        engine.register(lonely)
        run = engine.start(lonely, id="p")
        engine.run_until_idle()
        assert why(run.info()) == "child p/kid"
        assert "waits for child p/kid" in [entry.text for entry in run.timeline()]
        with pytest.raises(
            StepflowError, match=r"run 'p' waits for child p/kid: explain\(\) tells why that does not come"
        ):
            run.wake()
        *_, child = run.explain().splitlines()
        assert child.startswith("child 'p/kid': it is due since ")
        assert f"; no worker has taken it: run `stepflow worker MODULE --store {store.url}`" in child
        engine.get("p/kid").pause()
        assert "child 'p/kid': it was paused, no worker takes it: stepflow resume 'p/kid'" in run.explain()
        engine.get("p/kid").cancel()
        assert "child 'p/kid'" not in run.explain()


def test_more_children_than_are_started_together(engine: Engine) -> None:
    run = engine.start(every, 250, id="p")
    engine.run_until_idle(advance=True)
    assert run.result()[1:4] == [0, 10, 20]
    assert run.result()[-1] == 2490
    assert max(DID.values()) == 1
    assert len(engine.runs(parent="p", limit=1000)) == 251


@pytest.mark.parametrize("how", ["returns", "fails", "waits", "renews"])
def test_children_are_cancelled_when_their_parent_ends_unless_they_are_left(engine: Engine, how: str) -> None:
    run = engine.start(ends, how, id="p")
    engine.run_until_idle()
    if how in ("waits", "renews"):
        assert statuses(engine, "p") == {"c": "waiting", "asleep": "sleeping", "waits": "waiting", "left": "sleeping"}
    if how == "renews":
        run.publish("e", "x")
        engine.run_until_idle()  # it starts the same children again, which are there
    if how == "waits":
        run.cancel()
        engine.run_until_idle()
    final = {"fails": "failed", "waits": "cancelled"}.get(how, "completed")
    assert run.status() == final
    assert statuses(engine, "p") == {"c": "cancelled", "asleep": "cancelled", "waits": "cancelled", "left": "sleeping"}
    assert DID["undone"] == DID["begun"]
    engine.run_until_idle(advance=True)
    assert engine.get(kid, "p/left").result() == 20


def test_a_run_that_began_anew_cancels_the_children_that_its_journal_does_not_name(engine: Engine) -> None:
    @workflow("endless")
    def endless(wf: Context, n: int) -> int:
        if n == 0:
            wf.start_child("c", undoing)
            wf.continue_as_new(1)
        wf.wait_for_event("e", "e", int)
        return n

    engine.register(endless)
    run = engine.start(endless, 0, id="p")
    engine.run_until_idle()
    assert statuses(engine, "p") == {"c": "waiting"}
    run.cancel()
    engine.run_until_idle()
    assert (run.status(), statuses(engine, "p"), DID["undone"]) == ("cancelled", {"c": "cancelled"}, 1)


def test_a_cancelled_grandparent_cancels_all_below(engine: Engine) -> None:
    @workflow("top")
    def top(wf: Context) -> int:
        return len(wf.result("r", wf.start_child("mid", ends, "waits")))

    engine.register(top)
    run = engine.start(top, id="t")
    engine.run_until_idle()
    assert "it waits for the end of its child 't/mid'\nchildren that are open: 't/mid' (waiting)" in run.explain()
    run.cancel()
    engine.run_until_idle()
    assert (run.status(), statuses(engine, "t")) == ("cancelled", {"mid": "cancelled"})
    assert statuses(engine, "t/mid") == {
        "c": "cancelled",
        "asleep": "cancelled",
        "waits": "cancelled",
        "left": "sleeping",
    }


def test_how_a_child_ended_is_raised_and_recorded(engine: Engine) -> None:
    seen: list[str] = []

    @workflow("asks")
    def asks(wf: Context) -> list[str]:
        found = []
        for n, child in enumerate([wf.start_child("bad", kid, 3), wf.start_child("gone", undoing)]):
            try:
                wf.result(f"r/{n}", child)
            except (RunFailed, RunCancelled) as error:
                found.append(f"{type(error).__name__}: {error}")
        wf.sleep("again", 1)
        seen.append(str(found))
        return found

    engine.register(asks)
    run = engine.start(asks, id="p")
    engine.run_until_idle()
    engine.get("p/gone").cancel()
    engine.run_until_idle(advance=True)
    wanted = ["RunFailed: run 'p/bad' failed: ValueError: three", "RunCancelled: run 'p/gone' was cancelled"]
    assert run.result() == wanted
    assert seen == [str(wanted)]


def test_a_failed_child_and_its_parent_can_be_redriven(engine: Engine) -> None:
    broken = [True]

    def step() -> int:
        if broken[0]:
            raise ValueError("broken")
        return 7

    @workflow("breaks")
    def breaks(wf: Context) -> int:
        return wf.execute("step", step)

    @workflow("asks")
    def asks(wf: Context) -> int:
        return wf.result("r", wf.start_child("c", breaks))

    engine.register(breaks, asks)
    run = engine.start(asks, id="p")
    engine.run_until_idle()
    assert run.info().error.message == "run 'p/c' failed: ValueError: broken [in step step]"  # type: ignore[union-attr]
    broken[0] = False
    engine.get("p/c").redrive()
    run.redrive()
    engine.run_until_idle()
    assert run.result() == 7


def test_a_child_that_is_redriven_before_its_parent_looks_is_waited_for(store: Driver, clock: VirtualClock) -> None:
    broken = [True]

    @workflow("breaks")
    def breaks(wf: Context) -> int:
        if broken[0]:
            raise ValueError("broken")
        wf.wait_for_event("e", "e", int)
        return 7

    @workflow("asks")
    def asks(wf: Context) -> int:
        child = wf.start_child("c", breaks)
        wf.wait_for_event("go", "go", int)
        return wf.result("r", child)

    with Engine(store, clock=clock) as engine:
        engine.register(breaks, asks)
        run = engine.start(asks, id="p")
        engine.run_until_idle()
        broken[0] = False
        engine.get("p/c").redrive()
        run.publish("go", 1)
        engine.run_until_idle()
        assert (run.status(), run.info().waiting_for) == ("waiting", "event:stepflow.child:c")
        engine.get("p/c").publish("e", 1)
        engine.run_until_idle()
        assert run.result() == 7


def test_a_flow_function_as_a_child_keeps_its_parent(engine: Engine) -> None:
    @workflow("asks")
    def asks(wf: Context) -> str:
        return wf.start_child("f", function, labels={"tenant": "a"}, on_parent_end="leave").id

    engine.register(asks)
    engine.start(asks, id="p")
    engine.run_until_idle()
    (child,) = engine.runs(parent="p")
    assert (child.id, child.labels) == ("p/f", {"tenant": "a", "seen": "1"})
    with pytest.raises(StepflowError, match=r"names that begin with 'stepflow\.' are given by stepflow"):
        engine.start(kid, 1, labels={PARENT: "p"})
    for state in (StateCtx("new"), engine.get_state("p/f")):
        state.labels[PARENT] = "other"
        with pytest.raises(StepflowError, match=r"given by stepflow"):
            engine.do(commit(transit(state, "function")))
    with pytest.raises(StepflowError, match=r"publish\('stepflow.child:f'\): names that begin"):
        engine.get("p/f").publish("stepflow.child:f", 1)
