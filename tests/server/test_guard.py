"""Who is answered: hosts, origins, tokens, scopes, namespaces; and what each answer carries."""

from __future__ import annotations

import httpx2
import pytest
from starlette.requests import Request

from stepflow.drivers.http.codec import dump
from stepflow.drivers.http.session import FORMAT
from stepflow.drivers.port.commit import Owner
from stepflow.errors import StepflowError, StoreError
from stepflow.server import app
from stepflow.server.body import body_of
from stepflow.server.errors import Refusal, refusal_of
from stepflow.server.tokens import Token, TokenTable, digest, new_secret, read_tokens

pytestmark = pytest.mark.anyio
STATES = {"getStates": {}}
PARK = {"stateCtxs": [{"current": {"id": "a"}}], "commit": {"commands": [{"park": {"stateRef": {"idx": "0"}}}]}}


def table(*entries):
    return TokenTable([Token(secret, digest(secret), scope, only) for secret, scope, only in entries])


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


async def test_without_tokens_only_local_names_are_answered(server):
    async with server("memory://") as caller:
        for host in ("localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"):
            await caller.post("Driver/GetStates", STATES, host=host)
        for host in ("evil.example", "localhost.evil.example", "", "[", "10.0.0.1:8080"):
            answer = await caller.post("Driver/GetStates", STATES, status=403, host=host)
            assert answer["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.8.8", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("203.0.113.9", 403),
        ("::ffff:203.0.113.9", 403),
        ("2001:db8::1", 403),
        (None, 200),
    ],
)
async def test_without_tokens_only_this_machine_is_answered_whatever_the_host(address, status):
    application = app("memory://")
    client = ("", 0) if address is None else (address, 5)
    transport = httpx2.ASGITransport(application, client=client)
    async with (
        application.router.lifespan_context(application),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as caller,
    ):
        assert (await caller.get("/api/v1/runs")).status_code == status
        forwarded = await caller.get("/api/v1/runs", headers={"x-forwarded-for": "anyone"})
        assert forwarded.status_code == (403 if address is None else status)


async def test_with_tokens_every_machine_is_answered():
    application = app("memory://", tokens=table(("secret", "admin", None)))
    transport = httpx2.ASGITransport(application, client=("203.0.113.9", 5))
    async with (
        application.router.lifespan_context(application),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as caller,
    ):
        assert (await caller.get("/api/v1/runs", headers=bearer("secret"))).status_code == 200


async def test_pages_of_other_sites_are_refused(server):
    async with server("memory://") as caller:
        await caller.post("Driver/GetStates", STATES, origin="http://localhost:8080")
        for origin in ("http://evil.example", "http://localhost:9", "null"):
            await caller.post("Driver/GetStates", STATES, status=403, origin=origin)


