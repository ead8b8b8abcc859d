"""Wrong uses are found, and block the run with what is wrong and what to do: it is not lost, and goes on with mended code."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import AsyncContext, CodecError, Context, DefinitionError, Engine, Workflow, named, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


def one() -> int:
    return 1


def two() -> int:
    return 2


def blocked_by(engine: Engine, flow: Workflow[None, Any]) -> str:
    """What blocks a run of this flow."""
    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().blocked == 1
    return str(run.info().blocked)


def test_a_swallowed_suspend_is_found(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> int:
        try:
            wf.sleep("s", 5)
        except BaseException:
            return 1
        return 2

    assert "w: the function went on after the call at sleep:s had suspended the run" in blocked_by(engine, flow)


@pytest.mark.parametrize("how", ["returns", "raises", "goes on"])
def test_a_swallowed_continue_as_new_is_found(engine: Engine, how: str) -> None:
    @workflow("w")
    def flow(wf: Context, begun: bool) -> int:
        if begun:
            return 1
        try:
            wf.continue_as_new(True)
        except BaseException:
            if how == "raises":
                raise ValueError("lost") from None
            if how == "goes on":
                with contextlib.suppress(BaseException):
                    wf.execute("a", one)
        return 2

    engine.register(flow)
    run = engine.start(flow, False)
    assert engine.run_until_idle().blocked == 1
    assert "w: the function went on after the call at wf.continue_as_new() had suspended the run" in str(
        run.info().blocked
    )


def test_except_Exception_swallows_no_suspend_and_finally_makes_no_calls(engine: Engine) -> None:  # noqa: N802
    done: list[str] = []

    @workflow("w")
    def flow(wf: Context) -> int:
        try:
            wf.sleep("s", 5)
        except Exception:
            return 1
        finally:
            wf.execute("end", done.append, "end")
        return 2

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert (run.status(), done) == ("sleeping", [])
    engine.run_until_idle(advance=True)
    assert (run.result(), done) == (2, ["end"])


def test_a_suspend_inside_of_a_step_is_found(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("outer", lambda: wf.sleep("inner", 5))

    assert "wf.sleep('inner') is called inside of step 'outer'" in blocked_by(engine, flow)


def test_calls_in_another_thread_are_found(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        def call() -> None:
            with pytest.raises(DefinitionError):
                wf.execute("a", one)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    assert "wf.execute('a') is made in another thread" in blocked_by(engine, flow)


TASK_OF_ITS_OWN = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="since 3.12 wait_for awaits in the task that calls it"
)


@pytest.mark.parametrize("how", ["gather", "create_task", pytest.param("wait_for", marks=TASK_OF_ITS_OWN)])
def test_calls_in_other_tasks_are_found(engine: Engine, how: str) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        if how == "gather":
            await asyncio.gather(wf.execute("a", one), wf.execute("b", two))
        elif how == "create_task":
            await asyncio.create_task(wf.execute("a", one))
        else:
            await asyncio.wait_for(wf.execute("a", one), 5)

    assert "wf.execute('a') is awaited in another task" in blocked_by(engine, flow)


def test_a_key_that_is_used_twice_is_found(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        for _ in range(2):
            wf.execute("a", one)

    assert "wf.execute('a'): the key was used before in this workflow" in blocked_by(engine, flow)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("key", ["", None, 3, "a\0", "ä" * 300, "a\ud800", "x" * 501])
def test_keys_must_be_short_texts(engine: Engine, key: Any, is_async: bool) -> None:
    calls: list[int] = []

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute(key, calls.append, 1)

    @workflow("w")
    async def aflow(wf: AsyncContext) -> None:
        await wf.execute(key, calls.append, 1)

    assert "give a key, a non-empty text of at most 500 bytes" in blocked_by(engine, aflow if is_async else flow)
    assert calls == []


CHAIN = named("c").do("a", print).compile()
WRONG: dict[str, Any] = {
    "is not callable": lambda wf: wf.execute("a", 3),
    "<StepFlow c: 1 steps> is a flow, not a function: wf.start_child(key, flow, input)": lambda wf: wf.execute(
        "a", CHAIN
    ),
    "give a RetryPolicy": lambda wf: wf.execute("a", one, retry=3),
    "timeout='1'": lambda wf: wf.execute("a", one, timeout="1"),
    "is async: make the workflow an async function": lambda wf: wf.execute("a", asyncio.sleep, 0),
    "give seconds or a timedelta": lambda wf: wf.sleep("a", "1"),
    "give a datetime with a time zone": lambda wf: wf.sleep_until("a", 3),
    "name the event": lambda wf: wf.wait_for_event("a", "", int),
    "cannot be restored from JSON": lambda wf: wf.wait_for_event("a", "n", Engine),
}


@pytest.mark.parametrize("problem", WRONG)
def test_wrong_arguments_are_found(engine: Engine, problem: str) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        WRONG[problem](wf)

    assert problem in blocked_by(engine, flow)


def test_a_step_that_is_none_is_told_without_what_python_raised(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("a", 3)  # type: ignore[arg-type]

    assert "3 is not callable" in blocked_by(engine, flow)
    text = "".join(logging.Formatter().format(record) for record in caplog.records)
    assert "weak reference" not in text


def before(wf: Context) -> int:
    found = wf.execute("a", one) + wf.execute("b", two)
    wf.sleep("s", 10)
    return found


def another_step(wf: Context) -> int:
    return wf.execute("a", two)


def another_kind(wf: Context) -> None:
    wf.sleep("a", 1)


def a_step_more(wf: Context) -> int:
    return wf.execute("a", one) + wf.execute("new", two)


def a_step_less(wf: Context) -> int:
    return wf.execute("a", one)


def an_error(wf: Context) -> int:
    raise KeyError(wf.execute("a", one))


def an_exit(wf: Context) -> int:
    sys.exit(wf.execute("a", one))


MISMATCHES = {
    another_step: ("step 'a' of one", "step 'a' of two"),
    another_kind: ("step 'a' of one", "sleep 'a'"),
    a_step_more: ("step 'b' of two and 1 more", "step 'new' of two, which is not in it"),
    a_step_less: ("step 'b' of two and 1 more", "the end of the function"),
    an_error: ("step 'b' of two and 1 more", "KeyError: 1, which the function raises"),
    an_exit: ("step 'b' of two and 1 more", "SystemExit: 1, which the function raises"),
}


@pytest.mark.parametrize("after", MISMATCHES, ids=lambda fn: fn.__name__)
def test_a_replay_that_leaves_the_recorded_way_blocks_the_run_and_mended_code_goes_on(
    after: Any, store: Driver, clock: VirtualClock
) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(workflow("w")(before))
        run = engine.start(workflow("w")(before), id="r")
        engine.run_until_idle()
        clock.advance(10)
    with Engine(store, clock=clock) as engine:
        engine.register(workflow("w")(after))
        assert engine.run_until_idle().blocked == 1
        run = engine.get("r")
        recorded, attempted = MISMATCHES[after]
        assert f"the journal of run 'r' has {recorded} here, the workflow comes to {attempted}:" in str(
            str(run.info().blocked)
        )
        assert "wf.patched(KEY)" in run.explain()
    with Engine(store, clock=clock) as engine:
        engine.register(workflow("w")(before))
        engine.run_until_idle(advance=True)
        assert engine.get("r").result() == 3


def renamed(wf: Context) -> int:
    found = wf.execute("a", two, renamed="one") + wf.execute("b", lambda: 7)
    wf.sleep("s", 10)
    return found


def patched(wf: Context) -> int:
    new = wf.patched("p")
    found = wf.execute("a", one) + wf.execute("b", two)
    if new:
        found += wf.execute("new", two)
    wf.sleep("s", 10)
    return found


@pytest.mark.parametrize(("after", "old", "new"), [(renamed, 3, 9), (patched, 3, 5)], ids=["renamed", "patched"])
def test_new_code_for_new_runs(after: Any, old: int, new: int, store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(workflow("w")(before))
        engine.start(workflow("w")(before), id="r")
        engine.run_until_idle()
    with Engine(store, clock=clock) as engine:
        flow = workflow("w")(after)
        engine.register(flow)
        engine.start(flow, id="new")
        engine.run_until_idle(advance=True)
        assert [engine.get(flow, name).result() for name in ("r", "new")] == [old, new]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (lambda: None, "it must be fn"),
        (lambda wf, a, b: None, "it must be fn"),
        (3, "has no method `run`"),
        (Engine, "is a class"),
        ((lambda wf: (yield)), "is a generator"),
    ],
    ids=["no parameter", "three", "no function", "class", "generator"],
)
def test_what_is_no_workflow_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        workflow("w")(given)


@pytest.mark.parametrize(
    "options",
    [{"name": ""}, {"name": "w", "retry": 3}, {"name": "w", "concurrency": 0}, {"name": "w", "max_crashes": 0}],
)
def test_wrong_options_are_refused(options: Any) -> None:
    with pytest.raises(DefinitionError):
        workflow(**options)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("call", ["execute", "sleep", "now"])
def test_a_forgotten_await_is_found(engine: Engine, call: str) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> int:
        given: dict[str, tuple[Any, ...]] = {"execute": ("a", one), "sleep": ("a", 5), "now": ("a",)}
        getattr(wf, call)(*given[call])
        return await wf.execute("b", two)

    text = blocked_by(engine, flow)
    assert text == "w: the call with the key 'a' was made without `await`, so it did nothing: await it"


def test_a_call_may_be_made_before_a_sleep_and_awaited_after_it(engine: Engine) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> int:
        later = wf.execute("a", one)
        try:
            await wf.sleep("s", 5)
        except BaseException:
            later.close()
            raise
        return await later

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    assert run.result() == 1


class Odd(BaseException):
    pass


def odd() -> int:
    raise Odd


def test_a_workflow_that_goes_on_after_a_call_that_is_not_recorded_is_found(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> int:
        with contextlib.suppress(Odd):
            wf.execute("a", odd)
        return 1

    assert "w: the function went on after Odd had ended one of its calls" in blocked_by(engine, flow)


def test_a_limit_around_a_call_is_found(store: Driver) -> None:
    forever = asyncio.Event()

    async def step() -> None:
        await forever.wait()

    @workflow("w")
    async def flow(wf: AsyncContext) -> int:
        try:
            async with asyncio.timeout(0.01):
                await wf.execute("a", step)
        except TimeoutError:
            pass
        return await wf.execute("b", two)

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert "went on after CancelledError had ended one of its calls" in str(run.info().blocked)
        assert "give the step timeout=" in str(run.info().blocked)


def test_an_input_is_refused_where_the_workflow_takes_none(engine: Engine) -> None:
    @workflow("none")
    def flow(_wf: Context) -> None:
        """Takes no input."""

    engine.register(flow)
    with pytest.raises(CodecError, match=r"expected None, found 3; workflow .* takes no input"):
        engine.start(flow, 3)  # type: ignore[call-overload]
    assert engine.runs() == []
