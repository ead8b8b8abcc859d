"""The audit of the server in a PostgreSQL store."""

from __future__ import annotations

import pytest

from tests.server.operating import Order, operating, order_flow

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_entry_of_a_run_with_a_long_id_is_found_again(driver):
    run_id = "ö" * 500
    async with operating(driver) as operator:
        await operator.engine.start(order_flow, Order(1), id=run_id)
        await operator.post("/run/cancel", id=run_id)
        await operator.post("/flow/pause", flow="order.v1")
        (entry,) = (await operator.get("/audit", target=run_id))["entries"]
        assert (entry["verb"], entry["outcome"]) == ("cancel_run", "done")
        assert len((await operator.get("/audit"))["entries"]) == 2
        assert len((await operator.get("/runs"))["runs"]) == 1
        assert "server" in str((await operator.get("/health"))["conditions"])
