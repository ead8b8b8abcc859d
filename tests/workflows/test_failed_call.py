"""The error of a run names the call of the workflow that failed."""

from __future__ import annotations

import pytest

from stepflow import Context, Engine, RetryPolicy, RunFailed, workflow
from stepflow.testing import VirtualClock


@pytest.fixture(params=["memory", "sqlite"])
def engine(request, tmp_path):
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"
    with Engine(url, clock=VirtualClock()) as engine:
        yield engine


def test_the_error_of_a_run_names_the_call_that_failed(engine):
    """As that of a chain names its step: in what `result()` raises, `info()`, the history, and the run's parent; not if the code raised it itself."""

    def refuse() -> None:
        raise ValueError("no funds")

    @workflow("pay", retry=RetryPolicy(2, delay=1.0))
    def pay(wf: Context, itself: bool) -> None:
        wf.execute("check", int)
        if itself:
            raise ValueError("never")
        wf.execute("charge", refuse, retry=RetryPolicy(2, delay=1.0))

    @workflow("order")
    def order(wf: Context) -> None:
        wf.result("paid", wf.start_child("pay", pay, False))

    engine.register(pay, order)
    runs = [engine.start(pay, False, id="a"), engine.start(pay, True, id="b"), engine.start(order, id="c")]
    engine.run_until_idle(advance=True)
    errors = []
    for run in runs:
        with pytest.raises(RunFailed) as raised:
            run.result()
        errors.append(raised.value)
        assert run.info().error.step == raised.value.step
    assert [error.step for error in errors] == ["charge", "", "paid"]
    assert [str(error) for error in errors[:2]] == [
        "run 'a' failed: ValueError: no funds [in step charge]",
        "run 'b' failed: ValueError: never",
    ]
    assert str(errors[2]).endswith("run 'c/pay' failed: ValueError: no funds [in step charge] [in step paid]")
    assert {entry.error.step for entry in runs[0].history() if entry.error is not None} == {"charge"}
    assert "no funds [in step charge]" in runs[0].explain()
