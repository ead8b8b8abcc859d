"""Bulk verbs: by ids and by filter, with a dry run first; what moves meanwhile is changed as it is then, or left alone."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import (
    Affected,
    Cancelled,
    Context,
    Engine,
    MemoryDriver,
    RunFilter,
    StepflowError,
    Unavailable,
    UnknownState,
    named,
    workflow,
)
from stepflow.drivers.memory.session import MemoryStore
from stepflow.engine.client import bulk
from tests.engine.flows import Flaky, Order, chain, held_run

GOOD = chain("good", "a")
WAITS = named("waits", Order).wait_event("w", "go", int, lambda order, n: None).compile()
POLLS = (
    named("polls", Order)
    .do("first", lambda: None)
    .wait_for("p", lambda order: len(order.log) > 3, every=3600)
    .compile()
)


def statuses(engine):
    return {run.id: str(run.status) for run in engine.runs(limit=1000)}


@pytest.fixture
def flaky():
    return Flaky(2)


@pytest.fixture
def full(engine, flaky):
    """Two failed runs, two that wait for an event, one that polls, one completed, one queued."""
    bad = named("bad", Order).do("x", flaky).compile()
    engine.register(GOOD, WAITS, POLLS, bad)
    for flow, run_id in ((bad, "f1"), (bad, "f2"), (WAITS, "w1"), (WAITS, "w2"), (POLLS, "p"), (GOOD, "c")):
        engine.start(flow, Order(), id=run_id, labels={"of": run_id[0]})
    engine.run_until_idle()
    engine.start(GOOD, Order(), id="q", labels={"of": "q"})
    return engine


def test_a_filter_changes_nothing_until_it_is_told_to(full):
    before = statuses(full)
    for done in (
        full.cancel(RunFilter()),
        full.redrive(RunFilter()),
        full.wake(RunFilter()),
        full.publish(RunFilter(), "go", 1),
    ):
        assert done.dry_run
        assert done.count == len(done.ids) > 0
    assert statuses(full) == before
    assert full.get("w1").info().unread == {}
    assert full.cancel(RunFilter(open=True)).ids == full.cancel(RunFilter()).ids == ["w2", "w1", "q", "p"]


def test_cancel(full):
    assert full.cancel(RunFilter(labels={"of": "w"}), dry_run=False) == Affected(2, ["w2", "w1"])
    assert full.cancel(RunFilter(labels={"of": "w"}), dry_run=False) == Affected(0, [])
    assert full.cancel(RunFilter(open=False), dry_run=False) == Affected(0, [])
    assert statuses(full)["w1"] == "cancelled"
    some = full.cancel(["q", "w1", "c", "nobody", "q"])
    assert (some.count, some.ids, some.dry_run) == (1, ["q"], False)
    assert some.skipped == {"w1": "it is cancelled", "c": "it is completed", "nobody": "there is no such run"}
    assert full.cancel("p").ids == ["p"]


def test_redrive_takes_failed_runs_alone_unless_they_are_named(full):
    assert full.redrive(RunFilter(error_type="Broken"), dry_run=False) == Affected(2, ["f2", "f1"])
    assert full.redrive(["p"]).count == 1
    assert full.redrive("c").skipped == {
        "c": "run 'c' is completed: only a failed, blocked or waiting run can be redriven"
    }
    full.run_until_idle()
    assert statuses(full)["f1"] == statuses(full)["f2"] == "completed"


def test_wake_takes_what_sleeps_polls_or_is_blocked(full, clock, store):
    now = clock.now()
    done = full.wake(RunFilter(), dry_run=False)
    assert done.ids == ["p"]
    assert sorted(done.skipped) == ["w1", "w2"]
    assert "waits for event 'go': publish it" in done.skipped["w1"]
    assert full.get("p").info().due.timestamp() * 1e6 == now
    full.run_until_idle()
    full.get("p").wake()
    assert full.get("p").status() == "queued"
    for run_id, said in (("c", "is completed"), ("f1", "is failed"), ("w1", "waits for event")):
        with pytest.raises(StepflowError, match=said):
            full.get(run_id).wake()
    changed = named("polls", Order).do("renamed", lambda: None).do("p", lambda: None).compile()
    with Engine(store, clock=clock) as other:
        other.register(changed)
        other.run_until_idle()
        assert other.get("p").status() == "blocked"
        assert other.wake(RunFilter(status="blocked"), dry_run=False).ids == ["p"]
        assert other.get("p").status() == "queued"


def test_pause_and_resume(full):
    assert full.pause(RunFilter(flow="waits")).ids == ["w2", "w1"]
    assert full.pause(RunFilter(flow="waits"), dry_run=False).count == 2
    assert {run.id for run in full.runs(RunFilter(status="paused"))} == {"w1", "w2"}
    full.publish(RunFilter(flow="waits"), "go", 1, dry_run=False)
    full.run_until_idle()
    assert statuses(full)["w1"] == "paused"
    assert full.resume(["w1", "c"]).skipped == {"c": "it is completed"}
    assert full.resume(RunFilter(), dry_run=False).ids == ["w2"]
    full.run_until_idle()
    assert statuses(full)["w1"] == statuses(full)["w2"] == "completed"


def test_what_is_done_to_a_paused_run_leaves_it_paused(full):
    full.pause(["p", "w1"])
    assert full.redrive("w1").count == 1
    assert full.wake("p").count == 1
    assert full.move("p", POLLS, "start:polls").count == 1
    assert statuses(full)["p"] == statuses(full)["w1"] == "paused"
    full.resume(RunFilter(), dry_run=False)
    assert full.get("p").status() == "queued"


def test_publish(full):
    asked = RunFilter(flow="waits")
    assert full.publish(asked, "go", 1, id="once", dry_run=False).count == 2
    assert full.publish(asked, "go", 1, id="once", dry_run=False).count == 2
    assert full.get("w1").info().unread == {"go": 1}
    full.run_until_idle()
    assert statuses(full)["w1"] == statuses(full)["w2"] == "completed"
    assert full.publish(["w1", "f1"], "go", 1).skipped == {"w1": "it is completed"}
    assert full.publish(RunFilter(status=["failed", "completed"]), "go", 1).ids == ["f2", "f1"]
    assert full.publish(RunFilter(open=False), "go", 1).ids == []


def test_what_cannot_be_meant_is_refused(full):
    for wrong, said in (
        (3, "id of a run, several, or RunFilter"),
        ({"flow": "x"}, "id of a run, several, or RunFilter"),
        (None, "id of a run, several, or RunFilter"),
        ([3], "id=3"),
        ("", "id=''"),
    ):
        for verb in (full.cancel, full.redrive, full.wake, lambda runs: full.publish(runs, "go")):
            with pytest.raises(StepflowError, match=said):
                verb(wrong)
    with pytest.raises(StepflowError, match="dry_run='no'"):
        full.cancel("q", dry_run="no")
    with pytest.raises(StepflowError, match="give the event's name"):
        full.publish("q", "")
    with pytest.raises(StepflowError, match="stepflow's"):
        full.publish(RunFilter(), "stepflow.x")


def test_a_workflow_that_did_something_may_undo_it(engine):
    undone: list[str] = []

    @workflow("books")
    def books(wf: Context, name: str) -> None:
        wf.execute("book", print, name)
        try:
            wf.wait_for_event("ok", "ok", int)
        except Cancelled:
            undone.append(name)
            raise

    engine.register(books)
    engine.start(books, "a", id="a")
    engine.run_until_idle()
    engine.start(books, "b", id="b")
    assert engine.cancel(RunFilter(flow="books"), dry_run=False).count == 2
    engine.run_until_idle()
    assert undone == ["a"]
    assert statuses(engine) == {"a": "cancelled", "b": "cancelled"}


def test_runs_at_a_position_that_the_code_does_not_know_are_moved(engine, store, clock):
    engine.register(POLLS)
    engine.start_many(POLLS, [("a", Order()), ("b", Order())])
    engine.run_until_idle()
    changed = named("polls", Order).do("one", lambda: None).do("two", lambda order: order.log.append("two")).compile()
    with Engine(store, clock=clock) as other:
        other.register(changed)
        other.run_until_idle(advance=True)
        unknown = RunFilter(status="blocked", position="polls/first")
        assert other.move(unknown, changed, "completed:polls/one").ids == ["b", "a"]
        assert statuses(other) == {"a": "blocked", "b": "blocked"}
        assert other.move("a", changed, ["completed:polls/one"]).count == 1
        assert other.move(unknown, changed, "start:polls", dry_run=False).ids == ["b"]
        other.run_until_idle()
        assert statuses(other) == {"a": "completed", "b": "completed"}
        assert other.get(changed, "a").result().log == ["two"]
        assert "only an open run" in other.move("a", changed, "start:polls").skipped["a"]
        other.start(GOOD, Order(), id="g")
        assert "is of flow 'good'" in other.move("g", changed, "start:polls").skipped["g"]
        with pytest.raises(UnknownState, match="completed:polls/one"):
            other.move("a", changed, "completed:polls/ones")
        for flow, to, said in (
            ("polls", "start:polls", "give a compiled chain"),
            (changed, [], "give a position"),
            (changed, "completed:polls", "the end of flow"),
        ):
            with pytest.raises(StepflowError, match=said):
                other.move(RunFilter(), flow, to)
        with pytest.raises(StepflowError, match="leave it out"):
            other.move(RunFilter(flow="good"), changed, "start:polls")


def moved(monkeypatch, change):
    """Call `change` once, after a piece of runs was read and before it is committed."""
    left = [change]
    commit = bulk.Bulk.commit

    async def later(self: bulk.Bulk, commits: Any) -> list[Any]:
        if left:
            await left.pop()()
        return await commit(self, commits)

    monkeypatch.setattr(bulk.Bulk, "commit", later)


def test_a_run_that_moves_meanwhile_is_changed_if_it_is_still_meant(engine, monkeypatch):
    engine.register(WAITS, POLLS)
    for run_id in ("a", "b", "c"):
        engine.start(WAITS, Order(), id=run_id)
    engine.run_until_idle()
    inner = engine._engine

    async def change():
        await inner.get("a").cancel()
        await inner.get("b").redrive()  # another revision; it is queued now
        await inner.publish("c", "else", 1)

    moved(monkeypatch, change)
    done = engine.cancel(RunFilter(status=["waiting", "sleeping"]), dry_run=False)
    assert done == Affected(1, ["c"], {"a": "it changed meanwhile", "b": "it changed meanwhile"})
    assert statuses(engine) == {"a": "cancelled", "b": "queued", "c": "cancelled"}


def test_many_runs_go_in_pieces_and_an_interrupted_call_can_be_repeated(clock, monkeypatch):
    with Engine(MemoryDriver(), clock=clock) as engine:
        engine.start_many(WAITS, [(f"r{n:03}", Order()) for n in range(230)])
        counts: list[int] = []
        commit, calls = MemoryStore.commit, [0]

        def failing(self, batch, now):
            calls[0] += 1
            if calls[0] == 120:
                raise Unavailable("the disk is gone")
            return commit(self, batch, now)

        monkeypatch.setattr(MemoryStore, "commit", failing)
        with pytest.raises(Unavailable) as raised:
            engine.cancel(RunFilter(), dry_run=False, report=counts.append)
        assert raised.value.__notes__ == ["60 runs were changed before this; repeat the call for the others"]
        assert counts == [20, 60]
        done = engine.cancel(RunFilter(), dry_run=False, report=counts.append)
        assert counts[-1] == done.count == 230 - 119
        assert engine.tally() == {"waits": {"cancelled": 230}}


def test_a_verb_on_a_loop_of_its_own(store):
    with Engine(store) as engine:
        engine.register(WAITS, GOOD)
        engine.start_many(WAITS, [(None, Order())] * 120)
        with engine.worker():
            last = engine.start(GOOD, Order())
            assert engine.cancel(RunFilter(flow="waits"), dry_run=False).count == 120
            last.result(timeout=60)
        engine.run_until_idle()  # a worker that stops gives runs back before it has ended those that were cancelled meanwhile
        assert engine.tally()["waits"] == {"cancelled": 120}


def test_a_run_that_a_worker_holds_is_cancelled_by_it(store):
    with Engine(store) as engine:
        with held_run(engine) as run:
            assert engine.cancel(RunFilter(status="running"), dry_run=False).ids == ["held"]
            assert run.info().cancel_requested
        with pytest.raises(StepflowError, match="cancelled"):
            run.result(timeout=60)


def test_runs_of_a_known_flow_take_no_payload_of_another_type(full, store):
    dry = full.publish(RunFilter(flow="waits"), "go", "fast")
    assert (dry.count, set(dry.skipped)) == (0, {"w1", "w2"})
    why = full.publish(["w1", "p"], "go", "fast", id="once").skipped
    assert set(why) == {"w1"}  # flow `polls` waits for no event, perhaps a newer definition does
    assert "cannot take it: the payload does not fit int: expected int, found 'fast'" in why["w1"]
    assert full.get("w1").info().unread == {}
    assert full.publish(RunFilter(flow="waits"), "other", "x", dry_run=False).count == 2
    with Engine(store) as unknowing:
        assert "give a whole number" in unknowing.publish("w1", "go", "fast").skipped["w1"]  # its wait tells the type
