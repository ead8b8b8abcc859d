"""The login of browsers: with tokens, and what a browser's cookie can and cannot do."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2
import pytest

from stepflow import Engine, named
from stepflow.server import app
from stepflow.server.tokens import Token, TokenTable, digest
from stepflow.server.ui.browser_sessions import MAX_SESSIONS, NOBODY, BrowserSessions
from stepflow.testing import VirtualClock
from tests.ui.browser import expect, follow, inaccessible
from tests.ui.conftest import serving

TOKENS = TokenTable(
    [
        Token("olga", digest("secret-of-olga"), "admin"),
        Token("shopper", digest("secret-of-shop"), "read", frozenset({"shop"})),
        Token("both", digest("secret-of-both"), "read", frozenset({"shop", "depot"})),
    ]
)
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def calling(**options):
    served = app("memory://", **options)
    async with served.router.lifespan_context(served):
        transport = httpx2.ASGITransport(served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            yield client


@pytest.fixture
def guarded(store, page):
    with serving(store, tokens=TOKENS) as url:
        yield url
        page.close()


def log_in(page, secret):
    page.get_by_label("Token").fill(secret)
    follow(page.get_by_role("button", name="Log in"))


def test_log_in_and_out(page, console, guarded):
    page.goto(f"{guarded}/ui/runs?flow=order.v1")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert inaccessible(page) == []
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("This is no token of this server.")
    expect(page.get_by_label("Token")).to_be_focused()
    assert inaccessible(page) == []
    assert [text for text in console if "status of 401" not in text] == []
    console.clear()
    log_in(page, "secret-of-olga")
    assert page.url == f"{guarded}/ui/runs?flow=order.v1"
    expect(page.get_by_role("banner")).to_contain_text("olga")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"], cookie["expires"]) == (True, "Strict", "/ui", -1)
    assert inaccessible(page) == []
    follow(page.get_by_role("button", name="Log out"))
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(f"{guarded}/ui/runs")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_form_that_is_sent_after_the_login_ended_is_shown_again(page, guarded, store):
    with Engine(store) as engine:
        engine.start(named("order.v1", dict).do("wait", print).compile(), {}, id="a/b &c")
    page.goto(f"{guarded}/ui/ask/cancel_run?id=a%2Fb+%26c")
    log_in(page, "secret-of-olga")
    asked = page.url
    page.context.clear_cookies()
    follow(page.get_by_role("button", name="Cancel the run"))
    expect(page.get_by_role("alert")).to_contain_text("what was sent was not done")
    log_in(page, "secret-of-olga")
    assert page.url == asked
    follow(page.get_by_role("button", name="Cancel the run"))
    expect(page.locator(".summary .status")).to_have_text("cancelled")


def test_a_token_of_one_namespace_leads_there(page, guarded):
    page.goto(f"{guarded}/")
    log_in(page, "secret-of-shop")
    assert page.url == f"{guarded}/ui/runs?namespace=shop"
    follow(page.get_by_role("link", name="Flows"))
    assert page.url == f"{guarded}/ui/flows?namespace=shop"
    page.goto(f"{guarded}/ui/runs?flow=a&status=failed&status=blocked")
    assert page.url == f"{guarded}/ui/runs?namespace=shop&flow=a&status=failed&status=blocked"


def test_a_token_of_several_namespaces_chooses_among_these(page, guarded):
    page.goto(f"{guarded}/ui/runs?namespace=shop")
    log_in(page, "secret-of-both")
    page.get_by_text("namespace shop").click()
    assert page.locator("details.menu").get_by_role("link").all_inner_texts() == ["depot", "shop"]
    assert inaccessible(page) == []
    follow(page.get_by_role("link", name="depot"))
    assert page.url == f"{guarded}/ui/runs?namespace=depot"


def test_a_namespace_that_the_token_does_not_allow(page, console, guarded):
    page.goto(f"{guarded}/ui/runs?namespace=other")
    log_in(page, "secret-of-both")
    expect(page.get_by_role("main")).to_contain_text("token 'both' does not allow 'read' in namespace 'other'")
    assert inaccessible(page) == []
    follow(page.get_by_role("main").get_by_role("link", name="shop"))
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    assert page.url == f"{guarded}/ui/runs?namespace=shop"
    assert [text for text in console if "status of 403" not in text] == []
    console.clear()


def test_a_token_without_a_limit_names_a_namespace(page, guarded):
    page.goto(f"{guarded}/ui/flows")
    log_in(page, "secret-of-olga")
    page.get_by_text("namespace without a name").click()
    page.get_by_label("Name, or nothing").fill("depot")
    follow(page.get_by_role("button", name="Go there"))
    assert page.url == f"{guarded}/ui/runs?namespace=depot"


def csrf_of(page: httpx2.Response) -> str:
    return page.text.partition('name="csrf" value="')[2].partition('"')[0]


pytestmark = pytest.mark.anyio


async def logged_in(client, secret="secret-of-olga", next_page="") -> httpx2.Response:
    form = await client.get("/ui/login")
    fields = {"csrf": csrf_of(form), "token": secret, "next": next_page}
    return await client.post("/ui/login", data=fields)


async def test_the_cookie_opens_pages_and_nothing_else():
    async with calling(tokens=TOKENS) as client:
        assert (await client.get("/ui/runs/live")).status_code == 401
        assert (await client.get("/ui/runs?namespace=a%26b")).headers[
            "location"
        ] == "/ui/login?next=%2Fui%2Fruns%3Fnamespace%3Da%2526b"
        assert (await logged_in(client)).status_code == 303
        assert (await client.get("/ui/runs")).status_code == 200
        for path in ("/flowstate.v1.Driver/GetStates", "/ui/flowstate.v1.Driver/GetStates", "/stepflow.v1.Store/open"):
            assert (await client.post(path, json={"getStates": {}})).status_code == 401
        assert (await client.get("/ui/nothing")).status_code == 404
        assert (await client.get("/nothing")).status_code == 401


async def test_a_program_may_read_pages_with_its_token():
    async with calling(tokens=TOKENS) as client:
        right, wrong = ({"authorization": f"Bearer {secret}"} for secret in ("secret-of-olga", "wrong"))
        assert (await client.get("/ui/runs", headers=right)).status_code == 200
        answers = [(await client.get("/ui/runs", headers=wrong)).status_code for _ in range(12)]
        assert answers == [401] * 10 + [429] * 2


async def test_wrong_tokens_of_the_form_count_as_those_of_programs(caplog):
    async with calling(tokens=TOKENS) as client:
        assert [(await logged_in(client, "wrong-one")).status_code for _ in range(12)] == [401] * 10 + [429] * 2
        assert (await client.post("/flowstate.v1.Driver/GetStates", json={})).status_code == 429
        assert (await logged_in(client)).status_code == 303
        assert "wrong-one" not in caplog.text


@pytest.mark.parametrize(
    "given", ["https://evil.example/ui/", "//evil.example/ui/runs", "/\\evil.example", "/other", "http://[", ""]
)
async def test_a_login_leads_to_a_page_of_this_server(given):
    async with calling(tokens=TOKENS) as client:
        assert (await logged_in(client, next_page=given)).headers["location"] == "/ui/runs"


async def test_forms_of_other_pages_do_nothing():
    async with calling(tokens=TOKENS) as client:
        form = await client.get("/ui/login")
        right = csrf_of(form)
        cases = [
            ({"csrf": "0" * 64}, {}, 403),
            ({}, {}, 403),
            ({"csrf": right}, {"cookie": ""}, 403),
            ({"csrf": right}, {"origin": "http://evil.example"}, 403),
        ]
        for fields, headers, status in cases:
            if "cookie" in headers:
                client.cookies.clear()
            assert (await client.post("/ui/logout", data=fields, headers={**FORM, **headers})).status_code == status
        assert (await client.post("/ui/login", json={"csrf": right})).status_code == 415


async def test_a_link_of_another_site_finds_the_login_after_one_more_load():
    async with calling(tokens=TOKENS) as client:
        headers = {"sec-fetch-site": "cross-site"}
        first = await client.get("/ui/runs", headers=headers)
        assert (first.status_code, 'http-equiv="refresh"' in first.text, "set-cookie" in first.headers) == (
            200,
            True,
            False,
        )
        assert (await client.get("/ui/runs", headers={"sec-fetch-site": "same-origin"})).status_code == 303


async def test_without_tokens_there_is_nothing_to_log_in_to():
    async with calling() as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, "/ui/login")
            assert (answer.status_code, answer.headers["location"]) == (303, "/ui/runs")
        assert "Log out" not in (await client.get("/ui/runs")).text


def test_a_login_ends_by_itself_and_there_are_not_too_many():
    clock = VirtualClock()
    sessions = BrowserSessions(clock, ["/ui/runs"])
    (olga,) = (token for token in [TOKENS.find("secret-of-olga")])
    first = sessions.log_in(olga)
    assert sessions.token_of("/ui/runs", first) == olga
    assert sessions.token_of("/ui/other", first) is NOBODY
    assert sessions.token_of("/ui/runs", "") is NOBODY
    later = [sessions.log_in(olga) for _ in range(MAX_SESSIONS)]
    assert sessions.token_of("/ui/runs", first) is NOBODY
    clock.advance(12 * 3600 + 1)
    assert sessions.token_of("/ui/runs", later[-1]) is NOBODY