async def test_a_site_that_is_allowed_gets_what_its_pages_need(server):
    site = "https://ops.example"
    async with server("memory://", origins=[site]) as caller:
        answer = await caller.client.post("/flowstate.v1.Driver/GetStates", json=STATES, headers={"origin": site})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, site)
        asked = {
            "origin": site,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        assert (await caller.client.options("/flowstate.v1.Driver/GetStates", headers=asked)).status_code == 200


async def test_every_answer_has_the_headers(server):
    async with server("memory://") as caller:
        for path, referrer in (("/healthz", "no-referrer"), ("/nothing", "no-referrer"), ("/ui/runs", "same-origin")):
            headers = (await caller.client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == referrer
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "access-control-allow-origin" not in headers


async def test_an_origin_that_is_no_url_is_refused(server):
    async with server("memory://") as caller:
        refused = await caller.post("Driver/GetStates", STATES, status=403, origin="http://[::1")
        assert refused["message"].startswith("Origin 'http://[::1' is not that of this server")


async def test_a_connection_that_ends_in_a_body_is_no_error_of_the_server(caplog):
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(Refusal) as refused:
        await body_of(Request({"type": "http", "method": "POST", "headers": []}, receive))
    assert (refused.value.status, refusal_of(refused.value), caplog.records) == (400, refused.value, [])


async def test_tokens(server):
    tokens = table(("reader", "read", None), ("worker", "operate", frozenset({"a"})), ("root", "admin", None))
    async with server("memory://", tokens=tokens) as caller:
        refused = await caller.post("Driver/GetStates", STATES, status=401)
        assert (refused["code"], refused["message"]) == (
            "unauthenticated",
            "send the header Authorization: Bearer TOKEN",
        )
        for wrong in ({"authorization": "Basic reader"}, bearer("other")):
            refused = await caller.post("Driver/GetStates", STATES, status=401, **wrong)
            assert refused["message"].startswith("the header Authorization has no token of this server: send")
        await caller.post("Driver/GetStates", STATES, host="any.example", **bearer("reader"))
        denied = await caller.post("Driver/Commit", PARK, status=403, **bearer("reader"))
        assert denied["message"] == "token 'reader' does not allow 'operate' in the namespace without a name"
        await caller.post("Driver/Commit", PARK, namespace="a", **bearer("worker"))
        await caller.post("Driver/Commit", PARK, status=403, namespace="b", **bearer("worker"))
        await caller.post("Driver/Commit", PARK, status=403, **bearer("worker"))
        await caller.post("Driver/Commit", PARK, namespace="b", **bearer("root"))
        assert (await caller.client.get("/healthz")).status_code == 200


async def test_a_token_that_reads_cannot_end_the_session_of_a_worker(server, store):
    tokens = table(("reader", "read", None), ("worker", "operate", None))
    async with server(store, tokens=tokens) as caller:

        async def call(secret, method, **arguments):
            answer = await caller.client.post(
                f"/stepflow.v1.Store/{method}", json={"request": "1", **arguments}, headers=bearer(secret)
            )
            return answer.status_code, answer.json().get("value")

        opening = {"format": FORMAT, "namespace": "", "owner": dump(Owner("owner", "host", 1), Owner), "now": 1}
        _status, session = await call("worker", "open", **opening)
        status, other = await call("reader", "open", **opening)
        assert (status, session != other) == (200, True)
        assert await call("reader", "read", session=other, query=["PausedFlowsQuery", {}]) == (200, [])
        assert (await call("reader", "close", session=other))[0] == 200
        assert (await call("worker", "time", session=session))[0] == 200


async def test_an_address_with_many_wrong_tokens_has_to_wait(server, caplog):
    async with server("memory://", tokens=table(("right", "read", None))) as caller:
        for _ in range(10):
            await caller.post("Driver/GetStates", STATES, status=401, **bearer("wrong-secret"))
        answer = await caller.post("Driver/GetStates", STATES, status=429, **bearer("wrong-secret"))
        await caller.post("Driver/GetStates", STATES, **bearer("right"))
        assert answer["code"] == "resource_exhausted"
        assert "wrong-secret" not in caplog.text
        assert "had no valid token" in caplog.text


async def test_a_token_file(tmp_path):
    secret = new_secret()
    path = tmp_path / "tokens.toml"
    path.write_text(f'["ci bot"]\nsha256 = "{digest(secret)}"\nscope = "operate"\nnamespaces = ["a"]\n')
    found = read_tokens(path).find(secret)
    assert found == Token("ci bot", digest(secret), "operate", frozenset({"a"}))
    assert secret not in path.read_text()
    assert read_tokens(path).find("\udc80") is None


WRONG = {
    "no token": ("", "has no token"),
    "no TOML": ("[", "is no TOML"),
    "no table": ("a = 1", "make it a table"),
    "a short digest": ('[a]\nsha256 = "00"\nscope = "read"', "give 64 hex digits"),
    "an unknown scope": (f'[a]\nsha256 = "{"0" * 64}"\nscope = "root"', "use read, operate, admin"),
    "one twice": (
        f'[a]\nsha256 = "{"0" * 64}"\nscope = "read"\n[b]\nsha256 = "{"0" * 64}"\nscope = "admin"',
        "same sha256",
    ),
    "an unknown key": (f'[a]\nsha256 = "{"0" * 64}"\nscop = "read"', "'scop' is unknown"),
    "no list": (f'[a]\nsha256 = "{"0" * 64}"\nscope = "read"\nnamespaces = "a"', "give a list of texts"),
}


@pytest.mark.parametrize(("text", "match"), WRONG.values(), ids=WRONG)
async def test_wrong_token_files(tmp_path, text, match):
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(StepflowError, match=match):
        read_tokens(path)


async def test_a_token_file_that_is_not_there(tmp_path):
    with pytest.raises(StepflowError, match="No such file"):
        read_tokens(tmp_path / "none.toml")


@pytest.mark.parametrize("guarded", [False, True])
async def test_who_has_no_token_is_not_told_where_the_store_is(server, monkeypatch, caplog, guarded):
    why = "postgresql://keeper@127.0.0.1:1/x: connection failed"

    def fail(*_namespace):
        raise StoreError(why)

    async with server("memory://", tokens=table(("reader", "read", None)) if guarded else None) as caller:
        assert (await caller.client.get("/readyz")).json() == {"ready": True}
        monkeypatch.setattr("stepflow.server.namespaces.Namespaces.engine", fail)
        answer = await caller.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False} | ({} if guarded else {"error": why}))
        assert (why in caplog.text) is guarded
