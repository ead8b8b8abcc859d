"""R01-R06, G02: retries of whole runs, and transactions that fail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow import Context, Engine, RetryPolicy, RunFailed, Status, Terminal, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.acceptance.flows import count, note, simple

AGAIN = RetryPolicy(max_attempts=5, delay=1, factor=1, jitter=0)


def failing(times: int, error: Exception, policy: RetryPolicy, passes: list[int]) -> Any:
    """A workflow that raises an error in so many of its attempts, behind a good step."""

    @workflow("failing", retry=policy)
    def flow(wf: Context) -> str:
        wf.execute("step1", note, "step1")
        passes.append(1)
        if len(passes) <= times:
            raise error
        return "done"

    return flow


def test_r01_it_succeeds_after_two_failures_and_calls_its_step_once(engine: Engine, clock: VirtualClock) -> None:
    passes: list[int] = []
    flow = failing(2, OSError("away"), AGAIN, passes)
    engine.register(flow)
    run = engine.start(flow)
    for _ in range(3):
        engine.run_until_idle()
        clock.advance(1)
    assert (run.result(), len(passes), count("step1"), run.info().error) == ("done", 3, 1, None)


def test_r02_it_fails_when_its_attempts_are_used_up(engine: Engine, clock: VirtualClock) -> None:
    passes: list[int] = []
    flow = failing(99, OSError("away"), RetryPolicy(max_attempts=2, delay=1), passes)
    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    error = run.info().error
    assert error is not None
    assert (run.status(), len(passes), error.message) == (Status.FAILED, 2, "away")
    clock.advance(3600)
    assert engine.run_until_idle().failed == 0


def test_r03_a_terminal_error_is_not_retried(engine: Engine) -> None:
    passes: list[int] = []
    flow = failing(99, Terminal("no"), AGAIN, passes)
    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    assert (run.status(), len(passes)) == (Status.FAILED, 1)


def test_r04_the_back_off_delays_the_next_attempt(engine: Engine, clock: VirtualClock) -> None:
    passes: list[int] = []
    flow = failing(99, OSError("away"), RetryPolicy(max_attempts=5, delay=30, jitter=0), passes)
    engine.register(flow)
    run = engine.start(flow)
    for _ in range(2):
        engine.run_until_idle()
        assert (run.status(), len(passes)) == (Status.SLEEPING, 1)
        assert run.info().due == clock.datetime() + timedelta(seconds=30)


def bad_sql(connection: Any) -> None:
    connection.execute("select * from a_table_that_is_missing")


def good_sql(connection: Any) -> int:
    return int(connection.execute("select 41 + 1").fetchone()[0])


def test_r05_an_aborted_transaction_is_retried_all_the_same(engine: Engine) -> None:
    passes: list[int] = []

    @workflow("aborted", retry=RetryPolicy(max_attempts=3, delay=1))
    def aborted(wf: Context) -> int:
        passes.append(1)
        if len(passes) == 1:
            wf.transaction("bad", bad_sql)
        return wf.transaction("good", good_sql)

    engine.register(aborted)
    run = engine.start(aborted)
    engine.run_until_idle(advance=True)
    assert (run.result(), len(passes)) == (42, 2)


@pytest.mark.parametrize("attempt", range(1, 7))
def test_r06_the_delay_doubles_up_to_its_limit(attempt: int) -> None:
    policy = RetryPolicy(max_attempts=9, delay=0.1, factor=2, max_delay=1, jitter=0)
    assert round(policy.delay_s(attempt) * 1000) == [100, 200, 400, 800, 1000, 1000][attempt - 1]


def test_g02_a_worker_survives_a_run_whose_transaction_is_aborted(store: Driver) -> None:
    passes: list[int] = []

    @workflow("poison")
    def poison(wf: Context) -> None:
        passes.append(1)
        wf.transaction("bad", bad_sql)

    with Engine(store) as engine:
        engine.register(poison, simple)
        with engine.worker():
            bad, good = engine.start(poison), engine.start(simple, "x")
            assert good.result(timeout=60) == "Hello, x!"
            with pytest.raises(RunFailed, match="a_table_that_is_missing"):
                bad.result(timeout=60)
        assert engine.run_until_idle().failed == 0
    assert passes == [1]
