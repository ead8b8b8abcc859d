"""The workflows that the tests of the acceptance list share; what they call is noted in CALLS."""

from __future__ import annotations

from stepflow import Context, RetryPolicy, current, workflow

CALLS: list[tuple[str, str]] = []  # step and run, in the order of the calls


def called(step: str) -> int:
    """Note a call; how often the step was called by now."""
    CALLS.append((step, current().run_id))
    return count(step)


def count(step: str) -> int:
    return sum(1 for name, _run in CALLS if name == step)


def greet(name: str) -> str:
    called("greet")
    return f"Hello, {name}!"


@workflow("simple")
def simple(wf: Context, name: str) -> str:
    return wf.execute("greet", greet, name)


def add(key: str, number: int, more: int) -> int:
    called(key)
    return number + more


def double(number: int) -> int:
    called("step2_multiply2")
    return number * 2


@workflow("multi-step")
def multi_step(wf: Context, number: int) -> int:
    number = wf.execute("step1_add10", add, "step1_add10", number, 10)
    number = wf.execute("step2_multiply2", double, number)
    return wf.execute("step3_subtract5", add, "step3_subtract5", number, -5)


def note(step: str) -> None:
    called(step)


@workflow("sleeps")
def sleeps(wf: Context, pauses_s: list[float]) -> None:
    wf.execute("before_sleep", note, "before_sleep")
    for n, pause_s in enumerate(pauses_s, 1):
        wf.sleep(f"sleep_{n}", pause_s)
    wf.execute("after_sleep", note, "after_sleep")


@workflow("waits")
def waits(wf: Context) -> str:
    wf.execute("before_wait", note, "before_wait")
    payload = wf.wait_for_event("wait_for_approval", "approval", str)
    wf.execute("after_wait", note, "after_wait")
    return payload


def flaky(failures: int) -> str:
    if called("flaky_step") <= failures:
        raise ConnectionError(f"failure {count('flaky_step')}")
    return "done"


@workflow("flaky")
def flaky_flow(wf: Context, failures: int) -> str:
    return wf.execute("flaky_step", flaky, failures, retry=RetryPolicy(max_attempts=6, delay=0.01))


@workflow("random")
def random_values(wf: Context) -> tuple[str, int]:
    uuid, number = wf.random_uuid7("my_uuid"), wf.random_uint64("my_number")
    wf.sleep("nap", 1)
    assert (wf.random_uuid7("another"), wf.random_uint64("another_number")) != (uuid, number)
    return uuid, number


FLOWS = (simple, multi_step, sleeps, waits, flaky_flow, random_values)
