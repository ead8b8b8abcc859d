"""SIGTERM: a worker releases its claims, lets running steps end, counts no crash and exits with 0."""

from __future__ import annotations

import signal

import pytest

from stepflow import Engine
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import NEVER_S, Nursery


@pytest.mark.parametrize(("verb", "name"), [("forever", "gated"), ("aforever", "agated"), ("cli", "gated")])
def test_begun_steps_end_and_the_rest_is_handed_back(nursery: Nursery, verb: str, name: str) -> None:
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        runs = [engine.start(flow, Count(), id=f"run-{i}") for i in range(10)]
        if verb == "cli":
            argv = ("stepflow", "worker", "tests.processes.flows", "--store", nursery.url, "--concurrency", "4")
            child = nursery.run("cli", *argv)
        else:
            child = nursery.spawn(verb, name, concurrency=4)
        nursery.log.wait(4, what="begin")
        child.send(signal.SIGTERM)
        nursery.log.wait(what="log")  # it has heard
        nursery.gate.open(4)
        assert child.wait() == 0, child.stderr()
        assert len(nursery.log.entries("begin")) == 4  # no further step was begun
        assert len(nursery.log.entries("end")) == 4
        infos = [run.info() for run in runs]
        assert [(i.status.value, i.owner, i.crashes) for i in infos] == [("queued", "", 0)] * 10
        assert [len(run.history()) for run in runs] == [2] * 4 + [1] * 6  # what was begun is committed
        nursery.gate.open(26)
        assert nursery.spawn("until_idle", name).wait() == 0
        assert [run.result(0) for run in runs] == [Count(3)] * 10
        assert {e.attempt for e in nursery.log.entries("begin")} == {1}


@pytest.mark.parametrize(
    ("verb", "name"), [("forever", "gated"), ("forever", "agated"), ("aforever", "gated"), ("forever", "never_ending")]
)
def test_steps_that_outlast_the_grace_are_handed_back_without_a_crash(nursery: Nursery, verb: str, name: str) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(getattr(flows, name), Count(), id="slow")
        child = nursery.spawn(verb, name, GRACE_S=0.3)
        nursery.log.wait(what="begin")
        child.send(signal.SIGTERM)
        assert child.wait() == 0, child.stderr()
        info = run.info()
        assert (info.status, info.owner, info.crashes) == ("queued", "", 0)
        assert len(run.history()) == 1


def test_another_worker_takes_what_was_handed_back_at_once(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="moved")
        first, second = (nursery.spawn("forever", "gated", SILENCE_S=NEVER_S) for _ in range(2))
        holder = nursery.log.wait(what="begin")[0].who
        first, second = (first, second) if first.name == holder else (second, first)
        nursery.log.wait(what="ready", who=second.name)
        first.send(signal.SIGTERM)
        nursery.log.wait(what="log", who=first.name)  # it has heard, and begins no further step
        nursery.gate.open(1)
        begun = nursery.log.wait(what="begin", who=second.name)[0]
        assert begun.attempt == 1
        nursery.gate.open(2)
        assert run.result(60) == Count(3)
        assert first.wait() == 0


def test_a_signal_that_comes_before_the_first_claim_is_not_lost(nursery: Nursery) -> None:
    assert nursery.spawn("signalled_early", "gated").wait() == 0
    assert nursery.spawn("signalled_at_once", "gated").wait() == 0
    assert nursery.spawn("left_at_once", "gated").wait() == 0


def test_a_signal_that_the_system_hands_to_another_thread_is_heard(nursery: Nursery) -> None:
    assert nursery.spawn("signalled_elsewhere", "gated").wait() == 0
