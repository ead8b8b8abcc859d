"""RunFilter and pages: every condition, every order, cursors that are passed on, and lists while runs change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import Engine, MemoryDriver, Page, RetryPolicy, RunFilter, StepflowError, Steps, TooLarge, named
from stepflow.engine.client import finder
from stepflow.testing import VirtualClock
from tests.engine.flows import Flaky, Order, chain, note

ORDERS = ("created", "id", "updated", "due")


def every(engine, filter=None, **options):  # noqa: A002
    """The ids of all pages, and how many pages there were."""
    page = engine.runs(filter, **options)
    found, pages = [run.id for run in page], 1
    while page.next is not None:
        page = engine.runs(filter, cursor=page.next, **options)
        assert len(page) <= options.get("limit", 50)
        found += [run.id for run in page]
        pages += 1
    return found, pages


def wait_for(seconds: float):
    return named(f"sleeps-{seconds:g}", Order).wait_for("w", lambda order: False, every=seconds).compile()


@pytest.fixture
def full(engine, clock):
    """Runs of several kinds, one second apart."""
    good, bad = chain("good", "a"), named("bad", Order).do("x", Flaky(9)).compile()
    waits = named("waits", Order).wait_event("w", "e", int, lambda order, n: None).compile()
    engine.register(good, bad, waits, wait_for(50), wait_for(20))
    for flow, run_id in ((good, "b/1"), (bad, "a/1"), (waits, "b/2"), (wait_for(50), "a/2"), (wait_for(20), "c")):
        engine.start(flow, Order(), id=run_id, labels={"tenant": run_id[0]})
        clock.advance(1)
    engine.run_until_idle()
    clock.advance(1)
    engine.get("b/2").publish("other", 1)
    engine.start(good, Order(), id="queued")
    return engine


def start_of(clock):
    return clock_time(clock) - timedelta(seconds=6)


def clock_time(clock):
    return datetime.fromtimestamp(clock.now() / 1e6, UTC)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (RunFilter(), ["queued", "c", "a/2", "b/2", "a/1", "b/1"]),
        (RunFilter(flow="bad"), ["a/1"]),
        (RunFilter(status="waiting"), ["c", "a/2", "b/2"]),
        (RunFilter(status=(s for s in ("failed", "queued"))), ["queued", "a/1"]),
        (RunFilter(open=False), ["a/1", "b/1"]),
        (RunFilter(open=True, status=["failed", "queued"]), ["queued"]),
        (RunFilter(labels={"tenant": "b"}), ["b/2", "b/1"]),
        (RunFilter(id_prefix="a/"), ["a/2", "a/1"]),
        (RunFilter(error_type="Broken"), ["a/1"]),
        (RunFilter(error_type="Broke"), []),
        (RunFilter(error_text="Broke"), ["a/1"]),
        (RunFilter(error_text="roken: ", error_type="Broken"), ["a/1"]),
        (RunFilter(error_text="Broken", error_type="Other"), []),
        (RunFilter(error_text="another"), []),
        (RunFilter(error_type="Broken", open=True), []),
        (RunFilter(position="waits"), ["b/2"]),
        (RunFilter(position="start:waits"), ["b/2"]),
        (RunFilter(position="completed:waits"), []),
        (RunFilter(position="good"), ["queued", "b/1"]),
        (RunFilter(position="bad/x"), ["a/1"]),
        (RunFilter(position="x"), ["a/1"]),
        (RunFilter(position="good/a"), []),
        (RunFilter(parent="b/1"), []),
    ],
)
def test_every_condition(full, asked, found):
    assert [run.id for run in full.runs(asked)] == found
    for order in ("created", "id", "updated"):
        for ascending in (False, True):
            ids, _pages = every(full, asked, order=order, ascending=ascending, limit=2)
            assert sorted(ids) == sorted(found)


def test_ranges_of_time(full, clock):
    first, now = start_of(clock), clock_time(clock)
    later = first + timedelta(seconds=2)
    assert [run.id for run in full.runs(RunFilter(created_until=later))] == ["a/1", "b/1"]
    assert [run.id for run in full.runs(RunFilter(created_since=later, created_until=now))] == ["c", "a/2", "b/2"]
    assert [run.id for run in full.runs(RunFilter(updated_since=now))] == ["queued"]
    assert [run.id for run in full.runs(RunFilter(updated_until=now, open=False), order="updated")] == ["a/1", "b/1"]


def test_orders(full):
    ids = ["a/1", "a/2", "b/1", "b/2", "c", "queued"]
    assert every(full, order="id", ascending=True, limit=1) == (ids, 6)
    assert every(full, order="id", limit=4)[0] == ids[::-1]
    assert every(full, order="due", ascending=True, limit=1)[0] == ["c", "a/2"]
    assert every(full, order="due")[0] == ["a/2", "c"]
    updated = [run.id for run in sorted(full.runs(), key=lambda run: run.rev)]
    assert every(full, order="updated", ascending=True, limit=2)[0] == updated
    assert every(full, order="updated", limit=5)[0] == updated[::-1]


def test_a_page_is_a_list_with_the_cursor_of_the_next_one(full):
    page = full.runs(limit=4)
    assert isinstance(page, Page)
    assert isinstance(page, list)
    assert [run.id for run in full.runs(limit=4, cursor=page.next)] == ["a/1", "b/1"]
    assert full.runs(limit=6).next is None
    assert full.runs(limit=2, cursor=page.next).next is None
    assert [run.id for run in full.runs(after="b/2")] == ["a/1", "b/1"]
    assert [run.id for run in full.runs(after="b/2", order="id", ascending=True)] == ["c", "queued"]


def test_what_cannot_be_meant_is_refused_where_it_is_written(full):
    for wrong in (
        {"flow": 3},
        {"flow": ""},
        {"status": "done"},
        {"status": ["done"]},
        {"status": 3},
        {"open": "yes"},
        {"labels": {"a": 1}},
        {"id_prefix": ""},
        {"created_since": "yesterday"},
        {"updated_until": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"error_type": ValueError},
        {"position": ["x"]},
        {"parent": ""},
    ):
        with pytest.raises(
            StepflowError, match=f"{'id' if 'parent' in wrong else next(iter(wrong))}.*(give|must be|statuses are)"
        ):
            RunFilter(**wrong)
    page = full.runs(limit=2)
    for wrong, said in (
        ({"order": "name"}, "order='name'"),
        ({"ascending": 1}, "ascending=1"),
        ({"cursor": "nonsense"}, "`next` of a page"),
        ({"cursor": 3}, "`next` of a page"),
        ({"cursor": page.next, "order": "id"}, "a list by created, descending"),
        ({"cursor": page.next, "ascending": True}, "a list by created, descending"),
        ({"cursor": page.next, "after": "c"}, "give one of them"),
        ({"after": "c", "order": "due"}, "give cursor="),
        ({"filter": RunFilter(), "flow": "x"}, "put all conditions"),
        ({"filter": {"flow": "x"}}, "is no filter"),
    ):
        with pytest.raises(StepflowError, match=said):
            full.runs(**wrong)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ascending", [False, True])
def test_a_page_reads_a_bounded_number_of_runs(monkeypatch, order, ascending):
    monkeypatch.setattr(finder, "SCAN", 30)
    monkeypatch.setattr(finder, "READ", 30)
    monkeypatch.setattr(finder, "AT_ONCE", 10)
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        flow = chain("good", "a")
        engine.start_many(flow, [(f"r{n:03}", Order()) for n in range(200)], at=datetime(2100, 1, 1, tzinfo=UTC))
        rare = engine.start_many(flow, [("s", Order())], at=datetime(2100, 1, 1, tzinfo=UTC), labels={"rare": "yes"})[0]
        for asked in (RunFilter(labels={"rare": "yes"}), RunFilter(position="elsewhere")):
            found, pages = every(engine, asked, order=order, ascending=ascending)
            assert found == ([rare.id] if asked.labels else [])
            assert pages > 4


def test_a_list_by_due_time_ends_somewhere(monkeypatch):
    monkeypatch.setattr(finder, "MOST_SEEN", 5)
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        engine.start_many(chain("good", "a"), [(None, Order())] * 9, at=datetime(2100, 1, 1, tzinfo=UTC))
        with pytest.raises(TooLarge, match="narrower"):
            every(engine, order="due", limit=2)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["start", "step", "cancel", "publish", "prune", "pass"]), st.integers(0, 9)), max_size=12
)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=30)
@given(order=st.sampled_from(ORDERS), ascending=st.booleans(), limit=st.integers(1, 4), changes=CHANGES)
def test_while_runs_change_none_is_listed_twice_and_none_that_stays_is_left_out(order, ascending, limit, changes):
    clock = VirtualClock()
    with Engine(MemoryDriver(), clock=clock) as engine:
        flows = [
            wait_for(7),
            wait_for(40),
            named("e", Order).wait_event("w", "e", int, lambda order, n: None).compile(),
        ]
        engine.register(*flows)
        for n in range(10):
            engine.start(flows[n % 3], Order(), id=f"r{n * 7 % 10}")
            clock.advance(1)
        engine.run_until_idle()
        before = {run.id: run for run in engine.runs(limit=100)}
        page, found, todo = engine.runs(limit=limit, order=order, ascending=ascending), [], iter(changes)
        while True:
            found += [run.id for run in page]
            if page.next is None:
                break
            for what, n in (change for change, _ in zip(todo, range(2), strict=False)):
                change_one(engine, clock, flows[0], what, f"r{n}")
            page = engine.runs(limit=limit, order=order, ascending=ascending, cursor=page.next)
        after = {run.id: run for run in engine.runs(limit=100)}
    assert len(found) == len(set(found))
    there = before.keys() & after.keys()
    if order in ("created", "id"):
        assert there <= set(found)
    else:
        same = {name for name in there if evolve(before[name], status=after[name].status) == after[name]}
        assert {name for name in same if order == "updated" or after[name].due is not None} <= set(found)


def change_one(engine, clock, flow, what, run_id):
    if what == "start":
        engine.start(flow, Order(), id=f"{run_id}-{clock.now()}")
    elif what == "step":
        clock.advance(9)
        engine.run_until_idle()
    elif what == "pass":
        clock.advance(3)
    elif what == "cancel" and engine.runs(RunFilter(id_prefix=run_id), limit=1):
        engine.get(engine.runs(RunFilter(id_prefix=run_id), limit=1)[0].id).cancel()
    elif what == "publish" and engine.runs(RunFilter(id_prefix=run_id, open=True), limit=1):
        engine.get(engine.runs(RunFilter(id_prefix=run_id, open=True), limit=1)[0].id).publish("e", 1)
    elif what == "prune":
        engine.prune(timedelta(0))


def test_a_step_finds_the_runs_that_failed_in_it_or_are_about_to_try_it_again(engine, clock):
    inner = Steps(Order).do("a", note("a")).do("x", Flaky(9))
    ends = named("ends", Order).steps("inner", inner).compile()
    again = RetryPolicy(max_attempts=2, delay=60, jitter=0)
    tried = named("tried", Order).do("a", note("a")).do("x", Flaky(1)).do("b", note("b")).compile(retry=again)
    engine.register(ends, tried)
    engine.start(ends, Order(), id="ends")
    run = engine.start(tried, Order(), id="tried")
    engine.run_until_idle()
    for position, found in (("ends/inner/x", ["ends"]), ("inner/x", ["ends"]), ("x", ["tried", "ends"]), ("tried/x", ["tried"]), ("ends/inner/a", ["ends"]), ("inner", [])):  # fmt: skip
        assert [one.id for one in engine.runs(RunFilter(position=position))] == found
    assert (engine.get("ends").info().error.step, run.info().error.step) == ("inner/x", "x")
    clock.advance(120)
    engine.run_until_idle()
    assert (run.status(), engine.runs(RunFilter(position="tried/x"))) == ("completed", [])
