"""Operators see the store: workers and what they hold, limits, health; and each scope of a token ends where it should."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import Limit, named
from stepflow.server.operator_api.api import OPERATIONS
from stepflow.server.operator_api.operation import NoBody
from stepflow.server.tokens import Token, TokenTable, digest
from tests.server.operating import Order, operating, order_flow

pytestmark = pytest.mark.anyio


async def test_workers_and_limits_while_a_run_is_held(store):
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold(_counts):
        entered.set()
        await leave.wait()

    held_flow = named("held.v1", dict[str, int]).do("hold", hold).compile()
    limits = [Limit("tenant/a", 1), Limit("mail", rate=3, per=60)]
    async with operating(store) as operator:
        operator.engine.register(held_flow)
        async with operator.engine.worker():
            await operator.engine.start(held_flow, {}, id="first", limits=limits)
            await entered.wait()
            await operator.engine.start(held_flow, {}, id="second", limits=limits)
            workers = (await operator.get("/workers"))["workers"]
            (worker,) = [one for one in workers if one["held"]]
            assert [run["id"] for run in worker["held"]] == ["first"]
            assert worker["pid"] > 0
            assert abs(datetime.fromisoformat(worker["beat_at"]) - datetime.now(UTC)) < timedelta(minutes=5)
            found = {one["key"]: one for one in (await operator.get("/limits"))["limits"]}
            tenant, mail = found["tenant/a"], found["mail"]
            assert (tenant["concurrency"], tenant["held"], tenant["waiting"]) == (1, ["first"], 1)
            assert (mail["rate"], mail["per"], mail["begun"], mail["waiting"]) == (3, 60, 1, 1)
            leave.set()
            await operator.engine.get("second").result()
        assert (await operator.get("/limits")) == {"limits": [], "more": False}


async def test_health_tells_what_doctor_tells(store):
    async with operating(store) as operator:
        well = await operator.get("/health")
        assert well["ok"]
        assert {"blocked runs", "paused flows", "transactions of callers"} <= {
            one["what"] for one in well["conditions"]
        }
        await operator.engine.pause_flow("order.v1")
        ill = await operator.get("/health")
        (paused,) = [one for one in ill["conditions"] if not one["ok"]]
        assert (ill["ok"], paused["what"], paused["found"][:8]) == (False, "paused flows", "order.v1")


def table(*entries):
    return TokenTable([Token(secret, digest(secret), scope, only) for secret, scope, only in entries])


SECRETS = table(("reader", "read", None), ("operator", "operate", frozenset({""})), ("root", "admin", None))


async def test_scopes(store):
    async with operating(store, tokens=SECRETS) as anybody:
        reader, one, root = (anybody.with_token(secret) for secret in ("reader", "operator", "root"))
        await anybody.engine.start(order_flow, Order(1), id="o")
        await anybody.get("/runs", 401)
        assert len((await reader.get("/runs"))["runs"]) == 1
        for path, body in (
            ("/run/cancel", {"id": "o"}),
            ("/runs/cancel", {"filter": {}}),
            ("/flow/pause", {"flow": "f"}),
        ):
            refused = await reader.post(path, 403, **body)
            assert refused["message"].startswith("token 'reader' does not allow")
        assert (await one.post("/runs/cancel", filter={}))["count"] == 1
        await one.post("/runs/cancel", 403, filter={}, dry_run=False)
        await one.post("/flow/pause", 403, flow="order.v1")
        await one.post("/run/pause", id="o")
        await one.post("/run/pause", 403, id="o", namespace="b")
        await one.get("/runs", 403, namespace="b")
        await root.post("/runs/cancel", filter={}, dry_run=False)
        found = (await root.get("/audit"))["entries"]
        assert [(e["who"], e["verb"], e["outcome"]) for e in found] == [
            ("root", "cancel_runs", "done"),
            ("operator", "pause_run", "done"),
            ("operator", "pause_flow", "permission_denied"),
            ("operator", "cancel_runs", "permission_denied"),
            ("reader", "pause_flow", "permission_denied"),
            ("reader", "cancel_run", "permission_denied"),
        ]


async def test_every_operation_that_changes_something_needs_more_than_read(store):
    for operation in OPERATIONS:
        assert (operation.scope == "read") == (operation.body is NoBody), operation.name


@pytest.mark.parametrize("tokens", [None, SECRETS])
async def test_no_request_reaches_the_namespace_of_the_audit(store, tokens):
    async with operating(store, tokens=tokens) as anybody:
        root = anybody.with_token("root")
        await root.post("/flow/pause", flow="order.v1")
        where = {"namespace": "stepflow.audit"}
        for refused in (
            await root.get("/runs", 403, **where),
            await root.post("/runs/cancel", 403, filter={}, dry_run=False, **where),
            await root.get("/audit", 403, **where),
        ):
            assert "GET /api/v1/audit reads it" in refused["message"]
        path = "/stepflow.audit/flowstate.v1.Driver/GetStates"
        answer = await anybody.client.post(path, json={"getStates": {}}, headers=root.headers)
        assert answer.status_code == 403
        assert [e["verb"] for e in (await root.get("/audit"))["entries"]] == ["pause_flow"]


async def test_pages_of_other_sites_change_nothing(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        foreign = {"origin": "http://evil.example"}
        answer = await operator.client.post("/api/v1/run/cancel", json={"id": "o"}, headers=foreign)
        assert answer.status_code == 403
        assert (await operator.get("/run", id="o"))["info"]["status"] == "queued"


async def test_the_command_line_is_told_of_with_its_token(store):
    async with operating(store, tokens=SECRETS) as anybody:
        reader, one, root = (anybody.with_token(secret) for secret in ("reader", "operator", "root"))

        async def call(operator, method, **body):
            path = f"/stepflow.v1.Store/{method}"
            answer = await anybody.client.post(path, json=body, headers=operator.headers)
            return answer.status_code

        note = {"namespace": "", "verb": "cancel_run", "kind": "run", "target": "o", "arguments": {}}
        assert await call(reader, "begin_note", id="1" * 32, **note) == 403
        assert await call(one, "begin_note", id="2" * 32, **note) == 200
        assert await call(root, "end_note", id="2" * 32, result={}) == 404  # an entry of another token
        assert await call(one, "end_note", id="2" * 32, result={"count": 1}) == 200
        assert await call(one, "end_note", id="2" * 32, result={}, interrupted=True) == 200  # it has ended
        assert await call(one, "begin_note", id="3" * 32, **note | {"namespace": "b"}) == 403
        found = (await root.get("/audit", namespace="b"))["entries"] + (await root.get("/audit"))["entries"]
        assert [(e["who"], e["via"], e["outcome"], e["result"]) for e in reversed(found)] == [
            ("reader", "cli", "permission_denied", {}),
            ("operator", "cli", "done", {"count": 1}),
            ("operator", "cli", "permission_denied", {}),
        ]
