"""Fork and rewind: a run goes on from an earlier revision, or before a step, as a new run or in place."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    Context,
    Engine,
    NotFound,
    RunExists,
    StateCtx,
    Status,
    StepflowError,
    Steps,
    commit,
    flow,
    named,
    park,
    transit,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.engine.commit.canceller import Canceller
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, note

DID: list[str] = []


@pytest.fixture
def engine(engine: Engine) -> Engine:
    DID.clear()
    engine.register(CHAIN, work, parent, child)
    return engine


def take(order: Order, payload: str) -> None:
    order.log.append(payload)


CHAIN = (
    named("chain", Order)
    .do("a", note("a"))
    .steps("inner", Steps(Order).do("b", note("b")))
    .wait_event("w", "go", str, take, timeout=100)
    .do("c", note("c"))
    .compile()
)


def did(what: str) -> str:
    DID.append(what)
    return what


@workflow("work")
def work(wf: Context, name: str) -> list[str]:
    out = [wf.execute("a", did, f"{name} a"), str(wf.random_uint64("r"))]
    out.append(wf.execute("b", did, f"{name} b"))
    wf.sleep("s", timedelta(seconds=50))
    out.append(wf.wait_for_event("e", "go", str))
    out.append(wf.execute("c", did, f"{name} c"))
    return out


@workflow("child")
def child(wf: Context, name: str) -> str:
    got = wf.wait_for_event("e", "go", str) if name.startswith("slow") else name
    return str(wf.execute("x", did, f"child {got}"))


@workflow("parent")
def parent(wf: Context, name: str) -> list[str]:
    wf.execute("before", did, "before")
    quick = wf.start_child("quick", child, name)
    slow = wf.start_child("slow", child, f"slow {name}")
    wf.execute("after", did, "after")
    return [wf.result("q", quick), wf.result("z", slow)]


def waiting(engine: Engine, run: Any) -> Any:
    engine.run_until_idle(advance=True, until=timedelta(seconds=60))
    assert run.status() is Status.WAITING
    return run


@pytest.mark.parametrize("step", ["b", "inner/b", "chain/inner/b", "inner"])
def test_a_chain_is_forked_and_rewound_before_a_step(engine: Engine, step: str) -> None:
    run = engine.start(CHAIN, Order(), id="r", labels={"k": "v"})
    engine.run_until_idle()
    run.publish("go", "1")
    engine.run_until_idle()
    assert run.result().log == ["a", "b", "1", "c"]
    other = run.fork(step=step, id="f")
    assert (other.id, other.exchange().log, other.info().labels) == ("f", ["a"], {"k": "v"})
    engine.run_until_idle()
    assert (other.exchange().log, other.status()) == (["a", "b"], Status.WAITING)
    other.publish("go", "2")
    engine.run_until_idle()
    assert other.result().log == ["a", "b", "2", "c"]
    assert run.result().log == ["a", "b", "1", "c"]
    before = run.info().rev
    run.rewind(step=step)
    assert run.info().rev > before
    assert [entry.rev for entry in run.history()][-2:] == [before, run.info().rev]
    engine.run_until_idle()
    assert (run.exchange().log, run.status()) == (["a", "b"], Status.WAITING)
    assert engine.tally()["chain"] == {"completed": 1, "waiting": 1}


def test_every_revision_of_a_chain_can_be_forked(engine: Engine, clock: VirtualClock) -> None:
    run = engine.start(CHAIN, Order(), id="r")
    engine.run_until_idle()
    clock.advance(99)
    run.publish("go", "1")
    engine.run_until_idle()
    *open_ones, last = run.history()
    clock.advance(99)  # the wait of a fork begins anew
    for entry in open_ones:
        other = run.fork(rev=entry.rev)
        assert other.exchange() == Order(**entry.exchange)
        engine.run_until_idle()
        if other.status() is Status.WAITING:
            other.publish("go", "2")
            engine.run_until_idle()
        assert other.result().log[:2] == ["a", "b"]
        assert other.result().log[3] == "c"
    with pytest.raises(StepflowError, match="is the end of run 'r'"):
        run.fork(rev=last.rev)
    again = run.fork(rev=open_ones[0].rev, input=Order(log=["given"]))
    engine.run_until_idle()
    assert again.exchange().log == ["given", "a", "b"]


def test_a_failed_chain_is_forked_at_its_failure(engine: Engine) -> None:
    def pay(order: Order) -> None:
        order.log.append("pay")
        if order.amount > 1:
            raise ValueError("too much")

    paying = named("paying", Order).do("a", note("a")).do("pay", pay).compile()
    engine.register(paying)
    run = engine.start(paying, Order(amount=5), id="r")
    engine.run_until_idle()
    other = run.fork(step="pay", input=Order(amount=1))
    same = run.fork(rev=run.info().rev)
    engine.run_until_idle()
    assert (other.result().log, same.status(), run.status()) == (["pay"], Status.FAILED, Status.FAILED)


def test_a_workflow_goes_on_from_the_calls_that_it_had_made(
    engine: Engine, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    run = waiting(engine, engine.start(work, "w", id="r"))
    asleep, awaiting = run.history()[1], run.history()[-1]
    run.publish("go", "1")
    engine.run_until_idle()
    first = run.result()
    assert DID == ["w a", "w b", "w c"]
    caplog.set_level(logging.WARNING, "stepflow")
    forks = {
        "b": (run.fork(step="b"), True),
        "c": (run.fork(step="c"), True),
        "start": (run.fork(rev=run.history()[0].rev, input="v"), False),
        "asleep": (run.fork(rev=asleep.rev), True),
        "awaiting": (run.fork(rev=awaiting.rev), True),
    }
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 4
    assert warned[0] == f"run {forks['b'][0].id} goes on with the random values and times of run r: 'r'"
    DID.clear()
    for name, (fork, same) in forks.items():
        engine.run_until_idle(advance=True, until=timedelta(seconds=120))
        if fork.status() is Status.WAITING:
            fork.publish("go", "2")
            engine.run_until_idle()
        assert fork.status() is Status.COMPLETED, (name, fork.explain())
        assert (fork.result()[1] == first[1]) is same, name
        assert fork.result()[3] == ("1" if name == "c" else "2"), name
    assert sorted(DID) == ["v a", "v b", "v c", "w b", "w c", "w c", "w c", "w c"]
    DID.clear()
    run.rewind(step="b")
    waiting(engine, run)
    assert DID == ["w b"]
    run.publish("go", "3")
    engine.run_until_idle()
    assert run.result() == [first[0], first[1], "w b", "3", "w c"]


def test_a_fork_refers_to_children_that_have_ended_and_starts_open_ones_anew(engine: Engine) -> None:
    run = waiting(engine, engine.start(parent, "p", id="r"))
    assert sorted(DID) == ["after", "before", "child p"]
    DID.clear()
    fork = run.fork(step="q", id="f")
    engine.run_until_idle()
    assert (fork.status(), DID) == (Status.WAITING, [])
    assert [one.id for one in engine.runs(parent="f")] == ["f/slow"]
    engine.get("f/slow").publish("go", "1")
    engine.run_until_idle()
    assert fork.result() == ["child p", "child 1"]
    assert run.status() is Status.WAITING


def test_a_rewind_cancels_children_that_were_started_later_and_starts_others(engine: Engine) -> None:
    run = waiting(engine, engine.start(parent, "p", id="r"))
    rev = run.info().rev
    DID.clear()
    run.rewind(step="slow")
    assert engine.get("r/slow").info().cancel_requested
    waiting(engine, run)
    assert DID == ["after"]
    again = f"r/~{rev}/slow"
    assert {one.id: one.status for one in engine.runs(parent="r")} == {
        again: Status.WAITING,
        "r/slow": Status.CANCELLED,
        "r/quick": Status.COMPLETED,
    }
    engine.get(again).publish("go", "1")
    engine.run_until_idle()
    assert run.result() == ["child p", "child 1"]


def test_flow_functions_go_back_to_a_function(engine: Engine) -> None:
    @flow("first")
    def first(ctx: StateCtx) -> Any:
        DID.append("first")
        return commit(transit(ctx, "second"))

    @flow("second")
    def second(ctx: StateCtx) -> Any:
        DID.append("second")
        return commit(park(ctx))

    engine.register(first, second)
    run = engine.start(first, id="s")
    engine.run_until_idle()
    assert run.status() is Status.PARKED
    other = run.fork(step="second")
    engine.run_until_idle()
    assert (other.status(), DID) == (Status.PARKED, ["first", "second", "second"])
    run.rewind(rev=run.history()[0].rev)
    engine.run_until_idle()
    assert DID[3:] == ["first", "second"]
    with pytest.raises(StepflowError, match="was parked"):
        run.fork(rev=run.info().rev)


def test_a_held_run_is_not_rewound_and_a_paused_one_stays_paused(
    store: Driver, clock: VirtualClock, engine: Engine
) -> None:
    def step(order: Order) -> None:
        if not DID:
            DID.append("held")
            with pytest.raises(StepflowError, match="is held by a worker: pause it"):
                other.get("r").rewind(step="s")
            other.get("r").pause()

    held = named("held", Order).do("a", note("a")).do("s", step).do("t", note("t")).compile()
    with Engine(store, clock=clock) as other:
        other.register(held)
        engine.register(held)
        run = engine.start(held, Order(), id="r")
        engine.run_until_idle()
        assert run.status() is Status.PAUSED
        run.rewind(step="a")
        assert (run.status(), run.exchange().log) == (Status.PAUSED, [])
        run.resume()
        engine.run_until_idle()
        assert run.result().log == ["a", "t"]


@pytest.mark.parametrize("step", ["w", "wWaitEvent", "chain/w"])
def test_a_wait_is_called_by_the_name_that_it_has_in_the_chain(engine: Engine, step: str) -> None:
    run = engine.start(CHAIN, Order(), id="r")
    engine.run_until_idle()
    run.publish("go", "1")
    engine.run_until_idle()
    other = run.fork(step=step, id="f")
    engine.run_until_idle()
    assert (other.exchange().log, other.info().waiting_for) == (["a", "b"], "event:go")
    run.rewind(step=step)
    engine.run_until_idle()
    assert (run.exchange().log, run.info().waiting_for) == (["a", "b"], "event:go")


def test_wrong_places_are_refused(engine: Engine) -> None:
    run = engine.start(CHAIN, Order(), id="r")
    flowing = waiting(engine, engine.start(work, "w", id="w"))
    for wrong in ({}, {"rev": 1, "step": "a"}):
        with pytest.raises(StepflowError, match=r"give rev=, a revision of its history, or step="):
            run.fork(**wrong)
    for call in (run.fork, run.rewind):
        with pytest.raises(NotFound, match="has no revision 999"):
            call(rev=999)
        with pytest.raises(NotFound, match="chain 'chain' has no step 'zzz'"):
            call(step="zzz")
        with pytest.raises(NotFound, match="missing"):
            getattr(engine.get("missing"), call.__name__)(rev=1)
    with pytest.raises(NotFound, match="has recorded no call 'zzz'"):
        flowing.fork(step="zzz")
    with pytest.raises(RunExists, match="'w' exists"):
        run.fork(step="a", id="w")
    assert [entry.status for entry in run.history()] == [""] * len(run.history())


@workflow("renewing")
def renewing(wf: Context, n: int) -> str:
    if n:
        wf.start_child(f"of {n}", child, "slow")
        wf.continue_as_new(n - 1)
    wf.execute("mark", did, "mark")
    late = wf.start_child("late", child, "slow")
    return wf.result("end", late)


def test_a_run_that_is_rewound_twice_before_it_goes_on_leaves_no_child_behind(engine: Engine) -> None:
    engine.register(renewing)
    run = waiting(engine, engine.start(renewing, 1, id="r"))
    first = run.info().rev
    run.rewind(step="mark")
    waiting(engine, run)
    run.pause()
    second = run.info().rev
    run.rewind(step="late")
    run.rewind(step="mark")
    run.resume()
    last = run.info().rev
    waiting(engine, run)
    statuses = {one.id: one.status for one in engine.runs(parent="r")}
    kept = [one for one, status in statuses.items() if status is Status.WAITING]
    assert len(kept) == 2
    assert "r/of 1" in kept
    assert statuses["r/late"] is statuses[f"r/~{first}/late"] is Status.CANCELLED
    assert last > second
    run.cancel()
    engine.run_until_idle()
    assert {one.status for one in engine.runs(parent="r")} == {Status.CANCELLED}


def test_a_run_that_is_rewound_and_cancelled_before_it_goes_on_leaves_no_child_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the process that rewound it died before it cancelled them."""
    engine.register(renewing)
    run = waiting(engine, engine.start(renewing, 0, id="r"))

    async def died(*_args: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Canceller, "cancel_open", died)
        with pytest.raises(SystemExit):
            run.rewind(step="mark")
    assert engine.get("r/late").status() is Status.WAITING
    run.cancel()
    engine.run_until_idle()
    assert (run.status(), engine.get("r/late").status()) == (Status.CANCELLED, Status.CANCELLED)
