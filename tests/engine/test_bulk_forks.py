"""Forks and rewinds of many runs: with a dry run that looks for the step in each, and calls that can be repeated."""

from __future__ import annotations

from collections import Counter

import pytest

from stepflow import Context, Engine, RunFilter, StepflowError, named, workflow
from tests.engine.flows import Flaky, Order, chain, held_run

GOOD = chain("good", "a")
WAITS = named("waits", Order).wait_event("w", "go", int, lambda order, n: None).compile()


def statuses(engine):
    return {run.id: str(run.status) for run in engine.runs(limit=1000)}


@pytest.fixture
def full(engine):
    """Two failed runs, whose step succeeds from now on, one that waits, one completed."""
    bad = named("bad", Order).do("x", Flaky(2)).compile()
    engine.register(GOOD, WAITS, bad)
    for flow, run_id in ((bad, "f1"), (bad, "f2"), (WAITS, "w"), (GOOD, "c")):
        engine.start(flow, Order(), id=run_id, labels={"of": run_id[0]})
    engine.run_until_idle()
    return engine


def test_rewind(full):
    dry = full.rewind(RunFilter(), "x")
    assert (sorted(dry.ids), dry.dry_run) == (["f1", "f2"], True)
    assert set(dry.skipped) == {"w", "c"}
    assert all("has no step 'x'" in why for why in dry.skipped.values())
    assert statuses(full)["f1"] == "failed"
    assert sorted(full.rewind(RunFilter(status="failed"), "x", dry_run=False).ids) == ["f1", "f2"]
    assert statuses(full)["f1"] == "queued"
    full.run_until_idle()
    assert full.tally()["bad"] == {"completed": 2}  # the step fails twice
    ended = full.rewind(["c", "gone"], "good/a")
    assert (ended.ids, ended.skipped) == (["c"], {"gone": "there is no such run"})


def test_fork_and_a_fork_that_is_repeated(full):
    dry = full.fork(RunFilter(flow="bad"), "x", suffix="/b")
    assert (dry.ids, dry.dry_run) == (["f2", "f1"], True)
    assert len(statuses(full)) == 4
    assert full.fork("f1", "x", suffix="/b").ids == ["f1"]
    dry = full.fork(RunFilter(flow="bad"), "x", suffix="/b")  # tells what the call would do now
    counts: list[int] = []
    done = full.fork(RunFilter(flow="bad"), "x", suffix="/b", dry_run=False, report=counts.append)
    assert (done.ids, counts[-1]) == (["f2"], 1)
    assert (dry.ids, dry.skipped) == (done.ids, done.skipped)
    assert done.skipped["f1"].startswith("run 'f1/b' exists")
    assert done.skipped["f1/b"].startswith("its id ends with the suffix '/b'")
    assert statuses(full)["f1"] == "failed"
    full.run_until_idle()
    assert full.tally()["bad"] == {"completed": 2, "failed": 2}
    assert full.get("f1/b").info().labels == {"of": "f"}


def test_many_forks_of_workflows_take_their_journals_along(engine):
    calls: list[int] = []

    def first(number: int) -> int:
        calls.append(number)
        return number

    @workflow("w.v1")
    def doubled(wf: Context, number: int) -> int:
        return wf.execute("first", first, number) + wf.execute("second", lambda: number)

    engine.register(doubled)
    engine.start_many(doubled, [(f"w{number}", number) for number in range(3)])
    engine.run_until_idle()
    forked = engine.fork(["w2", "gone1", "w0", "gone0", "w1"], "second", suffix="-b", dry_run=False)
    assert (forked.ids, list(forked.skipped)) == (["w2", "w0", "w1"], ["gone1", "gone0"])  # in the order of the runs
    assert engine.fork(RunFilter(flow="w.v1"), "third", suffix="-c", dry_run=False).count == 0
    engine.run_until_idle()
    assert [engine.get(doubled, f"w{number}-b").result() for number in range(3)] == [0, 2, 4]
    assert sorted(calls) == [0, 1, 2]


def test_a_run_that_is_held_is_not_rewound(store):
    with Engine(store) as engine, held_run(engine):
        assert engine.rewind(RunFilter(flow="slow"), "s").ids == []
        assert "held by a worker: pause it" in engine.rewind("held", "s").skipped["held"]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda engine: engine.fork(RunFilter(), "x", suffix=""), "suffix=''"),
        (lambda engine: engine.fork(RunFilter(), 3, suffix="b"), "step=3"),
        (lambda engine: engine.rewind(RunFilter(), ""), "step=''"),
        (lambda engine: engine.rewind({"status": "failed"}, "x"), "give the id of a run, several, or RunFilter"),
    ],
)
def test_forks_and_rewinds_that_cannot_be_meant(engine, call, why):
    with pytest.raises(StepflowError, match=why):
        call(engine)


@pytest.mark.parametrize("verb", ["rewind", "fork"])
def test_a_dry_run_reads_many_runs_at_a_time(engine, monkeypatch, verb):
    bad = named("bad", Order).do("first", lambda: None).do("x", Flaky(1000)).compile()
    engine.register(bad, WAITS)
    engine.start_many(bad, [(f"f{number}", Order()) for number in range(150)])
    engine.start_many(WAITS, [(f"w{number}", Order()) for number in range(150)])
    engine.run_until_idle()
    store, asked = engine._engine._session.store, Counter[str]()
    read, load = store.read, store.load

    def counted_read(query):
        asked[type(query).__name__] += 1
        return read(query)

    def counted_load(ids):
        asked["load"] += 1
        return load(ids)

    monkeypatch.setattr(store, "read", counted_read)
    monkeypatch.setattr(store, "load", counted_load)
    more = {"suffix": "-b"} if verb == "fork" else {}
    assert getattr(engine, verb)(RunFilter(flow="bad"), "x", **more).count == 150
    assert asked["HistoriesQuery"] <= 6, "one question for many runs that ended"
    assert (asked["HistoryQuery"], asked.total() < 30) == (0, True)
    (position,) = engine.get("w0").info().position
    asked.clear()
    assert getattr(engine, verb)(RunFilter(flow="waits"), position, **more).count == 150
    assert (asked["HistoriesQuery"], asked["HistoryQuery"], asked.total() < 30) == (0, 0, True), (
        "a run that stands at the step needs none"
    )


@pytest.mark.parametrize("verb", ["rewind", "fork"])
def test_a_dry_run_finds_a_step_that_was_made_long_ago(engine, verb):
    builder = named("long", Order).do("first", lambda: None)
    for number in range(450):
        builder = builder.do(f"s{number}", lambda: None)
    long = builder.compile()
    engine.register(long, GOOD)
    engine.start_many(long, [(f"r{number}", Order()) for number in range(3)])
    engine.start(GOOD, Order(), id="other")
    engine.run_until_idle()
    more = {"suffix": "-b"} if verb == "fork" else {}
    for step in ("first", "s10", "s229", "s430", "s449"):
        found = getattr(engine, verb)(RunFilter(), step, **more)
        assert (found.count, list(found.skipped)) == (3, ["other"]), step
