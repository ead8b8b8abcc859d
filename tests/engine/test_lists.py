"""Lists by several statuses, of open and of ended runs, and counts by label."""

from __future__ import annotations

import pytest

from stepflow import Engine, MemoryDriver, Status, StepflowError, named
from stepflow.testing import VirtualClock
from tests.engine.flows import Flaky, Order, chain


@pytest.fixture
def full(engine):
    """One run of each: completed, failed, cancelled, waiting, queued; the first two belong to tenant a."""
    good, bad = chain("good", "a"), named("bad", Order).do("x", Flaky(9)).compile()
    waits = named("waits", Order).wait_event("w", "e", int, lambda order, n: None).compile()
    engine.register(good, bad, waits)
    engine.start(good, Order(), id="completed", labels={"tenant": "a"})
    engine.start(bad, Order(), id="failed", labels={"tenant": "a", "x": "y"})
    engine.start(waits, Order(), id="waiting", labels={"tenant": "b"})
    engine.start(good, Order(), id="cancelled").cancel()
    engine.run_until_idle()
    engine.start(good, Order(), id="queued")
    return engine


def ids(runs):
    return sorted(run.id for run in runs)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"status": "failed"}, ["failed"]),
        ({"status": ["failed", Status.CANCELLED]}, ["cancelled", "failed"]),
        ({"status": {"queued", "waiting"}}, ["queued", "waiting"]),
        ({"status": []}, []),
        ({"open": True}, ["queued", "waiting"]),
        ({"open": False}, ["cancelled", "completed", "failed"]),
        ({"open": True, "status": ["failed", "waiting"]}, ["waiting"]),
        ({"open": False, "flow": "good"}, ["cancelled", "completed"]),
        ({"open": False, "labels": {"tenant": "a"}}, ["completed", "failed"]),
    ],
)
def test_runs_of_several_statuses(full, asked, found):
    assert ids(full.runs(**asked)) == found


def test_they_come_newest_first_in_pages(clock):
    with Engine(MemoryDriver(), clock=clock) as engine:
        flow = chain("good", "a")
        engine.register(flow)
        for number in range(20):
            run = engine.start(flow, Order(), id=f"{number:02}")
            clock.advance(1)
            if number % 3 == 0:
                run.cancel()
        every = [run.id for run in engine.runs(limit=100)]
        pages, after = [], None
        while page := engine.runs(status=["queued", "cancelled"], limit=3, after=after):
            pages += [run.id for run in page]
            after = page[-1].id
        assert pages == every


def test_a_wrong_status_is_refused(full):
    for wrong in ("done", ["failed", "done"], 3, [None]):
        with pytest.raises(StepflowError, match="the statuses are"):
            full.runs(status=wrong)
    with pytest.raises(StepflowError, match="open='yes'"):
        full.runs(open="yes")


def test_tally_by_label(full):
    assert full.tally(labels={"tenant": "a"}) == {"good": {"completed": 1}, "bad": {"failed": 1}}
    assert full.tally(labels={"tenant": "a", "x": "y"}) == {"bad": {"failed": 1}}
    assert full.tally(labels={"tenant": "none"}) == {}
    assert full.tally(labels={}) == full.tally()
    assert full.tally()["waits"] == {"waiting": 1}


def test_tally_by_label_counts_beyond_a_page():
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        flow = chain("good", "a")
        engine.start_many(flow, [(None, Order())] * 1_234, labels={"tenant": "a"})
        engine.start_many(flow, [(None, Order())] * 10)
        assert engine.tally(labels={"tenant": "a"}) == {"good": {"queued": 1_234}}
