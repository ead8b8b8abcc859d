"""The clock of an engine on a store that has one: right within the error of its readings, whatever the host's clock says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepflow import Engine
from stepflow.engine.clock import DRIFT, SECOND, Clock, StoreClock
from stepflow.testing import VirtualClock

NOW = 1_800_000_000 * SECOND


class Host(Clock):
    """A host whose wall clock says `wall` and never moves, `mono` seconds after its start."""

    def __init__(self, mono: float, wall: int) -> None:
        self.mono, self.wall = mono, wall

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def random_bytes(self, n: int) -> bytes:
        return bytes(n)


def test_without_a_clock_of_the_store_the_host_decides() -> None:
    host = Host(5.0, NOW)
    clock = StoreClock(host)
    assert (clock.now(), clock.monotonic(), clock.random_bytes(2)) == (NOW, 5.0, b"\0\0")
    host.wall += 1
    assert clock.now() == NOW + 1


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=20))
def test_it_is_right_within_the_error_of_its_readings(readings: list[tuple[float, float, float]]) -> None:
    """Each reading: after a pause, a round trip of some length, and the share of it at which the store read its clock."""
    host = Host(1000.0, NOW - 300 * SECOND)
    clock = StoreClock(host)
    best = 0.0
    for number, (pause, trip, share) in enumerate(readings):
        host.mono += pause
        before = host.mono
        at = before + trip * share
        host.mono += trip
        clock.adjust(NOW + int(at * SECOND), before, host.mono)
        best = trip / 2 if number == 0 else min(trip / 2, best + (pause + trip) * DRIFT)
        assert abs(clock.now() - (NOW + host.mono * SECOND)) <= best * SECOND + 2


def test_a_store_that_was_replaced_by_one_with_another_time_is_followed() -> None:
    host = Host(10.0, NOW)
    clock = StoreClock(host)
    clock.adjust(NOW, 10.0, 10.0)
    clock.adjust(NOW + 60 * SECOND, 10.0, 11.0)  # less exact, but the difference is no error
    assert clock.now() == NOW + 60 * SECOND - SECOND // 2


def test_a_virtual_clock_has_no_offset() -> None:
    clock = VirtualClock()
    clock.adjust(NOW, 0.0, 0.0)
    before = clock.now()
    with Engine("memory://", clock=clock):
        assert clock.now() == before < NOW
