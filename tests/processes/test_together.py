"""Engines in two processes: each sees the changes of the other at once."""

from __future__ import annotations

import time
from statistics import median

import pytest

from stepflow import Engine, RunCancelled
from tests.processes import flows, shop
from tests.processes.flows import Count
from tests.processes.harness import Nursery, eventually, seconds


def test_result_sees_the_end_that_another_process_made(nursery: Nursery) -> None:
    worker = nursery.spawn("forever", "gated")
    nursery.log.wait(what="ready")
    delays = []
    with Engine(nursery.url) as engine:
        for i in range(5):
            run = engine.start(flows.gated, Count(), id=f"run-{i}")
            nursery.gate.open(3)
            assert run.result(60) == Count(3)
            delays.append(seconds(nursery.log.wait(3 * (i + 1), what="end")[-1].at, time.monotonic_ns()))
    print(f"the end was seen after {median(delays):.3f} s, at most {max(delays):.3f} s")
    assert not worker.ended()


def test_publish_wakes_a_run_that_waits_in_another_process(nursery: Nursery) -> None:
    nursery.spawn("forever", "waiting")
    delays = []
    with Engine(nursery.url) as engine:
        for i in range(5):
            run = engine.start(flows.waiting, Count(), id=f"run-{i}")
            nursery.log.wait(i + 1, what="step")
            published = time.monotonic_ns()
            run.publish("news", 41, id="once")
            run.publish("news", 41, id="once")
            assert run.result(60) == Count(42)
            delays.append(seconds(published, nursery.log.wait(i + 1, what="taken")[-1].at))
    print(f"an event was taken after {median(delays):.3f} s, at most {max(delays):.3f} s")
    assert len(nursery.log.entries("taken")) == 5


def test_cancel_reaches_the_holder_in_another_process(nursery: Nursery) -> None:
    worker = nursery.spawn("forever", "endless")
    delays = []
    with Engine(nursery.url) as engine:
        for i in range(3):
            run = engine.start(flows.endless, Count(), id=f"run-{i}")
            nursery.log.wait(i + 1, what="turning")
            asked = time.monotonic_ns()
            run.cancel()
            with pytest.raises(RunCancelled):
                run.result(60)
            delays.append(seconds(asked, time.monotonic_ns()))
            assert run.status() == "cancelled"
    print(f"cancelled after {median(delays):.3f} s, at most {max(delays):.3f} s")
    assert not worker.ended()


def test_cancel_waits_for_the_step_that_has_begun(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="run")
        nursery.spawn("forever", "gated")
        nursery.log.wait(what="begin")
        run.cancel()
        nursery.log.pause(1.0)  # the holder has heard of it
        assert run.status() == "running"
        nursery.gate.open(1)
        with pytest.raises(RunCancelled):
            run.result(60)
        assert [e.exchange["n"] for e in run.history()] == [0, 1]  # the commit that cancels saves what the step did
        assert len(nursery.log.entries("begin")) == 1


def test_async_runs_go_on_beside_a_step_that_uses_all_of_the_processor(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        spinner = engine.start(flows.spinning, Count(), id="spinner")
        nursery.spawn("forever", "spinning", "async_chain")
        nursery.log.wait(what="begin")
        runs = [engine.start(flows.async_chain, Count(), id=f"run-{i}") for i in range(20)]
        assert [run.result(60) for run in runs] == [Count(flows.CHAIN)] * 20
        assert spinner.status() == "running"
        nursery.gate.open(1)
        assert spinner.result(60).n in (0, 1)


def test_a_new_worker_goes_on_where_an_old_one_does_not_know_the_position(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(shop.shop_2, Count(), id="order")
        new = nursery.spawn("forever", "shop_2")
        nursery.log.wait(what="begin")
        new.kill()  # a run of the new definition, without an owner
        first = nursery.spawn("forever", "shop_2")
        nursery.log.wait(2, what="begin")
        nursery.gate.open(1)
        nursery.log.wait(3, what="begin")  # now at a position that only the new definition has
        first.kill()

        old = nursery.spawn("forever", "shop_1", BLOCKED_RETRY=500_000)
        eventually(lambda: run.status() == "blocked")
        info = run.info()
        assert "pick_well" in str(info.blocked)
        assert "deploy" in run.explain()
        newer = nursery.spawn("forever", "shop_2")
        begun = nursery.log.wait(what="begin", who=newer.name)[0]
        print(f"the new worker took it {seconds(newer.created, begun.at):.2f} s after its start")
        nursery.gate.open(1)
        assert run.result(60) == Count(2)
        assert not old.ended()
        assert nursery.log.entries("begin", old.name) == []


def test_waiting_for_room_does_not_use_the_processor(nursery: Nursery) -> None:
    """Ten runs are due, and their flow allows one at a time: the worker must not ask for them all the time."""
    with Engine(nursery.url) as engine:
        runs = [engine.start(flows.one_by_one, Count(), id=f"run-{i}") for i in range(10)]
        worker = nursery.spawn("forever", "one_by_one")
        nursery.log.wait(what="begin")
        nursery.log.pause(1.0)
        before = worker.processor_s()
        nursery.log.pause(2.0)
        used = worker.processor_s() - before
        print(f"{used:.2f} s of processor time in 2 s")
        assert used < 0.25
        nursery.gate.open(30)
        assert [run.result(60) for run in runs] == [Count(3)] * 10
        held = 0
        for entry in nursery.log.entries():
            held += {"begin": 1, "end": -1}.get(entry.what, 0)
            assert held <= 1
