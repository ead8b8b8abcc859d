"""A server of a store in this process, and what calls it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from attrs import frozen

from stepflow.server import app


@frozen
class Caller:
    """Calls a server in this process."""

    client: httpx2.AsyncClient

    async def post(self, method: str, body: Any, *, status: int = 200, namespace: str = "", **headers: str) -> Any:
        """The answer to a JSON request of flowstate.v1, which must have this status."""
        path = f"{namespace and '/' + namespace}/flowstate.v1.{method}"
        headers = {"content-type": "application/json", **headers}
        answer = await self.client.post(path, content=json.dumps(body), headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/served.db"


@asynccontextmanager
async def calling(store: str, **options: Any) -> AsyncIterator[Caller]:
    application = app(store, **options)
    async with application.router.lifespan_context(application):
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            yield Caller(client)


@pytest.fixture
def server():
    return calling
