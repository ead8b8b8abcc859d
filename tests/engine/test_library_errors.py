"""Errors of this library that user code raises, e.g. of another engine, are its failures; and code that cancels its own task ends all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    AsyncEngine,
    Command,
    Context,
    Engine,
    Full,
    LostClaim,
    NotFound,
    Ok,
    OutcomeUnknown,
    ReadOnly,
    RetryPolicy,
    RevMismatch,
    RunEnded,
    StateCtx,
    StoreError,
    Unavailable,
    commit,
    delay,
    flow,
    named,
    park,
    workflow,
)
from stepflow.engine.clock import Clock
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, chain
from tests.engine.hostile import TRAITS, make

ERRORS: dict[str, Callable[[], Exception]] = {
    "LostClaim": lambda: LostClaim("of another engine"),
    "RevMismatch": lambda: RevMismatch(["bad"]),  # the id of the State itself, which nothing else has moved
    "RevMismatch of another": lambda: RevMismatch(["other"]),
    **{
        kind.__name__: lambda kind=kind: kind("of another store")  # type: ignore[misc]
        for kind in (StoreError, Unavailable, OutcomeUnknown, Full, ReadOnly, NotFound)
    },
    "RunEnded": lambda: RunEnded("other", "completed", "it cannot be cancelled"),
}
STYLES = ("step", "async step", "workflow", "async workflow", "function", "async function")
TRANSACTIONS = ("transaction", "workflow's transaction", "atomic workflow")
TRIES = RetryPolicy(max_attempts=3, delay=1, jitter=0)


def raising(style: str, raise_it: Callable[[], None]) -> Any:
    """A flow whose user code raises an error."""

    def step(_order: object = None) -> None:
        raise_it()

    async def astep(_order: object = None) -> None:
        await asyncio.sleep(0)
        raise_it()

    def body(wf: Context) -> None:
        wf.execute("step", step)

    async def abody(wf: AsyncContext) -> None:
        await wf.execute("step", astep)

    def function(ctx: StateCtx) -> Command:
        raise_it()
        return commit(park(ctx))

    async def afunction(ctx: StateCtx) -> Command:
        raise_it()
        return commit(park(ctx))

    def tstep(_connection: object) -> None:
        raise_it()

    def tbody(wf: Context) -> None:
        wf.transaction("step", tstep)

    made: dict[str, Callable[[], Any]] = {
        "step": lambda: named("bad").do("step", step).compile(retry=TRIES),
        "async step": lambda: named("bad").do("step", astep).compile(retry=TRIES),
        "workflow": lambda: workflow("bad", retry=TRIES)(body),
        "async workflow": lambda: workflow("bad", retry=TRIES)(abody),
        "transaction": lambda: named("bad").do("step", tstep, transaction=True).compile(retry=TRIES),
        "workflow's transaction": lambda: workflow("bad", retry=TRIES)(tbody),
        "atomic workflow": lambda: workflow("bad", retry=TRIES, atomic=True)(body),
        "function": lambda: flow("bad", retry=TRIES)(function),
        "async function": lambda: flow("bad", retry=TRIES)(afunction),
    }
    return made[style]()


@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["real", "virtual"])
@pytest.mark.parametrize("style", [*STYLES, *TRANSACTIONS])
@pytest.mark.parametrize("error", ERRORS)
def test_it_is_a_failure_of_the_code_that_raised_it(
    error: str, style: str, clock: Clock | None, tmp_path: Path
) -> None:
    calls = []

    def raise_it() -> None:
        calls.append(1)
        failure = ERRORS[error]()
        raise failure

    policy = TRIES if clock is not None else None
    with Engine(f"sqlite:///{tmp_path}/runs.db" if style in TRANSACTIONS else "memory://", clock=clock) as engine:
        bad, innocent = raising(style, raise_it), chain("innocent", "a")
        if policy is None:  # the first attempt shows it, too
            bad.options = bad.options.__class__(retry=RetryPolicy(max_attempts=1))
        engine.register(bad, innocent)
        run = engine.start(bad, id="bad")
        other = engine.start(innocent, Order(), id="innocent")
        engine.run_until_idle(advance=clock is not None)
        info = run.info()
        assert info.status == "failed"
        assert info.error is not None
        assert info.error.type == error.partition(" ")[0]
        assert len(calls) == (3 if policy else 1)
        assert other.result() == Order(log=["a"])


@pytest.mark.parametrize("style", TRANSACTIONS)
@pytest.mark.parametrize("trait", TRAITS)
def test_an_error_of_a_careless_class_in_a_transaction_is_kept(trait: str, style: str, tmp_path: Path) -> None:
    def raise_it() -> None:
        failure = make("Exception", trait)
        raise failure

    with Engine(f"sqlite:///{tmp_path}/runs.db", clock=VirtualClock()) as engine:
        engine.register(bad := raising(style, raise_it))
        run = engine.start(bad, id="bad")
        engine.run_until_idle(advance=True)
        info = run.info()
        assert info.error is not None
        assert (info.status, info.error.type) == ("failed", "Hostile")


@pytest.mark.parametrize("error", ["Unavailable", "LostClaim"])
def test_a_delay_of_a_snapshot_calls_its_function_once(error: str) -> None:
    calls = []

    @flow("remind")
    def remind(ctx: StateCtx) -> Command:
        calls.append(ctx.id)
        failure = ERRORS[error]()
        raise failure

    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(remind)
        state = StateCtx("order")
        engine.do(commit(park(state), delay(state, "remind", timedelta(hours=1), commit=False)))
        engine.run_until_idle(advance=True, max_jumps=10)
        assert calls == ["order"]


def test_a_function_that_renames_its_state_fails() -> None:
    calls = []

    @flow("rename")
    def rename(ctx: StateCtx) -> Command:
        calls.append(ctx.id)
        ctx.id = "other"
        return commit(park(ctx))

    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(rename)
        engine.start(rename, id="other")
        run = engine.start(rename, id="one")
        engine.run_until_idle(advance=True, max_jumps=10)
        info = run.info()
        assert (info.status, calls.count("one")) == ("failed", 3)
        assert info.error is not None
        assert "gave its State 'one' the id 'other'" in info.error.message


@pytest.mark.parametrize("of", ["other", "one"])
def test_a_commit_that_meets_a_newer_revision_each_time_is_counted_and_logged(of: str, caplog: Any) -> None:
    calls = []

    @flow("both")
    def both(ctx: StateCtx) -> Command:
        calls.append(1)
        newer = StateCtx(of)  # as if it did not exist
        return commit(park(newer)) if of == ctx.id else commit(park(ctx), park(newer))

    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(both)
        engine.do(commit(park(StateCtx("other"))))
        run = engine.start(both, id="one")
        engine.run_until_idle(advance=True, until=timedelta(seconds=9.5))
        assert (len(calls), run.info().attempt) == (10, 11)
        run.cancel()
    logged = [record for record in caplog.records if getattr(record, "event", "") == "conflict"]
    assert [record.attempt for record in logged] == [1, 2, 4, 8]  # type: ignore[attr-defined]
    assert f"another commit moved '{of}' first" in logged[0].getMessage()


@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["real", "virtual"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    "style", ["in a step", "in a step that fails", "at the end", "before a wait", "function", "chain"]
)
def test_code_that_cancels_its_own_task_when_it_ends(style: str, times: int, clock: Clock | None) -> None:
    def cancel() -> None:
        for _ in range(times):
            asyncio.current_task().cancel()  # type: ignore[union-attr]

    async def astep() -> None:
        cancel()
        if style == "in a step that fails":
            raise ValueError

    async def body(wf: AsyncContext) -> str:
        if "step" in style:
            await wf.execute("step", astep)
        if style == "before a wait":
            cancel()
            await wf.wait_for_event("paid", "paid", str)
        if style == "at the end":
            cancel()
        return "done"

    async def function(ctx: StateCtx) -> Command:
        cancel()
        return commit(park(ctx))

    chained = named("bad").do("step", astep).compile()
    bad: Any = {"function": flow("bad")(function), "chain": chained}.get(style, workflow("bad")(body))

    async def program() -> None:
        async with AsyncEngine("memory://", clock=clock) as engine:
            engine.register(bad, innocent := chain("innocent", "a"))
            run = await engine.start(bad, id="bad")
            await asyncio.wait_for(engine.run_until_idle(), 60)
            info = await run.info()
            assert info.owner == ""
            assert info.status in ("completed", "waiting", "parked", "failed")
            other = await engine.start(innocent, Order())
            await engine.run_until_idle()
            assert (await other.result()).log == ["a"]

    asyncio.run(program())


@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["real", "virtual"])
@pytest.mark.parametrize("waits", [False, True])
def test_a_call_of_a_map_that_cancels_its_own_task_fails_alone(waits: bool, clock: Clock | None) -> None:
    async def double(n: int) -> int:
        if n == 1:
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            if waits:
                await asyncio.sleep(0)
        return 2 * n

    @workflow("doubles")
    async def doubles(wf: AsyncContext) -> list[str]:
        return [
            str(one.value) if isinstance(one, Ok) else str(one.error) for one in await wf.map("m", double, range(3))
        ]

    async def program() -> None:
        async with AsyncEngine("memory://", clock=clock) as engine:
            engine.register(doubles)
            run = await engine.start(doubles)
            await asyncio.wait_for(engine.run_until_idle(), 60)
            assert await run.result(timeout=60) == ["0", "CancelledError()" if waits else "2", "4"]

    asyncio.run(program())


class Leaving:
    """A value that ends the process where it is written."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise SystemExit(3)


def test_a_workflow_that_returns_what_cannot_be_written_fails() -> None:
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(leaves := workflow("leaves")(lambda _wf: Leaving()))
        run = engine.start(leaves)
        engine.run_until_idle(advance=True, max_jumps=3)
        info = run.info()
        assert info.error is not None
        assert (info.status, info.error.type) == ("failed", "SystemExit")
