"""Every refusal of the server has one form: a code, a message and a remedy; pages and flowstate.v1 have their own."""

from __future__ import annotations

import json

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from stepflow import AsyncEngine, commit, flow, park
from stepflow.drivers.http.codec import dump
from stepflow.drivers.http.session import FORMAT
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.step import Member
from stepflow.server import app, flow_host
from stepflow.server.errors import REMEDIES
from stepflow.server.operator_api.api import OPERATIONS
from stepflow.server.operator_api.openapi import BASE
from stepflow.server.tokens import Token, TokenTable, digest
from stepflow.testing.conformance.kit import NOW, creation
from tests.server.operating import operating

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ROUTES = [one for one in app("memory://").routes if isinstance(one, Route)]

# Calls that need a parameter are refused for that before their namespace is looked at.
WITHOUT_PARAMETERS = frozenset(one.path for one in OPERATIONS if one.method == "GET") - {
    "/run", "/run/explain", "/run/history", "/run/journal", "/run/timeline", "/schedule",
}  # fmt: skip


@flow("ended.v1")
def ended(ctx):
    return commit(park(ctx, state="done"))


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert list(found) == ["code", "message", "remedy"]
    assert found["message"]
    assert found["remedy"] == REMEDIES[found["code"]]
    return found


@pytest.fixture(scope="module")
def client():
    with TestClient(app("memory://"), base_url="http://localhost", follow_redirects=False) as made:
        yield made


def path_of(route):
    return route.path_format.format(namespace="ns", name="x.css", rest="x")


@pytest.mark.parametrize("path", sorted({path_of(one) for one in ROUTES}))
def test_a_method_that_a_path_does_not_take(client, path):
    taken = {method for one in ROUTES if one.path_regex.match(path) for method in one.methods}
    for method in set(METHODS) - taken:
        answer = client.request(method, path)
        assert answer.headers["allow"] == ", ".join(sorted(taken))
        if path.startswith("/ui"):
            assert answer.status_code == 405
            assert "text/html" in answer.headers["content-type"]
            assert "it takes" in answer.text
        else:
            assert problem(answer, 405)["message"].startswith(f"{method} {path}: it takes ")


@pytest.mark.parametrize("method", METHODS)
def test_a_path_that_is_none(client, method):
    found = problem(client.request(method, f"{BASE}/scheduels"), 404)
    assert found["message"] == "there is no path '/api/v1/scheduels': did you mean /api/v1/schedules?"
    assert problem(client.request(method, "/%ff/nothing"), 404)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
@pytest.mark.anyio
async def test_what_each_call_refuses(store, operation):
    async with operating(store) as operator:
        path, call = f"{BASE}{operation.path}", operator.client.request
        assert problem(await call(operation.method, path, params={"no": "such"}, json={}), 400)
        forbidden = await call(operation.method, path, params={"namespace": "stepflow.audit"}, json={})
        assert problem(forbidden, 403 if operation.path in WITHOUT_PARAMETERS else 400)
        if operation.method == "POST":
            assert problem(await call("POST", path, content=b"{}"), 415)
            assert problem(await call("POST", path, json=[]), 400)


def test_without_a_token_and_with_wrong_ones():
    tokens = TokenTable([Token("reader", digest("r" * 43), "read", frozenset())])
    with TestClient(app("memory://", tokens=tokens), base_url="http://localhost") as client:
        problem(client.get(f"{BASE}/runs"), 401)
        right = {"authorization": f"Bearer {'r' * 43}"}
        refused = client.post(f"{BASE}/run/cancel", json={"id": "a"}, headers=right)
        assert problem(refused, 403)["code"] == "permission_denied"
        for _time in range(12):
            last = client.get("/metrics", headers={"authorization": "Bearer wrong"})
        assert problem(last, 429)["code"] == "resource_exhausted"


