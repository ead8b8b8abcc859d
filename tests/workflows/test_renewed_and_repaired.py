"""Workflows that have begun anew, or were rewound, and are repaired then: what they keep of the time before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import Context, Engine, RunFailed, StepflowError, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock

BROKEN: set[str] = set()


def work(what: str) -> str:
    if what in BROKEN:
        raise ValueError(f"{what} is broken")
    return what


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    BROKEN.clear()
    with Engine(store, clock=clock) as engine:
        yield engine


@pytest.mark.parametrize("ended", [False, True])
def test_a_revision_of_a_pass_whose_journal_was_dropped_is_refused(engine: Engine, ended: bool) -> None:
    @workflow("passes")
    def passes(wf: Context, n: int) -> list[Any]:
        first = wf.execute("a", work, f"pass {n}")
        wf.wait_for_event("e", "go", int)
        if n < 2:
            return wf.continue_as_new(n + 1)
        return [n, first]

    engine.register(passes)
    run = engine.start(passes, 0, id="r")
    for _pass in range(3 if ended else 2):
        engine.run_until_idle()
        run.publish("go", 1)
    engine.run_until_idle()
    waits = [entry.rev for entry in run.history() if entry.position]
    for call in (run.fork, run.rewind):
        for rev in waits[:1]:
            with pytest.raises(StepflowError, match=r"before wf.continue_as_new, which dropped what was recorded then"):
                call(rev=rev)
    begins = [entry.rev for entry in run.history() if not entry.position and not entry.status]
    other = run.fork(rev=begins[0], id="f")
    engine.run_until_idle()
    for _pass in range(3):
        other.publish("go", 1)
        engine.run_until_idle()
    assert other.result() == [2, "pass 2"]


def test_a_redrive_takes_no_message_of_a_topic_again(engine: Engine) -> None:
    @workflow("reads")
    def reads(wf: Context, taken: list[str]) -> list[str]:
        taken = [*taken, wf.wait_for_topic("t", "news", str)]
        wf.execute("work", work, taken[-1])
        if len(taken) < 3:
            return wf.continue_as_new(taken)
        return taken

    engine.register(reads)
    run = engine.start(reads, [], id="r")
    BROKEN.add("b")
    engine.publish_topic("news", "a")
    engine.run_until_idle()
    BROKEN.add("fails before it reads")
    engine.publish_topic("news", "b")
    engine.run_until_idle()
    with pytest.raises(RunFailed):
        run.result()
    BROKEN.clear()
    run.redrive()
    engine.run_until_idle()
    engine.publish_topic("news", "c")
    engine.run_until_idle()
    assert run.result() == ["a", "b", "c"]


def test_children_that_a_rewound_workflow_starts_after_a_redrive_are_new(engine: Engine, clock: VirtualClock) -> None:
    @workflow("kid")
    def kid(wf: Context) -> str:
        return wf.wait_for_event("e", "go", str)

    @workflow("starts")
    def starts(wf: Context) -> str:
        wf.execute("work", work, "work")
        return wf.result("r", wf.start_child("k", kid))

    engine.register(kid, starts)
    run = engine.start(starts, id="p")
    engine.run_until_idle()
    BROKEN.add("work")
    clock.advance(60)
    run.rewind(step="work")
    engine.run_until_idle()
    assert (run.status(), engine.get("p/k").status()) == ("failed", "cancelled")
    BROKEN.clear()
    clock.advance(60)
    run.redrive()
    engine.run_until_idle()
    (open_one,) = engine.runs(parent="p", open=True)
    assert open_one.id != "p/k"
    engine.get(open_one.id).publish("go", "done")
    engine.run_until_idle()
    assert run.result() == "done"
