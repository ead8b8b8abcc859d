"""The memory driver keeps every law."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.testing.conformance import DriverLaws, DriverMachine, FastPathMachine, LimitsMachine
from stepflow.testing.conformance.kit import NOW, creation, make


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
