"""Actions of the pages: each operation that changes something has one, and none takes a form that no page of this browser made."""

from __future__ import annotations

import re

import httpx2
import pytest

from stepflow import AsyncEngine, named
from stepflow.server import app
from stepflow.server.operator_api.api import OPERATIONS
from stepflow.server.operator_api.operation import NoBody
from stepflow.server.tokens import Token, TokenTable, digest
from stepflow.server.ui.bulk_verbs import VERBS
from stepflow.server.ui.pages import ACTIONS, ASKS

pytestmark = pytest.mark.anyio
order_flow = named("order.v1", dict[str, int]).do("charge", lambda _order: None).compile()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(store):
    served = app(store, flows=[order_flow])
    async with AsyncEngine(store) as engine:
        await engine.start(order_flow, {}, id="a")
    async with served.router.lifespan_context(served):
        transport = httpx2.ASGITransport(served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as made:
            yield made


async def audit(client):
    return (await client.get("/api/v1/audit")).json()["entries"]


async def csrf(client, path):
    page = await client.get(path)
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def test_every_operation_that_changes_something_is_on_a_page():
    changing = {one.name for one in OPERATIONS if one.body is not NoBody}
    assert {ask.name for ask in ASKS} | set(VERBS) == changing


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.path)
async def test_a_form_of_another_page_changes_nothing(client, action):
    await client.get("/ui/runs")  # the browser has its cookie now
    url = f"/ui{action.path}?id=a&flow=order.v1&verb=cancel_runs"
    for form in (
        {"name": "x"},
        {"csrf": ""},
        {"csrf": "0" * 64},
        {"csrf": "\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 64},
    ):
        assert (await client.post(url, data=form)).status_code == 403
    foreign = {"origin": "http://evil.example"}
    right = {"csrf": await csrf(client, "/ui/ask/cancel_run?id=a")}
    assert (await client.post(url, data=right, headers=foreign)).status_code == 403
    assert (await client.get(url)).status_code in (404, 405)
    assert await audit(client) == []


async def test_the_form_of_the_page_changes_what_it_says(client):
    right = {"csrf": await csrf(client, "/ui/ask/cancel_run?id=a")}
    done = await client.post("/ui/do/cancel_run?id=a", data=right)
    assert (done.status_code, done.headers["location"]) == (303, "/ui/run?id=a")
    assert [(one["verb"], one["target"]) for one in await audit(client)] == [("cancel_run", "a")]


async def test_a_form_of_a_user_who_may_only_read_is_refused_and_audited(store):
    tokens = TokenTable(
        [Token(name, digest(name), scope, None) for name, scope in (("eve", "read"), ("root", "admin"))]
    )
    served = app(store, flows=[order_flow], tokens=tokens)
    async with served.router.lifespan_context(served):
        transport = httpx2.ASGITransport(served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            login = {"csrf": await csrf(client, "/ui/login"), "token": "eve", "next": "/ui/runs"}
            assert (await client.post("/ui/login", data=login)).status_code == 303
            page = await client.get("/ui/runs")
            mine = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
            assert mine is not None  # that of the form which logs out
            refused = await client.post("/ui/do/cancel_run?id=a", data={"csrf": mine[1]})
            assert refused.status_code == 403
            root = {"authorization": "Bearer root"}
            (entry,) = (await client.get("/api/v1/audit", headers=root)).json()["entries"]
            assert (entry["who"], entry["verb"], entry["outcome"]) == ("eve", "cancel_run", "permission_denied")


@pytest.mark.parametrize("number", ["9" * 5000, "\N{SUPERSCRIPT TWO}", "-1", "x"])
async def test_what_is_no_number_is_refused(client, number):
    right = await csrf(client, "/ui/ask/cancel_run?id=a")
    expected = {"csrf": right, "expected": number}
    assert (await client.post("/ui/do/bulk?verb=cancel_runs", data=expected)).status_code == 400
    form = {"csrf": right, "place": f"rev:{number}"}
    for verb in ("rewind_run", "fork_run"):
        assert (await client.post(f"/ui/do/{verb}?id=a", data=form)).status_code == 400
    assert await audit(client) == []
