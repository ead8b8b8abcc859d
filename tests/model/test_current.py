"""current(): set by the engine that runs a step, separate per thread and task."""

from __future__ import annotations

import contextvars
import threading

import pytest

from stepflow.model.current import Current, current, enter


def test_outside_of_a_step():
    with pytest.raises(LookupError, match="outside a step"):
        contextvars.Context().run(current)


def test_the_key_is_stable_over_attempts():
    def inside() -> None:
        entered = Current("run-1", "order/v1", "pay", 1)
        enter(entered)
        assert current() is entered
        assert current().key == "order/v1/run-1/pay"
        entered.attempt = 2
        assert (current().attempt, current().key) == (2, "order/v1/run-1/pay")

    contextvars.Context().run(inside)


def test_threads_do_not_share_it():
    seen: list[str] = []

    def work(run_id: str) -> None:
        enter(Current(run_id, "f"))
        gate.wait(60)
        seen.append(current().run_id)

    gate = threading.Barrier(4)
    threads = [threading.Thread(target=work, args=(f"run-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == ["run-0", "run-1", "run-2", "run-3"]
