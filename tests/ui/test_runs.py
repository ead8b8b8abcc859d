"""The page of runs in a real browser: list, filters, paging, and updates while it is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stepflow import Engine, named
from tests.ui.browser import expect, follow, inaccessible


def charge(order: dict[str, int]) -> None:
    if order["amount"] < 0:
        raise ValueError("a negative amount <b>cannot</b> be charged")


order_flow = (
    named("order.v1", dict[str, int])
    .do("charge", charge)
    .wait_event("wait", "paid", str, lambda _o, _p: None)
    .compile()
)
report_flow = named("report.v1", dict[str, int]).do("make", lambda _report: None).compile()


@pytest.fixture
def runs(site):
    """Two orders, of which one failed, and a report."""
    site.engine.register(order_flow, report_flow)
    site.engine.start(order_flow, {"amount": 5}, id="order-1", labels={"customer": "7"})
    site.engine.start(order_flow, {"amount": -5}, id="order-2", labels={"customer": "8", "city": "Bern"})
    site.engine.start(report_flow, {"month": 1}, id="report-1")
    site.engine.run_until_idle()
    return site


def ids(page):
    return page.locator("tbody td:first-child").all_inner_texts()


def unfold(page, name):
    """Conditions that are rarely used are folded up until one of them is."""
    if not page.locator(f"[name={name}]").is_visible():
        page.get_by_text("More conditions").click()


def fill(page, **fields):
    for name, value in fields.items():
        unfold(page, name)
        page.locator(f"[name={name}]").fill(value)
    follow(page.get_by_role("button", name="Filter"))


def test_the_list_shows_every_run_with_its_status_and_the_reason(page, runs):
    page.goto(f"{runs.url}/")
    assert page.url == f"{runs.url}/ui/runs"
    assert page.title() == "Runs · stepflow"
    assert ids(page) == ["report-1", "order-2", "order-1"]
    failed = page.locator("tbody tr", has_text="order-2")
    expect(failed.locator(".status")).to_have_text("failed")
    expect(failed).to_contain_text("ValueError: a negative amount <b>cannot</b> be charged")
    expect(page.locator("tbody tr", has_text="order-1")).to_contain_text("completed:order.v1/charge event:paid")
    assert page.locator(".tally li").all_inner_texts() == ["waiting 1", "completed 1", "failed 1"]
    assert inaccessible(page) == []


FILTERS = {
    "id": ({"id": "order-"}, ["order-1", "order-2"]),
    "one label": ({"label": "customer=7"}, ["order-1"]),
    "two labels": ({"label": "customer=8 city=Bern"}, ["order-2"]),
    "error": ({"error": "ValueError"}, ["order-2"]),
    "error text": ({"error_text": "ValueError: a neg"}, ["order-2"]),
    "position": ({"position": "completed:order.v1/charge"}, ["order-1"]),
    "parent": ({"parent": "order-1"}, []),
}


@pytest.mark.parametrize(("fields", "found"), FILTERS.values(), ids=FILTERS)
def test_filters(page, runs, fields, found):
    page.goto(f"{runs.url}/ui/runs")
    fill(page, **fields)
    assert ids(page) == found
    for name, value in fields.items():
        expect(page.locator(f"[name={name}]")).to_have_value(value)
    follow(page.get_by_role("link", name="Show all"))
    assert len(ids(page)) == 3


def test_filters_by_flow_status_and_time(page, runs):
    page.goto(f"{runs.url}/ui/runs")
    page.get_by_label("Flow").select_option("order.v1")
    page.get_by_label("waiting").check()
    page.get_by_label("failed").check()
    fill(page)
    assert ids(page) == ["order-2", "order-1"]
    assert page.locator(".tally li").all_inner_texts() == ["waiting 1", "failed 1"]
    follow(page.locator(".tally a", has_text="failed"))
    assert ids(page) == ["order-2"]
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    page.goto(f"{runs.url}/ui/runs")
    fill(page, until=later)
    assert len(ids(page)) == 3
    fill(page, until="", since=later)
    expect(page.locator("#live")).to_contain_text("No run meets these conditions.")
    assert inaccessible(page) == []


def test_filters_by_the_time_of_the_last_revision(page, runs):
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    page.goto(f"{runs.url}/ui/runs")
    fill(page, updated_until=later)
    assert len(ids(page)) == 3
    expect(page.get_by_label("Updated until (UTC)")).to_have_value(later)
    fill(page, updated_until="", updated_since=later)
    expect(page.locator("#live")).to_contain_text("No run meets these conditions.")
    assert inaccessible(page) == []


WRONG = {
    "label=x": "label 'x': write it as name=value",
    "status=ready": "status 'ready': the statuses are queued, running",
    "updated_until=soon": "updated_until='soon': give a time such as 2030-01-31T18:30",
    "since=soon": "since='soon': give a time such as 2030-01-31T18:30",
    "cursor=x": "give the `next` of a page of runs()",
}


@pytest.mark.parametrize(("query", "message"), WRONG.items())
def test_a_wrong_condition_is_told_beside_the_form(page, console, runs, query, message):
    answer = page.goto(f"{runs.url}/ui/runs?{query}&live=off")
    assert answer.status == 400
    expect(page.get_by_role("alert")).to_contain_text(message)
    expect(page.get_by_role("button", name="Filter")).to_be_visible()
    assert all("status of 400" in text for text in console)
    console.clear()


def test_pages_of_the_list(page, site):
    site.engine.register(report_flow)
    site.engine.start_many(report_flow, [(f"report-{n}", {"month": n}) for n in range(120)])
    page.goto(f"{site.url}/ui/runs?flow=report.v1")
    seen = ids(page)
    while page.get_by_role("link", name="Next page").count():
        follow(page.get_by_role("link", name="Next page"))
        seen += ids(page)
    assert (len(seen), len(set(seen))) == (120, 120)
    follow(page.get_by_role("link", name="First page"))
    assert ids(page) == seen[:50]


def test_an_open_page_follows_the_store(page, runs):
    page.goto(f"{runs.url}/ui/runs")
    expect(page.locator("html")).to_have_attribute("data-updates", "on")
    page.get_by_label("Labels").focus()
    runs.engine.get(order_flow, "order-1").publish("paid", "yes")
    runs.engine.run_until_idle()
    expect(page.locator("tbody tr", has_text="order-1").locator(".status")).to_have_text("completed")
    runs.engine.start(report_flow, {"month": 2}, id="report-2")
    expect(page.locator("tbody tr").first).to_contain_text("report-2")
    expect(page.locator(".tally li").first).to_have_text("queued 1")
    expect(page.get_by_label("Labels")).to_be_focused()  # an update takes no focus away
    assert inaccessible(page) == []


def test_updates_can_be_paused(page, runs):
    page.goto(f"{runs.url}/ui/runs?flow=report.v1")
    follow(page.get_by_role("link", name="Pause updates"))
    assert page.evaluate("typeof htmx") == "undefined"  # so nothing on the page asks the server
    runs.engine.start(report_flow, {"month": 2}, id="report-2")
    follow(page.get_by_role("link", name="Resume updates"))
    assert page.url == f"{runs.url}/ui/runs?flow=report.v1"
    expect(page.locator("tbody tr").first).to_contain_text("report-2")


def test_a_namespace_has_its_own_runs_and_every_link_stays_in_it(page, runs, store):
    with Engine(store, namespace="shop") as shop:
        shop.start(report_flow, {"month": 1}, id="shop-1")
    page.goto(f"{runs.url}/ui/runs?namespace=shop")
    expect(page.get_by_role("banner")).to_contain_text("namespace shop")
    assert ids(page) == ["shop-1"]
    follow(page.get_by_role("link", name="Runs"))
    follow(page.locator(".tally a", has_text="queued"))
    fill(page, id="shop")
    follow(page.get_by_role("link", name="Show all"))
    assert (page.url, ids(page)) == (f"{runs.url}/ui/runs?namespace=shop", ["shop-1"])


def test_the_keyboard_reaches_the_content_first(page, runs):
    page.goto(f"{runs.url}/ui/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
