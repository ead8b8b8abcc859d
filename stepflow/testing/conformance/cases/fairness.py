"""Fairness: a backlog of one flow keeps no other flow waiting, counted in steps."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.model.limits import Limit
from stepflow.steps.builder import named
from stepflow.testing.conformance.cases.kit import on_loop

BACKLOG, OTHERS, WIDTH = 400, 10, 8
SHARE = 0.05  # of the backlog's steps, before the first one of another flow


class FairnessCases:
    """Runs of several flows on one worker."""

    @pytest.mark.parametrize("limits", [(), (Limit("key", WIDTH),)])
    @on_loop
    async def test_a_backlog_keeps_no_other_flow_waiting(self, driver: Driver, limits: tuple[Limit, ...]) -> None:
        log: list[str] = []

        def logging(name: str) -> Any:
            async def step() -> None:
                log.append(name)

            return named(name).do("a", step).compile()

        long, short = logging("long"), logging("short")
        async with AsyncEngine(driver, concurrency=WIDTH) as engine:
            engine.register(long, short)
            await engine.start_many(long, [(None, None) for _ in range(BACKLOG)], limits=limits)
            await engine.start_many(short, [(None, None) for _ in range(OTHERS)], priority=9)
            await engine.run_until_idle()
        assert log.index("short") < SHARE * BACKLOG
        assert len(log) - log[::-1].index("short") < 4 * OTHERS + 4 * WIDTH
        assert len(log) == BACKLOG + OTHERS
