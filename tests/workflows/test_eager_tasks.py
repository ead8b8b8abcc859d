"""A loop whose tasks begin at once (`asyncio.eager_task_factory`): runs of all styles are advanced as on any other loop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from stepflow import AsyncContext, AsyncEngine, Command, StateCtx, commit, flow, named, park, workflow

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 added eager tasks")


async def double(n: int) -> int:
    if n > 1:
        await asyncio.sleep(0)
    return 2 * n


async def branch(wf: AsyncContext) -> int:
    return await wf.execute("two", double, 2) + await wf.execute("three", double, 3)


@workflow("side by side")
async def side_by_side(wf: AsyncContext) -> list[Any]:
    one = await wf.gather(wf.execute("one", double, 1), branch(wf), wf.gather(wf.execute("four", double, 4)))
    return [*map(str, one), [item.value for item in await wf.map("map", double, [0, 5], width=1)]]


@workflow("raises")
async def raises(_wf: AsyncContext) -> None:
    raise ValueError("at once")


@flow("parks")
async def parks(ctx: StateCtx) -> Command:
    return commit(park(ctx))


@flow("never parks")
async def never_parks(_ctx: StateCtx) -> Command:
    raise ValueError("at once")


def test_all_styles() -> None:
    chain = named("chain", dict[str, int]).do("set", lambda made: made.update(n=1)).compile()

    async def program() -> dict[str, dict[str, int]]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]  # see above
        async with AsyncEngine("memory://") as engine:
            engine.register(side_by_side, raises, parks, never_parks, chain)
            run = await engine.start(side_by_side)
            await engine.start_many(chain, [(f"chain-{n}", {}) for n in range(20)])
            for one in (raises, parks, never_parks):
                await engine.start(one)
            await engine.run_until_idle()
            assert await run.result(timeout=60) == ["2", "10", "(8,)", [0, 10]]
            return await engine.tally()

    assert asyncio.run(program()) == {
        "side by side": {"completed": 1},
        "chain": {"completed": 20},
        "raises": {"failed": 1},
        "parks": {"parked": 1},
        "never parks": {"sleeping": 1},
    }
