"""A step that kills its process: failed after three deaths; runs beside it are not affected."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow import Engine, RunFailed
from tests.processes import flows
from tests.processes.checks import check_file
from tests.processes.flows import Count
from tests.processes.harness import Entry, Nursery, eventually


def supervise(nursery: Nursery, name: str) -> int:
    """Start a worker again and again until one becomes idle; how many died."""
    for deaths in range(20):
        child = nursery.spawn("until_idle", name)
        if child.wait() == 0:
            return deaths
        if deaths == 1:
            nursery.gate.open(1000)  # from now on the innocents get through
    raise AssertionError("it goes on dying")


def open_steps(log: list[Entry]) -> set[str]:
    """Runs that are within a step according to the log."""
    begun = [e.run for e in log if e.what == "begin"]
    ended = [e.run for e in log if e.what == "end"]
    return {run for run in begun if begun.count(run) > ended.count(run)}


def test_the_step_that_kills_its_process_is_failed_and_the_innocents_complete(nursery: Nursery, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    with Engine(nursery.url) as engine:
        bad = engine.start(flows.poisoned, Count(poison=str(mended)), id="bad")
        innocents = [engine.start(flows.poisoned, Count(), id=f"innocent-{i}") for i in range(12)]
        assert supervise(nursery, "poisoned") == 3
        with pytest.raises(RunFailed) as failure:
            bad.result(0)
        assert failure.value.type == "Crashed"
        assert "3 processes died" in failure.value.message
        assert "poisoned" in failure.value.message
        assert [info.id for info in engine.runs(status="failed")] == ["bad"]
        assert [run.result(0) for run in innocents] == [Count(2)] * 12
        assert [run.info().crashes for run in innocents] == [0] * 12

        last = nursery.log.entries("begin")
        deadly = [e for e in last if e.run == "bad"]
        assert [e.attempt for e in deadly] == [1, 2, 3]
        before = [e for e in nursery.log.entries(who=deadly[2].who) if e.at <= deadly[2].at]
        assert open_steps(before) == {"bad"}  # it was alone when it killed its third process

        mended.touch()
        bad.redrive()
        assert bad.info().crashes == 0
        assert nursery.spawn("until_idle", "poisoned").wait() == 0
        assert bad.result(0).n == 2
    check_file(nursery.path)


def test_a_suspect_gets_its_turn_although_there_is_always_other_work(nursery: Nursery, tmp_path: Path) -> None:
    """One worker, never idle: it still advances the suspect alone, and the other runs continue."""
    with Engine(nursery.url) as engine:
        bad = engine.start(flows.poisoned, Count(poison=str(tmp_path / "mended")), id="bad")
        for _ in range(2):
            assert nursery.spawn("until_idle", "poisoned").wait() == 9
        turners = [engine.start(flows.endless, Count(), id=f"turner-{i}") for i in range(8)]
        first = nursery.spawn("forever", "poisoned", "endless", concurrency=4, FULL_LOOK_S=1.0)
        assert first.wait() == 9  # the third death
        second = nursery.spawn("forever", "poisoned", "endless", concurrency=4, FULL_LOOK_S=1.0)
        with pytest.raises(RunFailed, match="Crashed"):
            bad.result(60)
        assert not second.ended()
        turns = sum(run.exchange().n for run in turners)
        eventually(lambda: sum(run.exchange().n for run in turners) > turns)
        assert {run.status().value for run in turners} <= {"running", "queued"}
