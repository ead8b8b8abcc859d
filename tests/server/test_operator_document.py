"""The OpenAPI document is one, is served, and tells the truth: requests that are made of it find nothing that it does not say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import assume, example, given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from stepflow import Engine
from stepflow.drivers.registry import driver_for
from stepflow.engine.instrument.request_trace import trace_given
from stepflow.model.codec import Codec
from stepflow.model.json_schema import json_schema
from stepflow.server.operator_api import routes
from stepflow.server.operator_api.api import OPERATIONS
from stepflow.server.operator_api.openapi import FORMS, document
from tests.http.served import Served
from tests.server.operating import FLOWS, Order, described, doubled, nightly_flow, operating, order_flow

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
        engine.register(*FLOWS)
        engine.start_many(order_flow, [(f"o{number}", Order(number - 1)) for number in range(3)])
        engine.start(doubled, 4, id="d")
        engine.schedule("tick", nightly_flow, {"number": 1}, every=timedelta(hours=1))
        engine.run_until_idle()
        server = Served(driver, flows=FLOWS)
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


def test_it_has_the_inputs_of_the_flows_that_the_server_knows():
    schemas = described()["components"]["schemas"]
    known = {one["properties"]["flow"]["const"]: one for one in schemas["StartBody"]["anyOf"]}
    assert sorted(known) == ["doubled.v1", "nightly.v1", "order.v1"]
    assert known["doubled.v1"] == {
        "properties": {"flow": {"const": "doubled.v1"}, "input": {"type": "integer"}},
        "required": ["flow", "input"],
    }
    reference = known["order.v1"]["properties"]["input"]["$ref"]
    assert schemas[reference.rpartition("/")[2]]["required"] == ["amount"]
    assert "anyOf" not in json.loads(json.dumps(document(OPERATIONS)))["components"]["schemas"]["StartBody"]


@given(
    st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: (Decimal, value)),
        st.timedeltas().map(lambda value: (timedelta, value)),
        st.binary().map(lambda value: (bytes, value)),
    )
)
@example((timedelta, timedelta.max))
@example((timedelta, timedelta.min))
@example((Decimal, Decimal("-1E+30")))
def test_it_has_the_forms_of_values_that_json_has_not(typed):
    type_, value = typed
    stored = json.loads(Codec(type_).encode(value))
    jsonschema_rs.Draft202012Validator(FORMS[json_schema(type_)["format"]]).validate(stored)


@pytest.mark.parametrize("type_", [Decimal, timedelta, bytes])
@given(data=st.data())
def test_a_value_of_such_a_form_is_one(type_, data):
    form = FORMS[json_schema(type_)["format"]]
    pattern = form.get("pattern") or form["anyOf"][1]["pattern"]
    text = data.draw(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(max_codepoint=126)))
    assume(
        type_ is not bytes or all(group <= "|NsC0" for group in (text[at : at + 5] for at in range(0, len(text), 5)))
    )
    assume(type_ is not timedelta or float(text) >= timedelta.min.total_seconds())
    Codec(type_).decode(json.dumps(text))


def test_what_a_client_may_not_name_is_in_the_document():
    schemas = described()["components"]["schemas"]
    labels, event = schemas["StartBody"]["properties"]["labels"], schemas["PublishBody"]["properties"]["event"]
    for pattern in (labels["propertyNames"]["pattern"], event["pattern"]):
        assert [bool(re.search(pattern, name)) for name in ("mine", "stepflow.parent", "a\0")] == [True, False, False]


@pytest.mark.anyio
async def test_what_is_stored_forbids_a_call_with_409(store):
    """These were made of the document, and cannot be done."""
    async with operating(store) as operator:
        await operator.post("/run/start", flow="doubled.v1", input=4, id="d")
        await operator.engine.run_until_idle()
        for path, more in (
            ("/run/redrive", {}),
            ("/run/wake", {}),
            ("/run/move", {"flow": "order.v1", "to": "completed:order.v1/none"}),
            ("/run/resolve", {"step": "twice"}),
            ("/run/resolve-failed", {"step": "twice", "error": "lost"}),
            ("/run/fork", {"step": "twice", "input": "four"}),
        ):
            assert (await operator.post(path, 409, id="d", **more))["code"] == "failed_precondition"


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", [False, "4", None, [4]])
async def test_an_input_that_the_document_does_not_have_is_refused_with_400(store, wrong):
    async with operating(store) as operator:
        assert (await operator.post("/run/start", 400, flow="doubled.v1", input=wrong))["code"] == "invalid_argument"


@pytest.mark.anyio
async def test_it_is_served(store):
    async with operating(store) as operator:
        assert (await operator.client.get("/api/v1/openapi.json")).json() == described()


@pytest.mark.anyio
async def test_it_is_made_once_in_a_process_and_only_if_it_is_asked_for(store, monkeypatch):
    made = []
    monkeypatch.setattr(routes, "document", lambda *given: made.append(given) or {})
    routes.described.cache_clear()
    try:
        async with operating(store) as first, operating(store) as second:
            assert made == []
            for one in (first, second, first):
                await one.client.get("/api/v1/openapi.json")
        assert made == [(OPERATIONS, FLOWS)]
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


def test_requests_and_series_of_requests_made_of_the_document(served, tmp_path):
    """`st run` with the phases in which it makes values of its own, and takes ids for later calls from answers."""
    options = [
        "--phases=fuzzing,stateful",
        "--max-examples=4",
        "--generation-deterministic",
    ]
    header = f"authorization: Bearer {served.token}"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"http://{served.place}/api/v1/openapi.json",
        "-H",
        header,
    ]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Fuzzing" in done.stdout
    assert "Stateful" in done.stdout
