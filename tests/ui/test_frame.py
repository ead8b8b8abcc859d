"""What all pages share: headers, files, errors, and a place below another application."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from stepflow.server import app
from stepflow.server.ui.assets import TYPES, asset
from stepflow.server.ui.pages import ACTIONS, PAGES
from tests.ui.browser import expect, inaccessible

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def calling(served, lifespan_of=None):
    inner = lifespan_of or served
    async with inner.router.lifespan_context(inner):
        transport = httpx2.ASGITransport(served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            yield client


async def test_pages_may_load_only_files_of_this_server_and_no_script_of_their_own():
    async with calling(app("memory://")) as client:
        for page in PAGES:
            answer = await client.get(f"/ui{page.path}")
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            # htmx would begin between two deferred scripts, perhaps without its extension
            assert not re.search(r"<script[^>]* (defer|async)", answer.text)
            assert "http://" not in answer.text.replace("http://www.w3.org", "")
            assert "https://" not in answer.text


async def test_files_are_kept_by_browsers_until_they_change():
    async with calling(app("memory://")) as client:
        for name, kind in TYPES.items():
            plain = await client.get(f"/ui/static/{name}")
            assert (plain.status_code, plain.headers["cache-control"]) == (200, "no-cache")
            assert plain.headers["content-type"].startswith(kind)
            kept = await client.get(f"/ui/static/{name}?v={asset(name).version}")
            assert "immutable" in kept.headers["cache-control"]
        for name in ("htmx.LICENSE", "..%2fassets.py", "../assets.py"):
            assert (await client.get(f"/ui/static/{name}")).status_code == 404


async def test_a_server_below_another_application():
    inner = app("memory://")
    async with calling(Starlette(routes=[Mount("/states", inner)]), inner) as client:
        assert (await client.get("/states/")).headers["location"] == "/states/ui/runs"
        answer = await client.get("/states/ui/runs")
        assert 'href="/states/ui/runs"' in answer.text
        assert 'href="/ui' not in answer.text
        assert "Path=/states/ui;" in answer.headers["set-cookie"]
        for line in answer.text.splitlines():
            if 'src="' in line:
                assert (await client.get(line.partition('src="')[2].partition('"')[0])).status_code == 200


def test_an_error_is_a_page(page, console, site):
    for path, status, text in (
        ("/ui/nothing", 404, "there is no page '/ui/nothing'"),
        ("/ui/runs?namespace=%20", 400, "use letters, digits"),
    ):
        assert page.goto(f"{site.url}{path}").status == status
        expect(page.get_by_role("main")).to_contain_text(text)
        assert inaccessible(page) == []
    assert all("status of 40" in text for text in console)
    console.clear()


def test_paths_are_unique():
    paths = [one.path for one in (*PAGES, *ACTIONS)]
    assert len(paths) == len(set(paths))


def test_nothing_moves_for_those_who_want_no_motion(page, site):
    page.goto(f"{site.url}/ui/runs")
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.evaluate(behaviour) == "smooth"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(behaviour) == "auto"
    moving = "document.getAnimations().length + [...document.querySelectorAll('*')].filter((one) => parseFloat(getComputedStyle(one).transitionDuration)).length"
    assert page.evaluate(moving) == 0


def test_the_menu_of_namespaces_works_by_keys(page, site):
    page.goto(f"{site.url}/ui/flows")
    page.locator("details.menu summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name, or nothing")).to_be_focused()
    page.keyboard.type("shop")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/ui/runs?namespace=shop")
    assert inaccessible(page) == []
