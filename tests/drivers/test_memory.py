"""The memory driver keeps every law."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from stepflow.drivers.memory import MemoryDriver
from stepflow.testing.conformance.control_machine import ControlMachine
from stepflow.testing.conformance.laws import DriverLaws
from stepflow.testing.conformance.machine import DriverMachine


class TestMemory(DriverLaws):
    @pytest.fixture
    def driver(self) -> MemoryDriver:
        return MemoryDriver()


TestMemoryMachine = DriverMachine.TestCase  # the model against itself: the machine can be satisfied
TestMemoryMachine.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

TestMemoryControl = ControlMachine.TestCase
TestMemoryControl.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
