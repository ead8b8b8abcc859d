"""Invalid queries are refused, and a watch can be cancelled at any time."""

from __future__ import annotations

import asyncio

import pytest

from stepflow import (
    AsyncEngine,
    GetStateByID,
    GetStateByLabels,
    GetStates,
    StateCtx,
    StepflowError,
    commit,
    park,
)
from stepflow.testing.conformance.cases.kit import on_loop


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (lambda ctx: GetStateByID(ctx, ""), "id is empty"),
        (lambda ctx: GetStateByID(ctx, "x", -1), "rev must be >= 0"),
        (lambda ctx: GetStateByLabels(ctx, {}), "labels are empty"),
        (lambda ctx: GetStates(since_rev=-2), "since_rev=-2"),
        (lambda ctx: GetStates(since_rev=99), "since_rev=99: the newest revision of this store is 0"),
        (lambda ctx: GetStates(limit=0), "limit=0"),
        (lambda ctx: GetStates(labels=({"a": 1},)), "labels"),
    ],
)
def test_bad_questions(engine, command, error):
    with pytest.raises(StepflowError, match=error):
        engine.do(command(StateCtx("")))


@on_loop
async def test_a_wait_that_was_cancelled_loses_nothing(store):
    async with AsyncEngine(store) as engine:
        watch = engine.watch()
        for i in range(20):
            waiting = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0)
            ctx = StateCtx(f"s{i}")
            doing = asyncio.ensure_future(engine.do(commit(park(ctx))))
            waiting.cancel()
            await doing
            await asyncio.wait([waiting])
        assert [(await watch.next(60)).id for _ in range(20)] == [f"s{i}" for i in range(20)]
