"""The OpenAPI document is one, is served, and tells the truth: requests that are made of it find nothing that it does not say."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from stepflow import Engine
from stepflow.drivers.registry import driver_for
from stepflow.engine.instrument.request_trace import trace_given
from stepflow.server.operator_api import routes
from stepflow.server.operator_api.api import OPERATIONS
from tests.http.served import Served
from tests.server.operating import Order, described, operating, order_flow

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
    """The document, with the options that the command `st run` has without any."""
    return schemathesis.openapi.from_dict(described())


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


FIRST = {(one.query, one.body): one for one in reversed(OPERATIONS)}  # of those that take the same query and body
RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_requests_made_of_the_document(served, operation):
    """The cases of `st run --phases coverage`: each bound and each form of each value, and what is just beyond it, of each query and body once."""
    of_document = schema()[f"/api/v1{operation.path}"][operation.method]
    address, headers = f"http://{served.place}", {"authorization": f"Bearer {served.token}"}
    modes = [RIGHT, WRONG] if FIRST[operation.query, operation.body] is operation else [RIGHT]
    config = schema().config.generation_for(operation=of_document, phase="coverage")
    seen = set()
    with requests.Session() as session:
        for case in schema().iter_coverage_cases(of_document, generation_modes=modes, generation_config=config):
            case.validate_response(case.call(base_url=address, headers=headers, session=session), checks=CHECKS)
            seen.add(case.meta.generation.mode)
    assert seen == set(modes)
