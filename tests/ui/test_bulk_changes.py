"""Changes of many runs that go on after the request: how far each is, also on its page, and how it is stopped."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest
from attrs import frozen

from stepflow import named
from stepflow.engine.client.bulk import Bulk
from stepflow.server.bulk_changes import MOST_AT_ONCE, MOST_KEPT, BulkChanges
from stepflow.server.errors import Refusal
from stepflow.server.ui import bulk
from stepflow.testing import VirtualClock
from tests.ui.browser import expect, follow, inaccessible
from tests.ui.conftest import LIMIT_S, Site, serving

pytestmark = pytest.mark.anyio
order_flow = named("order.v1", dict[str, int]).do("charge", lambda _order: None).compile()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@frozen
class Answer:
    count: int


class Performed:
    """A change of ten runs that stands still after the fourth until it may go on."""

    def __init__(self) -> None:
        self.goes_on, self.half, self.dry_runs = asyncio.Event(), asyncio.Event(), 0

    async def __call__(self, *, dry_run, report):
        if dry_run:
            self.dry_runs += 1
            return Answer(10)
        report(4)
        self.half.set()
        await self.goes_on.wait()
        return Answer(9)


async def begun(changes, perform, expected=None, namespace="", ended=lambda: None):
    task = asyncio.create_task(changes.begin("cancel_runs", namespace, "olga", [], expected, perform, ended))
    await perform.half.wait()
    return await task


async def test_how_far_a_change_is():
    clock, perform, ends = VirtualClock(), Performed(), []
    one = await begun(BulkChanges(clock), perform, ended=lambda: ends.append(one.phase))
    clock.advance(8)
    assert (one.phase, one.count, one.expected, one.left, one.took_s, one.left_s) == ("changing", 4, 10, 6, 8, 12)
    perform.goes_on.set()
    await one.task
    clock.advance(100)
    assert (one.phase, one.count, one.took_s, one.left_s) == ("done", 9, 8, None)
    assert (ends, perform.dry_runs) == (["done"], 1)


async def test_what_was_counted_is_not_counted_again():
    perform = Performed()
    perform.goes_on.set()
    one = await begun(BulkChanges(VirtualClock()), perform, expected=10)
    await one.task
    assert (one.phase, perform.dry_runs) == ("done", 0)


async def test_a_change_is_stopped():
    changes = BulkChanges(VirtualClock())
    one = await begun(changes, Performed())
    with pytest.raises(Refusal, match="there is no change"):
        await changes.stop(one.id, "another namespace", "olga")
    await changes.stop(one.id, "", "olga")
    assert (one.phase, one.message, one.count) == ("stopped", "by olga", 4)
    await changes.stop(one.id, "", "eve")
    assert one.message == "by olga"


async def test_changes_end_with_the_server():
    changes = BulkChanges(VirtualClock())
    one = await begun(changes, Performed())
    await changes.close()
    assert (one.phase, one.message) == ("stopped", "because the server was stopped")


async def test_a_change_that_is_refused_says_why():
    async def refused(*, dry_run, report):
        raise Refusal(403, "permission_denied", "you may not")

    one = await BulkChanges(VirtualClock()).begin("cancel_runs", "", "eve", [], 1, refused, lambda: None)
    await one.task
    assert (one.phase, one.message) == ("refused", "you may not")


async def test_only_some_go_on_at_a_time_and_only_the_last_are_kept():
    changes, performed = BulkChanges(VirtualClock()), [Performed() for _ in range(MOST_AT_ONCE)]
    started = [await begun(changes, perform) for perform in performed]
    with pytest.raises(Refusal, match="wait for one of them"):
        await changes.begin("cancel_runs", "", "olga", [], None, Performed(), lambda: None)
    performed[-1].goes_on.set()
    await started[-1].task
    for _ in range(MOST_KEPT + 3):
        perform = Performed()
        perform.goes_on.set()
        await (await begun(changes, perform, namespace="shop")).task
    assert changes.of("") == started[-2::-1]  # those that go on are kept
    assert len(changes.of("shop")) == MOST_KEPT - (MOST_AT_ONCE - 1)
    assert changes.find(started[0].id, "") is started[0]
    await changes.close()


@pytest.fixture
def gate(monkeypatch):
    """Changes stand still after 40 runs until it is set; dry runs do not."""
    found, real = threading.Event(), Bulk.do

    async def slowly(self, verb, runs, dry_run, report):
        if not dry_run:
            report(40)
            await asyncio.to_thread(found.wait, LIMIT_S)
        return await real(self, verb, runs, dry_run, report)

    monkeypatch.setattr(Bulk, "do", slowly)
    yield found
    found.set()


@pytest.fixture
def shop(store, engine, page, gate):
    engine.start_many(order_flow, [(f"o{number:02}", {}) for number in range(60)])
    with serving(store) as url:
        yield Site(url, engine)
        gate.set()
        page.close()


def test_a_change_goes_on_while_its_page_is_left(page, shop, gate):
    page.goto(f"{shop.url}/ui/bulk?flow=order.v1&verb=cancel_runs")
    follow(page.get_by_role("button", name="Cancel: 60 runs"))
    expect(page.locator("#live")).to_contain_text("40 of 60 runs changed, 20 left.")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "40")
    assert inaccessible(page) == []
    follow(page.get_by_role("link", name="Change many runs"))
    expect(page.get_by_role("region", name="Changes since the server was started")).to_contain_text("changing, 40 runs")
    assert inaccessible(page) == []
    follow(page.get_by_role("link", name="Cancel, begun by local"))
    gate.set()
    expect(page.get_by_role("status")).to_have_text("60 runs changed.")
    assert page.get_by_role("button", name="Stop it").count() == 0
    assert inaccessible(page) == []
    assert shop.engine.tally() == {"order.v1": {"cancelled": 60}}


def test_an_update_takes_the_focus_from_no_button_and_the_button_stops_the_change(page, shop):
    page.goto(f"{shop.url}/ui/bulk?verb=cancel_runs")
    follow(page.get_by_role("button", name="Cancel: 60 runs"))
    expect(page.locator("html")).to_have_attribute("data-updates", "on")
    page.get_by_role("button", name="Stop it").focus()
    count = "document.documentElement.dataset.count = 1 + Number(document.documentElement.dataset.count || 0)"
    page.evaluate(f"addEventListener('htmx:sse:after:message', () => {{ {count} }})")
    expect(page.locator("html")).to_have_attribute("data-count", re.compile("[2-9]|.."))
    expect(page.get_by_role("button", name="Stop it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#live").get_by_role("alert")).to_contain_text("It was stopped by local: 40 runs of 60")
    assert inaccessible(page) == []
    page.goto(f"{shop.url}/ui/audit?verb=cancel_runs")
    expect(page.locator("tbody tr").first).to_contain_text("cancelled: it was stopped, or the server ended")
    assert shop.engine.tally() == {"order.v1": {"queued": 60}}


def test_a_dry_run_that_takes_long_is_not_waited_for(page, shop, gate, monkeypatch):
    monkeypatch.setattr(bulk, "DRY_S", 0.0)
    gate.set()
    page.goto(f"{shop.url}/ui/bulk?verb=cancel_runs")
    expect(page.get_by_role("region", name="Dry run")).to_contain_text(
        "before they are changed all of them are counted"
    )
    assert inaccessible(page) == []
    follow(page.get_by_role("button", name="Cancel: more than 0 runs"))
    expect(page.get_by_role("status")).to_have_text("60 runs changed.")


def test_a_change_that_is_not_known_any_more(page, console, shop):
    assert page.goto(f"{shop.url}/ui/bulk/change?id=none").status == 404
    expect(page.get_by_role("main")).to_contain_text("the audit has what was done")
    console.clear()
