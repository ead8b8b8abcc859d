"""Streams of updates: one rendering per period, only what changed is sent, and an end when the server stops."""

from __future__ import annotations

import asyncio
import re

import pytest

from stepflow import Engine, named
from stepflow.server.change_signal import ChangeSignal
from stepflow.server.tokens import Token, TokenTable, digest
from stepflow.server.ui.live import PERIOD_S, POLL_S, REST, event, updates
from tests.ports import free_port
from tests.ui.browser import expect
from tests.ui.conftest import serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_thousand_changes_are_one_update():
    signal, pauses, rendered = ChangeSignal(), [], []

    async def pause(seconds):
        pauses.append(seconds)
        for _ in range(1000):
            signal.notify()
        return len(pauses) < 3

    async def render():
        rendered.append(signal.version)
        return f"version {signal.version}"

    sent = [text async for text in updates(render, signal, lambda: 0.0, pause)]
    assert sent == ["data: version 0\n\n", "data: version 1000\n\n", "data: version 2000\n\n"]
    assert pauses == [PERIOD_S] * 3


async def test_a_page_that_is_slow_rests_longer():
    now, pauses = [0.0], []

    async def pause(seconds):
        pauses.append(seconds)
        return False

    async def render():
        now[0] += 2.0
        return "text"

    assert [text async for text in updates(render, ChangeSignal(), lambda: now[0], pause)] == ["data: text\n\n"]
    assert pauses == [2.0 * REST]


async def test_a_page_that_did_not_change_is_not_sent_again():
    signal, left = ChangeSignal(), [3, 2, 1, 0]

    async def pause(_seconds):
        signal.notify()
        return left.pop(0) > 1

    async def render():
        return "same" if signal.version < 2 else "other"

    sent = [text async for text in updates(render, signal, lambda: 0.0, pause)]
    assert sent == ["data: same\n\n", ": as before\n\n", "data: other\n\n"]


def test_an_event_has_every_line():
    assert event("a\n\nb\r\nc") == "data: a\ndata: \ndata: b\ndata: c\n\n"


async def test_a_stopped_signal_ends_waits():
    signal = ChangeSignal()
    waiting = asyncio.create_task(signal.wait(0, POLL_S * 1000))
    await asyncio.sleep(0)
    signal.stop()
    await waiting
    await signal.wait(signal.version, POLL_S * 1000)


def test_a_page_whose_login_ended_with_the_server_says_so(page, console, store):
    port, tokens = free_port(), TokenTable([Token("olga", digest("secret-of-olga"), "admin")])

    def log_in():
        page.get_by_label("Token").fill("secret-of-olga")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("html")).to_have_attribute("data-updates", "on")

    with serving(store, port, tokens=tokens) as url:
        page.goto(f"{url}/ui/runs?flow=report.v1")
        log_in()
    expect(page.locator("#connection")).to_be_visible()
    with serving(store, port, tokens=tokens):
        expect(page.locator("#ended")).to_be_visible()
        expect(page.locator("#connection")).to_be_hidden()
        page.get_by_role("link", name="Log in again").click()
        log_in()
        assert page.url.endswith("/ui/runs?flow=report.v1")
    console.clear()


def test_a_server_that_stops_ends_the_streams_and_open_pages_come_back(page, console, store, tmp_path):
    flow = named("report.v1", dict[str, int]).do("make", lambda _report: None).compile()
    port = free_port()
    with serving(store, port) as url:
        page.goto(f"{url}/ui/runs")
        expect(page.locator("html")).to_have_attribute("data-updates", "on")
    with Engine(store) as engine:
        engine.start(flow, {"month": 1}, id="report-1")
    expect(page.locator("#connection")).to_be_visible()
    with serving(store, port):
        expect(page.locator("tbody")).to_contain_text("report-1")
        expect(page.locator("#connection")).to_be_hidden()
    assert [text for text in console if "ERR_" not in text and "htmx" not in text] == []
    console.clear()


def test_a_page_gets_few_updates_however_many_runs_end(page, site):
    """A page is rendered once per period at most: on a slow machine it gets fewer updates, never more."""
    flow = named("report.v1", dict[str, int]).do("make", lambda _report: None).compile()
    site.engine.register(flow)
    page.goto(f"{site.url}/ui/runs")
    expect(page.locator("html")).to_have_attribute("data-updates", "on")
    page.evaluate("addEventListener('htmx:sse:after:message', () => { window.updates = (window.updates || 0) + 1 })")
    begun = page.evaluate("performance.now()")
    for batch in range(20):
        site.engine.start_many(flow, [(f"report-{batch}-{n}", {"month": n}) for n in range(100)])
        site.engine.run_until_idle()
    expect(page.locator(".tally")).to_have_text(re.compile(r"^\s*completed\s+2,000\s*$"))
    seconds = (page.evaluate("performance.now()") - begun) / 1000
    assert 1 <= page.evaluate("window.updates") <= seconds / PERIOD_S + 2
    page.get_by_label("failed").check()  # and it can be used
