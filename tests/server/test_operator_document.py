"""The OpenAPI document is one, is served, and tells the truth: requests that are made of it find nothing that it does not say."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from stepflow import Engine
from stepflow.drivers.registry import driver_for
from stepflow.engine.instrument.request_trace import trace_given
from stepflow.server.operator_api import routes
from stepflow.server.operator_api.api import OPERATIONS
from tests.http.served import Served
from tests.server.operating import Order, described, operating, order_flow

EXAMPLES = 5  # of right and of wrong requests, for each operation
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.positive_data_acceptance,
    checks.missing_required_header,
    checks.unsupported_method,
]


@cache
def schema() -> Any:
    found = schemathesis.openapi.from_dict(described())
    found.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "404", "409", "422"]  # not 400
    return found


@pytest.fixture(scope="module")
def served():
    driver = driver_for("memory://")
    with Engine(driver) as engine:
        engine.register(order_flow)
        engine.start_many(order_flow, [(f"o{number}", Order(number - 1)) for number in range(3)])
        engine.run_until_idle()
        server = Served(driver)
        yield server
        server.close()


def test_the_document_is_one():
    schema().validate()
    assert described()["openapi"] == "3.1.0"
    named = [one["operationId"] for path in described()["paths"].values() for one in path.values()]
    assert sorted(named) == sorted(one.name for one in OPERATIONS)


def test_each_call_that_changes_something_has_the_headers_of_its_trace():
    headers = described()["components"]["parameters"]
    assert {name: one["in"] for name, one in headers.items()} == {"traceparent": "header", "tracestate": "header"}
    assert trace_given([headers["traceparent"]["example"]], [headers["tracestate"]["example"]]).keys() == headers.keys()
    for methods in described()["paths"].values():
        for method, one in methods.items():
            named = {ref["$ref"].rpartition("/")[2] for ref in one["parameters"] if "$ref" in ref}
            assert named == (headers.keys() if method == "post" else set())


@pytest.mark.anyio
async def test_it_is_served(store):
    async with operating(store) as operator:
        assert (await operator.client.get("/api/v1/openapi.json")).json() == described()


@pytest.mark.anyio
async def test_it_is_made_once_in_a_process_and_only_if_it_is_asked_for(store, monkeypatch):
    made = []
    monkeypatch.setattr(routes, "document", lambda operations: made.append(operations) or {})
    routes.described.cache_clear()
    try:
        async with operating(store) as first, operating(store) as second:
            assert made == []
            for one in (first, second, first):
                await one.client.get("/api/v1/openapi.json")
        assert made == [OPERATIONS]
    finally:
        routes.described.cache_clear()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_requests_made_of_the_document(served, operation, mode):
    described_operation = schema()[f"/api/v1{operation.path}"][operation.method]
    address, headers = f"http://{served.place}", {"authorization": f"Bearer {served.token}"}

    @given(case=described_operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def fits(case: Any) -> None:
        case.validate_response(case.call(base_url=address, headers=headers), checks=CHECKS)

    fits()
