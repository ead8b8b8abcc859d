"""Delays fire once and not before their time, in several worker processes on one file and in several engines of one process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from stepflow import AsyncEngine, MemoryDriver, StateCtx, delay, flow, park
from stepflow.drivers.port.store import Driver
from stepflow.drivers.rocksdb import RocksdbDriver
from tests.processes.harness import Nursery
from tests.processes.timers import fire, show


def test_delays_fire_once_with_four_workers(nursery: Nursery) -> None:
    assert min(fire(nursery, delays=40, workers=4, apart_s=0.05)) >= 0


@pytest.fixture(params=["memory", "rocksdb"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    """Stores that belong to one process."""
    return MemoryDriver() if request.param == "memory" else RocksdbDriver(tmp_path / "store")


def test_delays_fire_once_with_four_engines_of_one_process(driver: Driver) -> None:
    late: dict[str, float] = {}
    times: list[str] = []

    @flow("late")
    async def note(ctx: StateCtx) -> Any:
        assert ctx.delayed_until is not None
        late[ctx.id] = (datetime.now(UTC) - ctx.delayed_until).total_seconds()
        times.append(ctx.id)
        return park(ctx)

    async def work() -> None:
        async with AsyncEngine(driver) as one, AsyncEngine(driver) as two, AsyncEngine(driver) as three:
            for engine in (one, two, three):
                engine.register(note)
            async with one.worker(), two.worker(), three.worker(), AsyncEngine(driver) as client:
                begin = datetime.now(UTC) + timedelta(seconds=0.5)
                for number in range(30):
                    await client.do(delay(StateCtx(f"d{number}"), "late", begin + timedelta(seconds=0.03 * number)))
                watch = client.watch()
                while len(late) < 30:
                    assert await watch.next(60) is not None

    asyncio.run(work())
    assert sorted(times) == sorted(f"d{number}" for number in range(30))
    show(list(late.values()))
    assert min(late.values()) >= 0


@pytest.mark.soak
def test_many_delays(nursery: Nursery) -> None:
    assert median(fire(nursery, delays=600, workers=4, apart_s=0.1)) < 0.05
