"""Forks: a child process neither releases what its parent holds nor may use its engine."""

from __future__ import annotations

import signal

import pytest

from stepflow import Engine
from tests.processes import flows
from tests.processes.checks import check_file
from tests.processes.flows import Count
from tests.processes.harness import NEVER_S, Nursery


@pytest.mark.parametrize("name", ["forking", "aforking"])
def test_a_step_may_fork_and_the_end_of_the_child_releases_nothing(nursery: Nursery, name: str) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(getattr(flows, name), Count(), id="parent")
        holder = nursery.spawn("forever", name)
        nursery.log.wait(what="forked")  # the child is gone, its parent waits at the gate
        other = nursery.spawn("forever", name)
        nursery.log.wait(what="ready", who=other.name)
        nursery.log.pause(2.0)  # the other one looks at its peers every second
        assert run.status() == "running"
        assert nursery.log.entries("log") == []
        nursery.gate.open(1)
        assert run.result(60) == Count(1)
        assert len(nursery.log.entries("begin")) == 1
        for child in (holder, other):
            child.send(signal.SIGTERM)
            assert child.wait() == 0
    check_file(nursery.path)


def test_a_child_that_outlives_its_parent_keeps_no_lock(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.leaving_a_child, Count(), id="run")
        first = nursery.spawn("forever", "leaving_a_child")
        nursery.log.wait(what="forked")
        first.kill()
        nursery.gate.open(1)
        second = nursery.spawn("forever", "leaving_a_child", SILENCE_S=NEVER_S)  # only the free lock can prove it
        nursery.log.wait(what="begin", who=second.name)
        nursery.gate.open(2)
        assert run.result(60) == Count(1)
        second.send(signal.SIGTERM)
        assert second.wait() == 0


@pytest.mark.parametrize("verb", ["use_after_fork", "ause_after_fork"])
def test_the_engine_of_the_parent_is_refused_in_the_child_and_goes_on_in_the_parent(
    nursery: Nursery, verb: str
) -> None:
    child = nursery.spawn(verb, "sync_chain")
    assert child.wait() == 0, child.stderr()
    errors = [e.note for e in nursery.log.entries("refused")]
    assert len(errors) == 4
    assert all("fork" in text and "open one in each process" in text for text in errors), errors
    assert nursery.log.entries("still mine")[0].note == ["running", 0, 0]
    check_file(nursery.path)


@pytest.mark.parametrize("name", ["forgetful", "aforgetful"])
def test_a_forked_child_that_returns_from_its_step_advances_nothing(nursery: Nursery, name: str) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(getattr(flows, name), Count(), id="run")
        other = engine.start(flows.agated, Count(), id="other")
        nursery.spawn("aforever", name, "agated", "gated")
        status = nursery.log.wait(what="child ended")[0].note
        assert status != 0
        nursery.gate.open(3)
        assert other.result(60) == Count(3)
        assert run.result(60) == Count(2)
        assert [e.exchange["n"] for e in run.history()] == [0, 1, 2]
        assert len({(e.run, e.step) for e in nursery.log.entries("begin")}) == len(nursery.log.entries("begin"))