def test_other_hosts_other_sites_and_what_a_browser_asks_for_them():
    site = "https://ops.example"
    with TestClient(app("memory://", origins=[site]), base_url="http://localhost") as client:
        problem(client.get("/metrics", headers={"host": "evil.example"}), 403)
        problem(client.get("/metrics", headers={"origin": "https://evil.example"}), 403)
        asked = {"origin": site, "access-control-request-method": "DELETE"}
        assert "method" in problem(client.options(f"{BASE}/runs", headers=asked), 400)["message"]


def test_the_store_for_engines_elsewhere(client):
    assert "no object" in problem(client.post("/stepflow.v1.Store/open", content=b"[]"), 400)["message"]
    problem(client.post("/stepflow.v1.Store/commit", json={"session": "none"}), 410)


def test_wrong_calls_of_an_engine_elsewhere(client):
    def call(method, **arguments):
        answer = client.post(f"/stepflow.v1.Store/{method}", content=json.dumps(arguments))  # also halves of pairs
        return answer.status_code, answer.json()

    opening = {"format": FORMAT, "owner": dump(Owner("owner", "host", 1), Owner), "now": 1, "request": "0"}
    _status, opened = call("open", namespace="", **opening)
    session = {"session": opened["value"], "now": NOW}
    one, two = ([dump(creation(run_id), Member) for run_id in ids] for ids in (("a",), ("b", "c")))
    assert call("commit", request="1", batch=one, **session)[0] == 200
    assert call("commit", request="1", batch=one, **session)[0] == 200  # sent again
    status, refused = call("commit", request="1", batch=two, **session)
    assert (status, "give each call a number of its own" in refused["message"]) == (400, True)
    claim = {"flows": {}, "limit": 1, "suspects": False, "skip": []}
    assert call("claim", request="1", **claim, **session) == (200, {"value": []})  # not the answer of the commit
    for namespace in ("\ud800", "a\0", "x" * 600):
        assert call("open", namespace=namespace, **opening)[0] == 422
        assert call("check", namespace=namespace)[0] == 422


@pytest.mark.parametrize("kind", ["memory", "sqlite", "rocksdb"])
def test_a_number_that_a_store_has_no_room_for_is_the_fault_of_the_caller(tmp_path, kind):
    url = "memory://" if kind == "memory" else f"{kind}:///{tmp_path}/runs.db"
    with TestClient(app(url), base_url="http://localhost") as client:

        def call(method, **arguments):
            return client.post(f"/stepflow.v1.Store/{method}", json=arguments)

        opening = {"format": FORMAT, "owner": dump(Owner("owner", "host", 1), Owner), "now": 1, "request": "0"}
        session = {"session": call("open", namespace="", **opening).json()["value"]}
        for number in (2**63, 10**30, -(2**63) - 1):
            batch = [dump(creation("a", due=number), Member)]
            calls = [
                call("commit", request=f"c{number}", batch=batch, now=NOW, **session),
                call(
                    "claim",
                    request=f"d{number}",
                    now=number,
                    flows={"f": ""},
                    limit=number,
                    suspects=False,
                    skip=[],
                    **session,
                ),
                call("read", query=["NotDueQuery", {"flows": ["f"], "now": number}], now=NOW, **session),
            ]
            assert {one.status_code for one in calls} <= {200, 400}, [one.text for one in calls]


def test_flowstate_keeps_the_form_of_its_protocol(client):
    refused = client.post("/flowstate.v1.Driver/GetStates", json={"commit": {}})
    assert (refused.status_code, sorted(refused.json())) == (400, ["code", "message"])


@pytest.mark.anyio
async def test_a_host_of_flow_functions(store):
    async with AsyncEngine(store):
        application = flow_host(store, [ended], url="http://127.0.0.1:9000", secret="s" * 32)
    client = TestClient(application, base_url="http://localhost")
    problem(client.get("/nothing"), 404)
    assert problem(client.delete("/healthz"), 405)["message"] == "DELETE /healthz: it takes GET, HEAD"
