"""The counts above the list of runs: of now while they are quick, else the last ones, and counted beside the pages."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from stepflow import AsyncEngine
from stepflow.server import app, recent_tally
from stepflow.server.recent_tally import QUICK_S, REST, RecentTally

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Counted:
    """Counts that take `took` seconds of a clock that only they move."""

    def __init__(self, took: float) -> None:
        self.took, self.now, self.count, self.told = took, 0.0, 0, 0
        self.goes = asyncio.Event()
        self.goes.set()
        self.tally = RecentTally(self._count, lambda: self.now, self._tell)

    async def _count(self):
        await self.goes.wait()
        self.now += self.took
        self.count += 1
        if self.count == 3:
            raise OSError("the disk is gone")
        return {"order": {"completed": self.count}}

    def _tell(self) -> None:
        self.told += 1


async def turns() -> None:
    """Let the tasks that are ready come to their ends; none of them waits for anything but the loop."""
    for _ in range(20):
        await asyncio.sleep(0)


def shown(count):
    return {"order": {"completed": count}}


async def test_a_quick_count_is_made_each_time():
    counted = Counted(QUICK_S / 2)
    assert [await counted.tally.read() for _ in range(2)] == [shown(1), shown(2)]
    assert counted.told == 0  # or each count would lead to the next one


async def test_pages_that_ask_together_are_answered_by_one_count():
    counted = Counted(1.0)
    assert await asyncio.gather(*(counted.tally.read() for _ in range(5))) == [shown(1)] * 5
    assert counted.count == 1


async def test_a_slow_count_is_made_beside_the_pages(caplog):
    counted = Counted(1.0)
    assert await counted.tally.read() == shown(1)
    counted.now += REST * 1.0
    counted.goes.clear()
    assert await counted.tally.read() == shown(1)  # although the next count has not ended
    counted.goes.set()
    await turns()
    assert (await counted.tally.read(), counted.told) == (shown(2), 2)
    counted.now += REST * 1.0
    assert await counted.tally.read() == shown(2)
    await turns()
    assert "the runs could not be counted" in caplog.text
    assert await counted.tally.read() == shown(2)
    await turns()
    assert await counted.tally.read() == shown(4)


async def test_pages_that_show_numbers_count_once(store, monkeypatch):
    """Where a count is not quick, all of them show the last one."""
    monkeypatch.setattr(recent_tally, "QUICK_S", -1.0)
    monkeypatch.setattr(recent_tally, "REST", 1e9)
    counts = []

    async def counted(self, **_options):
        counts.append(self)
        return {"order.v1": {"completed": 1_000_000}}

    monkeypatch.setattr(AsyncEngine, "tally", counted)
    served = app(store)
    async with served.router.lifespan_context(served):
        transport = httpx2.ASGITransport(served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            for path in (
                "/ui/flows",
                "/ui/runs",
                "/ui/store",
                "/api/v1/flows?recent=true",
                "/api/v1/health?recent=true",
            ):
                assert (await client.get(path)).status_code == 200
            assert len(counts) == 1
            for path in ("/api/v1/flows", "/api/v1/health?recent=false"):
                assert (await client.get(path)).status_code == 200
    assert len(counts) == 3
