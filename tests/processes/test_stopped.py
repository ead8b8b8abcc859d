"""Another worker takes over the runs of a stopped one (SIGSTOP); its late writes are refused."""

from __future__ import annotations

import signal

import pytest

from stepflow import Engine
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery
from tests.processes.stops import stop_outside_of_writes, take_over


@pytest.mark.parametrize("name", ["gated", "agated"])
def test_a_stopped_worker_is_taken_over_and_its_late_write_is_refused(nursery: Nursery, name: str) -> None:
    take_over(nursery, name, silence=2.0)


@pytest.mark.soak
def test_a_stopped_worker_is_taken_over_after_ten_seconds(nursery: Nursery) -> None:
    take_over(nursery, "gated", silence=None)


def test_run_until_idle_waits_for_the_verdict_over_a_stopped_holder(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="held")
        first = nursery.spawn("forever", "gated")
        nursery.log.wait(what="begin")
        stop_outside_of_writes(nursery, first)
        nursery.gate.open(3)
        second = nursery.spawn("until_idle", "gated", SILENCE_S=2.0)
        assert nursery.log.wait(what="idle", who=second.name)[0].note == [1, 0, 0]
        assert run.result(0) == Count(3)


def test_run_until_idle_does_not_wait_for_a_holder_that_lives(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="held")
        nursery.spawn("forever", "gated")
        nursery.log.wait(what="begin")
        second = nursery.spawn("until_idle", "gated")
        assert nursery.log.wait(what="idle", who=second.name)[0].note == [0, 0, 0]
        assert run.status() == "running"


def test_workers_that_were_all_stopped_together_do_not_bury_each_other(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        runs = [engine.start(flows.gated, Count(), id=f"run-{i}") for i in range(2)]
        staff = [nursery.spawn("forever", "gated", concurrency=1, SILENCE_S=5.0) for _ in runs]
        for child in staff:
            nursery.log.wait(what="begin", who=child.name)
        nursery.log.pause(1.5)  # each has seen the other's heart beat
        for child in staff:
            stop_outside_of_writes(nursery, child)
        nursery.log.pause(6.0)  # a laptop's lid, a frozen container
        for child in staff:
            child.send(signal.SIGCONT)
        nursery.log.pause(1.5)
        nursery.gate.open(6)
        for run in runs:
            assert run.result(60) == Count(3)
        assert all(e.attempt == 1 for e in nursery.log.entries("begin"))
