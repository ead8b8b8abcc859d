"""Memory: what a run needs is freed when it ends, without the collector of cycles."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    StateCtx,
    commit,
    current,
    flow,
    named,
    park,
    transit,
    workflow,
)
from stepflow.engine.execution.attempt import Attempt


def note(log: list[str]) -> None:
    log.append(current().step)


async def anote(log: list[str]) -> None:
    log.append(current().step)


@flow("moves")
async def moves(ctx: StateCtx) -> Any:
    if ctx.rev > 1:
        return commit(park(ctx))
    return commit(transit(ctx, "moves"))


async def number() -> int:
    return 1


@workflow("numbers")
async def numbers(wf: AsyncContext) -> int:
    return await wf.execute("a", number) + await wf.execute("b", number)


@workflow("sync-numbers")
def sync_numbers(wf: Context) -> int:
    return wf.execute("a", int) + wf.execute("b", int)


STYLES = {
    "sync": named("x", list[str]).do("a", note).do("b", note).compile(),
    "async": named("x", list[str]).do("a", anote).do("b", anote).compile(),
    "function": moves,
    "workflow": numbers,
    "sync workflow": sync_numbers,
}


@pytest.mark.parametrize("style", STYLES)
def test_an_attempt_that_has_ended_is_freed_at_once(store: Any, style: str) -> None:
    tested: Any = STYLES[style]
    gc.collect()
    gc.disable()
    try:
        with Engine(store) as engine:
            engine.register(tested)
            for _ in range(3):
                engine.start(tested, []) if style in ("sync", "async") else engine.start(tested)
            engine.run_until_idle()
        # By their types: an object of another test, as a proxy of what is gone, may raise when it is asked for its class.
        left: list[Any] = [found for found in gc.get_objects() if issubclass(type(found), Attempt)]
        assert [found for found in left if found.flow is tested] == []
    finally:
        gc.enable()
