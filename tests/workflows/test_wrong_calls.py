"""Calls of a workflow that Python refuses, since their arguments do not fit, block the run and name what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, RetryPolicy, Workflow, named, workflow
from stepflow.testing import VirtualClock


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine("memory://", clock=VirtualClock()) as engine:
        yield engine


def blocked_by(engine: Engine, flow: Workflow[None, Any]) -> str:
    """What blocks a run of this flow."""
    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().blocked == 1
    return str(run.info().blocked)


def add(a: int = 0, b: int = 0) -> int:
    return a + b


WRONG_CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a keyword of the function": (
        lambda wf: wf.execute("add", add, a=1),
        "wf.execute(a=...): there is no keyword a=: for the function's own give functools.partial(fn, a=...); it takes key, fn, retry,",
    ),
    "a misspelt keyword": (lambda wf: wf.execute("add", add, 1, retries=None), "did you mean retry=? it takes key, fn, retry,"),
    "another keyword": (lambda wf: wf.sleep("pause", seconds=5), "wf.sleep(seconds=...): there is no keyword seconds=: it takes key, duration"),
    "no key": (lambda wf: wf.sleep(5), "wf.sleep() missing 1 required positional argument: 'duration': it takes key, duration"),
    "a call that is none": (lambda wf: wf.random(), "there is no wf.random, did you mean wf.random_uuid7? there are continue_as_new,"),
    "a call of async ones": (lambda wf: wf.gather(), "wf.gather is for async workflows: make the function async def"),
    "no input": (lambda wf: wf.continue_as_new(), "wf.continue_as_new() missing 1 required positional argument: 'input'"),
    "nothing to iterate": (lambda wf: wf.map("all", add, 5), "wf.map('all', items=5): give a list, or what can be iterated"),
    "a workflow as a step": (lambda wf: wf.execute("other", OTHER), "is a flow, not a function: wf.start_child(key, flow, input)"),
    "a text as a type": (lambda wf: wf.wait_for_event("paid", "paid", "str"), "is the text 'str', not a type: give the type itself"),
}  # fmt: skip


@workflow("other")
def OTHER(wf: Context) -> None:  # noqa: N802
    """Does nothing."""


@pytest.mark.parametrize("mistake", WRONG_CALLS)
def test_a_call_that_python_refuses_blocks_the_run_and_names_what_there_is(engine: Engine, mistake: str) -> None:
    call, why = WRONG_CALLS[mistake]

    @workflow("w", retry=RetryPolicy(max_attempts=3))
    def flow(wf: Context) -> None:
        call(wf)

    assert why in blocked_by(engine, flow)


def test_the_same_of_an_async_workflow(engine: Engine) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        await wf.execute("add", add, a=1)  # type: ignore[call-arg]

    assert "w: wf.execute(a=...): there is no keyword a=: for the function's own" in blocked_by(engine, flow)


@pytest.mark.parametrize("given", [add, lambda wf: wf.nothing])
def test_mistakes_in_other_calls_fail_the_run_as_always(engine: Engine, given: Any) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        given(c=1) if given is add else given(add)

    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().failed == 1
    error = run.info().error
    assert error is not None
    assert error.type == ("TypeError" if given is add else "AttributeError")


def test_a_flow_that_is_called_says_how_it_is_started() -> None:
    for flow in (OTHER, named("chain").do("one", add).compile()):
        with pytest.raises(
            TypeError, match=r"is a flow, which is not called: engine\.start\(flow, input\) starts a run of it"
        ):
            flow(1)  # type: ignore[operator]


MISUSES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], object]]] = {
    "added": (lambda wf: wf.execute("a", add, 1), lambda value: value + 1),
    "looped": (lambda wf: wf.map("a", add, [1]), list),
    "asked": (lambda wf: wf.random_uuid7("a"), lambda value: value.upper()),
    "unpacked": (lambda wf: wf.execute("a", add, 1), lambda value: max(*value)),
    "indexed": (lambda wf: wf.first_of("a", wf.timer(1)), lambda value: value[0]),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_call_without_await_whose_value_is_used_blocks_the_run(engine: Engine, misuse: str) -> None:
    make, use = MISUSES[misuse]

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        call = make(wf)
        try:
            use(call)
        finally:
            call.close()  # else it warns, whenever the last traceback goes

    text = blocked_by(engine, flow)
    assert text == "w: the call with the key 'a' was made without `await`, so it did nothing: await it"


def test_another_error_about_a_coroutine_fails_the_run(engine: Engine) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        await wf.execute("a", add, 1)
        raise TypeError("a coroutine of my own")

    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().failed == 1
    assert run.info().error is not None


def texts() -> list[int]:
    return ["a"]  # type: ignore[list-item]


@workflow("of a step")
def of_a_step(wf: Context) -> None:
    wf.execute("a", texts)


@workflow("of an item")
def of_an_item(wf: Context) -> None:
    for one in wf.map("a", lambda _n: object(), [1]):
        raise one.error  # type: ignore[union-attr]


@workflow("of the workflow")
def of_the_workflow(wf: Context) -> int:
    wf.execute("a", add, 1)  # and no return
    return None  # type: ignore[return-value]


RETURNED = [
    (of_a_step, "what texts returned: ['a'] does not fit list[int]: "),
    (of_an_item, "what the step returned: <object object at "),
    (
        of_the_workflow,
        "what workflow 'of the workflow' returned: None is not of type int: give one, or declare the type as ",
    ),
]


@pytest.mark.parametrize(("flow", "why"), RETURNED, ids=lambda one: getattr(one, "name", ""))
def test_a_value_that_cannot_be_stored_is_told_with_what_returned_it(engine: Engine, flow: Any, why: str) -> None:
    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().failed == 1
    error = run.info().error
    assert error is not None
    assert (error.type, error.message[: len(why)]) == ("CodecError", why)


def test_a_call_without_await_as_an_argument_blocks_the_run_before_the_step_is_called(engine: Engine) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> int:
        call = wf.execute("a", add, 1)
        try:
            return await wf.execute("b", add, 1, call)  # type: ignore[arg-type]
        finally:
            call.close()  # else it warns, whenever the last traceback goes

    assert "wf.execute('b'): argument 2 is a call without `await`: await it first" in blocked_by(engine, flow)
    assert {entry.kind for run in engine.runs() for entry in engine.get(run.id).timeline()} == {"revision"}
