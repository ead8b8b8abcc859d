"""An operator of a server in this process: each answer is checked against the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import attrs
import httpx2
import jsonschema_rs
from attrs import Factory, frozen

from stepflow import AsyncEngine, Context, named, workflow
from stepflow.server import app
from stepflow.server.operator_api.api import OPERATIONS
from stepflow.server.operator_api.openapi import document


@attrs.define
class Order:
    amount: int
    charged: int = 0
    note: str = ""


def charge(order: Order) -> None:
    if order.amount < 0:
        raise ValueError(f"cannot charge {order.amount}")
    order.charged = order.amount


def confirm(order: Order, note: str) -> None:
    order.note = note


order_flow = (
    named("order.v1", Order).do("charge", charge).wait_event("confirm", "confirmed", str, then=confirm).compile()
)
nightly_flow = named("nightly.v1", dict[str, int]).do("count", lambda counts: counts.update(done=1)).compile()


def twice(number: int) -> int:
    return 2 * number


@workflow("doubled.v1")
def doubled(wf: Context, number: int) -> int:
    return wf.execute("twice", twice, number) + wf.execute("again", twice, number)


FLOWS = (order_flow, nightly_flow, doubled)


@cache
def described() -> dict[str, Any]:
    return json.loads(json.dumps(document(OPERATIONS, FLOWS)))


@cache
def _validator(method: str, path: str, status: int) -> Any:
    """Of the answers of this status."""
    answers = described()["paths"][path][method]["responses"]
    assert str(status) in answers, f"{method} {path} may not answer {status}"
    schema = answers[str(status)]["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator(schema | {"components": described()["components"]}, validate_formats=True)


@frozen
class Operator:
    """Calls a server that knows FLOWS; `engine` is another one on its store, which advances runs."""

    client: httpx2.AsyncClient
    engine: AsyncEngine
    headers: Mapping[str, str] = Factory(dict)

    async def get(self, path: str, expected: int = 200, /, **query: Any) -> Any:
        answer = await self.client.get(f"/api/v1{path}", params=query, headers=self.headers)
        return self._checked("get", path, answer, expected)

    async def post(self, path: str, expected: int = 200, /, namespace: str = "", **body: Any) -> Any:
        params = {"namespace": namespace} if namespace else {}
        answer = await self.client.post(f"/api/v1{path}", json=body, params=params, headers=self.headers)
        return self._checked("post", path, answer, expected)

    def _checked(self, method: str, path: str, answer: httpx2.Response, status: int) -> Any:
        assert answer.status_code == status, answer.text
        found = answer.json()
        _validator(method, f"/api/v1{path}", status).validate(json.loads(answer.text))
        return found

    def with_token(self, secret: str) -> Operator:
        return attrs.evolve(self, headers={"authorization": f"Bearer {secret}"})


@asynccontextmanager
async def operating(store: str, **options: Any) -> AsyncIterator[Operator]:
    application = app(store, flows=FLOWS, **options)
    async with application.router.lifespan_context(application), AsyncEngine(store) as engine:
        engine.register(*FLOWS)
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            yield Operator(client, engine)


async def entries(operator: Any, **facts: str) -> list[dict[str, Any]]:
    """The entries of the audit that have these facts, the newest first."""
    found: list[dict[str, Any]] = (await operator.get("/audit", **facts))["entries"]
    return found
