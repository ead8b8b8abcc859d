"""The memory driver keeps every law."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Commit, Created, Dequeue, Owner, Write
from stepflow.drivers.port.queries import NotDueQuery
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.model.run_timeout import with_end
from stepflow.model.state import State
from stepflow.testing.conformance import DriverLaws, DriverMachine, FastPathMachine, LimitsMachine
from stepflow.testing.conformance.kit import FLOW, NOW, awaiting, creation, ended, make, record, write

CREATED = Created(FLOW, "hash", NOW)


class TestMemory(DriverLaws):
    @pytest.fixture
    def driver(self) -> MemoryDriver:
        return MemoryDriver()


@pytest.mark.parametrize("kind", ["memory", "rocksdb"])
def test_a_session_that_is_alone_is_not_woken_for_its_own_commits(tmp_path, monkeypatch, kind):
    driver = MemoryDriver() if kind == "memory" else RocksdbDriver(tmp_path / "store")
    one = driver.connect("", Owner("one", "host", 1), NOW)
    changed, woken = one._memory.changed if kind == "memory" else one._changed, []
    monkeypatch.setattr(changed, "notify_all", lambda: woken.append(1))
    make(one, creation("a"))
    assert woken == []
    other = driver.connect("", Owner("other", "host", 1), NOW)
    make(one, creation("b"))
    assert woken == [1]
    other.close()
    del woken[:]
    make(one, creation("c"))
    assert woken == []
    one.close()
    assert woken == [1]  # who waits learns of the end


def rev(store: Any, run_id: str) -> int:
    return record(store, run_id).state.rev


def calls_of(work: Callable[[], object]) -> int:
    """How many functions it calls, or goes on with."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def test_what_ended_costs_a_count_of_what_waits_nothing() -> None:
    """Each `run_until_idle` counts: a year of an hourly schedule has 8,760 runs that ended."""
    store: Any = MemoryDriver().connect("", Owner("one", "host", 1), NOW)
    query = NotDueQuery((FLOW,), NOW)
    make(store, creation("sleeps", due=NOW + 1), creation("waits"))
    make(
        store, Commit(writes=(Write(State("waits", rev(store, "waits"), awaiting("news"))),), queue=(Dequeue("waits"),))
    )
    costs = []
    for batch in range(3):
        for number in range(100):
            made = State(f"{batch}/{number}", 0, ended())
            make(store, Commit(writes=(Write(made, "1", CREATED),)))
        assert store.read(query) == [2, 0]  # from now on those that ended are known
        costs.append(calls_of(lambda: store.read(query)))
    assert len(set(costs)) == 1
    make(store, write("0/0", rev(store, "0/0"), awaiting("news")))  # it goes on, without a queue row
    assert store.read(query) == [3, 0]
    store.close()


def test_a_look_at_what_is_due_costs_as_much_among_many_schedules_and_time_limits_as_among_some() -> None:
    store: Any = MemoryDriver().connect("", Owner("one", "host", 1), NOW)
    costs = []
    for batch in range(3):
        for number in range(100):
            labels = with_end({}, 1000 + number, NOW)
            make(store, creation(f"{batch}/{number}", labels=labels))
            change = ScheduleChange(f"{batch}/{number}", 0, NOW + 2000 + number, "{}")
            make(store, Commit(schedule=change))
        assert store.next_due({}, NOW).schedule == NOW + 1000
        for query in (ScheduleQuery("0/7"), ScheduleQuery(until=NOW + 1000, limit=1)):
            assert len(store.read(query)) == 1
        cost = calls_of(lambda: store.next_due({}, NOW))
        cost += calls_of(lambda: store.read(ScheduleQuery("0/7")))
        cost += calls_of(lambda: store.read(ScheduleQuery(until=NOW + 1000, limit=1)))
        costs.append(cost)
    assert len(set(costs)) == 1
    store.close()


TestMemoryMachine = DriverMachine.TestCase  # the model against itself: the machine can be satisfied
TestMemoryMachine.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

TestMemoryFastPaths = FastPathMachine.TestCase
TestMemoryFastPaths.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

TestMemoryControl = LimitsMachine.TestCase
TestMemoryControl.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
