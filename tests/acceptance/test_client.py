"""I23-I27: what any process may ask of a run, and cancel."""

from __future__ import annotations

import pytest

from stepflow import Engine, ResultTimeout, RunCancelled, RunEnded, Status
from stepflow.testing import VirtualClock
from tests.acceptance.flows import simple, sleeps


def test_i23_and_i27_status_and_output_before_and_after(engine: Engine, clock: VirtualClock) -> None:
    run = engine.start(simple, "OutputTest")
    assert (run.status(), run.info().created_at) == (Status.QUEUED, clock.datetime())
    with pytest.raises(ResultTimeout):
        run.result(timeout=0)
    engine.run_until_idle()
    assert (run.status(), run.result()) == (Status.COMPLETED, "Hello, OutputTest!")


def test_i24_a_sleeping_run_is_cancelled_and_a_second_cancel_changes_nothing(engine: Engine) -> None:
    run = engine.start(sleeps, [3600.0])
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle()
    assert run.status() is Status.CANCELLED
    rev = run.info().rev
    run.cancel()
    assert run.info().rev == rev
    with pytest.raises(RunCancelled):
        run.result()


def test_i25_a_queued_run_is_cancelled_and_never_called(engine: Engine) -> None:
    run = engine.start(simple, "nobody")
    run.cancel()
    idle = engine.run_until_idle()
    assert (run.status(), idle.completed) == (Status.CANCELLED, 0)


def test_i26_a_completed_run_cannot_be_cancelled(engine: Engine) -> None:
    run = engine.start(simple, "x")
    engine.run_until_idle()
    with pytest.raises(RunEnded, match="completed"):
        run.cancel()
