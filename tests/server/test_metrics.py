"""The endpoint for Prometheus: what it shows, and who may read it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stepflow import AsyncEngine, named
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.registry import driver_for
from stepflow.engine.clock import SystemClock
from stepflow.engine.instrument.metrics import METRICS
from stepflow.server.tokens import Token, TokenTable, digest

pytestmark = pytest.mark.anyio
STATE = {
    "stateCtxs": [{"current": {"id": "a"}}],
    "commit": {"commands": [{"transit": {"stateRef": {}, "flowId": "f"}}]},
}
CHAIN = named("order", dict).do("pay", lambda order: None).compile()
FAILS = named("fails", dict).do("pay", lambda order: 1 / 0).compile()


async def samples(caller, path="/metrics", **headers):
    """Each sample of the endpoint: its name and the values of its labels."""
    answer = await caller.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


async def test_it_has_all_metrics_of_the_table(server, store):
    async with server(store) as caller:
        async with AsyncEngine(store) as engine:
            await engine.start(CHAIN, {})
        answer = await caller.client.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    for metric in METRICS:
        family = families[metric.prometheus.removesuffix("_total")]
        assert family.documentation == metric.description


async def test_it_counts_the_runs_of_the_store_by_flow_and_status(server, store):
    async with server(store) as caller, AsyncEngine(store) as engine:
        engine.register(CHAIN, FAILS)
        await engine.start(CHAIN, {})
        await engine.start(FAILS, {})
        await engine.run_until_idle()
        await engine.start(CHAIN, {})
        found = await samples(caller)
        assert found["stepflow_store_runs", "order", "completed"] == 1
        assert found["stepflow_store_runs", "order", "queued"] == 1
        assert found["stepflow_store_runs", "fails", "failed"] == 1
        assert found["stepflow_store_runs", "fails", "queued"] == 0


async def test_it_counts_the_engines_that_claim(server, store):
    async with server(store) as caller:
        assert (await samples(caller))["stepflow_store_workers",] == 0
        clock, driver = SystemClock(), driver_for(store)
        worker = driver.connect("", Owner("worker", "host", 1), clock.now())
        worker.claim({CHAIN.name: CHAIN.definition}, clock.now(), 1)
        worker.beat(clock.now())
        assert (await samples(caller))["stepflow_store_workers",] == 1
        worker.close()
        assert (await samples(caller))["stepflow_store_workers",] == 0


async def test_it_counts_what_the_server_does_itself(server, store):
    async with server(store) as caller:
        await caller.post("Driver/Commit", STATE)
        await caller.post("Driver/Commit", STATE, status=409)
        found = await samples(caller)
    assert found["stepflow_runs_started_total", "f"] == 1
    assert found["stepflow_writes_refused_total", "RevMismatch"] == 1
    assert found["stepflow_commit_duration_seconds_count",] == 2
    assert found["stepflow_commit_size_bucket", "1.0"] == 2


async def test_a_namespace_has_an_endpoint_of_its_own(server, store):
    async with server(store) as caller:
        await caller.post("Driver/Commit", STATE, namespace="eu")
        assert ("stepflow_store_runs", "f", "running") not in await samples(caller)
        found = await samples(caller, "/eu/metrics")
        assert (
            sum(n for (name, *labels), n in found.items() if (name, *labels[:1]) == ("stepflow_store_runs", "f")) == 1
        )
        assert found["stepflow_runs_started_total", "f"] == 1


async def test_it_needs_a_token_with_the_scope_read_of_the_namespace(server, store):
    entries = [("reader", "read", None), ("eu", "admin", frozenset({"eu"}))]
    tokens = TokenTable([Token(secret, digest(secret), scope, only) for secret, scope, only in entries])
    async with server(store, tokens=tokens) as caller:

        async def status(path, secret):
            headers = {"authorization": f"Bearer {secret}"} if secret else {}
            return (await caller.client.get(path, headers=headers)).status_code

        assert await status("/metrics", "") == 401
        assert await status("/metrics", "reader") == 200
        assert await status("/metrics", "eu") == 403
        assert await status("/eu/metrics", "eu") == 200
        assert await status("/eu/metrics", "reader") == 200


async def test_what_cannot_be_read_has_a_reason(server, store):
    async with server(store) as caller:
        answer = await caller.client.get("/..%2F/metrics")
        assert answer.status_code in (400, 404)
        answer = await caller.client.get("/a b/metrics")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
        assert (await caller.client.post("/metrics")).status_code == 405
