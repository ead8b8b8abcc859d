"""The pages of flows, schedules, workers, the store and the audit, and changes of many runs: each once in a real browser."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import Limit, named
from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery
from stepflow.server.tokens import Token, TokenTable, digest
from tests.ui.browser import expect, follow, inaccessible
from tests.ui.conftest import LIMIT_S, Site, serving


def charge(order: dict[str, int]) -> None:
    if order["amount"] < 0:
        raise ValueError("a negative amount")


order_flow = named("order.v1", dict[str, int]).do("charge", charge).compile()
report_flow = named("report.v1", dict[str, int]).do("make", lambda _report: None).compile()
FLOWS = (order_flow, report_flow)


@pytest.fixture
def shop(store, engine):
    engine.register(*FLOWS)
    with serving(store, flows=FLOWS) as url:
        yield Site(url, engine)


def entry(page, shop):
    """The newest entry of the audit: verb, of what, outcome."""
    page.goto(f"{shop.url}/ui/audit")
    return page.locator("tbody tr").first.locator("td").all_inner_texts()[2:5]


def test_the_navigation_leads_to_every_page(page, shop):
    page.goto(f"{shop.url}/ui/runs")
    names = page.get_by_role("navigation").get_by_role("link").all_inner_texts()
    assert names == ["Runs", "Questions", "Flows", "Schedules", "Workers", "Store", "Audit"]
    for name in names:
        follow(page.get_by_role("navigation").get_by_role("link", name=name))
        expect(page.locator("nav a[aria-current]")).to_have_text(name)
        assert inaccessible(page) == []


def test_a_flow_is_paused_and_resumed(page, shop):
    shop.engine.start(order_flow, {"amount": 1}, id="o")
    page.goto(f"{shop.url}/ui/flows")
    follow(page.get_by_role("link", name="Pause order.v1"))
    assert inaccessible(page) == []
    follow(page.get_by_role("button", name="Pause the flow"))
    page.wait_for_url(f"{shop.url}/ui/flows")
    expect(page.locator("tr", has_text="order.v1")).to_contain_text("paused since")
    assert str(shop.engine.get("o").status()) == "paused"
    follow(page.get_by_role("link", name="Resume order.v1"))
    follow(page.get_by_role("button", name="Resume the flow"))
    page.wait_for_url(f"{shop.url}/ui/flows")
    assert str(shop.engine.get("o").status()) == "queued"
    assert entry(page, shop) == ["resume_flow", "order.v1", "done"]


@pytest.fixture
def nightly(shop):
    shop.engine.schedule("nightly", report_flow, {"month": 1}, cron="30 2 * * *", tz="Europe/Zurich")
    return shop


def test_a_schedule_is_paused_and_resumed(page, nightly):
    page.goto(f"{nightly.url}/ui/schedules")
    expect(page.locator("tbody tr")).to_contain_text("30 2 * * * Europe/Zurich")
    follow(page.get_by_role("link", name="nightly"))
    assert inaccessible(page) == []
    follow(page.get_by_role("link", name="Pause", exact=True))
    assert inaccessible(page) == []
    follow(page.get_by_role("button", name="Pause"))
    expect(page.locator("#live")).to_contain_text("it is paused")
    follow(page.get_by_role("link", name="Resume", exact=True))
    follow(page.get_by_role("button", name="Resume"))
    expect(page.locator("#live")).to_contain_text("its next tick is")
    assert entry(page, nightly) == ["resume_schedule", "nightly", "done"]


def test_a_schedule_is_triggered_and_backfilled(page, console, nightly):
    page.goto(f"{nightly.url}/ui/schedule?id=nightly")
    follow(page.get_by_role("link", name="Start a run now"))
    follow(page.get_by_role("button", name="Start a run now"))
    expect(page.locator("tbody tr")).to_contain_text("nightly@trigger-")
    follow(page.get_by_role("link", name="Backfill"))
    page.get_by_label("from").fill("2026-03-01T00:00:00+00:00")
    page.get_by_label("to").fill("yesterday")
    follow(page.get_by_role("button", name="Backfill"))
    expect(page.get_by_role("alert")).to_contain_text('to: "yesterday" does not fit: give a time with its offset')
    page.get_by_label("to").fill("2026-03-02T12:00:00+00:00")
    follow(page.get_by_role("button", name="Backfill"))
    page.wait_for_url(f"{nightly.url}/ui/schedule?id=nightly")
    assert len(page.locator("tbody tr").all_inner_texts()) == 3
    assert entry(page, nightly) == ["backfill_schedule", "nightly", "done"]
    assert all("status of 400" in text for text in console)
    console.clear()


def test_a_schedule_is_deleted(page, nightly):
    page.goto(f"{nightly.url}/ui/schedule?id=nightly")
    follow(page.get_by_role("link", name="Delete"))
    follow(page.get_by_role("button", name="Delete"))
    page.wait_for_url(f"{nightly.url}/ui/schedules")
    expect(page.get_by_role("main")).to_contain_text("There are no schedules")
    assert entry(page, nightly) == ["delete_schedule", "nightly", "done"]


def test_a_damaged_schedule_is_shown_as_such_and_deleted(page, nightly):
    shop_store = nightly.engine._engine._session.store
    (row,) = shop_store.read(ScheduleQuery("nightly"))
    (done,) = shop_store.commit([Commit(schedule=ScheduleChange("nightly", row.version, None, "nonsense"))], 1)
    assert not isinstance(done, Exception)
    nightly.engine.schedule("other", report_flow, {"month": 1}, cron="30 2 * * *")
    page.goto(f"{nightly.url}/ui/schedules")
    expect(page.locator("tbody tr", has_text="other")).to_contain_text("active")
    expect(page.locator("tbody tr", has_text="nightly")).to_contain_text("unreadable")
    follow(page.get_by_role("link", name="nightly"))
    expect(page.locator("#live")).to_contain_text("its stored form is damaged")
    assert inaccessible(page) == []
    expect(page.get_by_role("link", name="Start a run now")).to_have_count(0)
    follow(page.get_by_role("link", name="Delete"))
    follow(page.get_by_role("button", name="Delete"))
    page.wait_for_url(f"{nightly.url}/ui/schedules")
    expect(page.locator("tbody tr")).to_contain_text("other")


def test_workers_and_what_they_hold_and_limits(page, shop):
    entered, leave = threading.Event(), threading.Event()

    def hold(_order):
        entered.set()
        assert leave.wait(LIMIT_S)

    held_flow = named("held.v1", dict[str, int]).do("hold", hold).compile()
    shop.engine.register(held_flow)
    limits = [Limit("tenant/a", 1), Limit("mail", rate=3, per=60)]
    with shop.engine.worker():
        try:
            shop.engine.start(held_flow, {}, id="first", limits=limits)
            assert entered.wait(LIMIT_S)
            shop.engine.start(held_flow, {}, id="second", limits=limits)
            page.goto(f"{shop.url}/ui/workers")
            worker = page.locator("section", has_text="held.v1")
            expect(worker).to_contain_text("first of held.v1 at start:held.v1 since")
            expect(worker).to_contain_text("Last heartbeat 2")
            assert inaccessible(page) == []
            page.goto(f"{shop.url}/ui/store")
            expect(page.locator("tr", has_text="tenant/a")).to_contain_text("1 of 1: first")
            expect(page.locator("tr", has_text="mail")).to_contain_text("1 of 3 within 60 s")
            assert inaccessible(page) == []
        finally:
            leave.set()
        shop.engine.get("second").result(LIMIT_S)


def test_the_health_of_the_store(page, shop):
    shop.engine.pause_flow("order.v1")
    page.goto(f"{shop.url}/ui/store")
    expect(page.locator("tr", has_text="paused flows")).to_contain_text("attention")
    expect(page.locator("tr", has_text="blocked runs")).to_contain_text("ok")
    assert inaccessible(page) == []


def test_many_runs_are_changed_after_a_dry_run(page, shop):
    shop.engine.start_many(order_flow, [(f"bad-{number:02}", {"amount": -1}) for number in range(25)])
    shop.engine.start(order_flow, {"amount": 1}, id="good")
    shop.engine.run_until_idle()
    page.goto(f"{shop.url}/ui/runs?status=failed&flow=order.v1")
    follow(page.get_by_role("link", name="Change all of them"))
    expect(page.get_by_role("main")).to_contain_text("flow order.v1")
    page.get_by_label("What to do").select_option("Redrive those that failed")
    follow(page.get_by_role("button", name="Find out which runs"))
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("Nothing was changed yet.")
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("and 5 more")
    assert inaccessible(page) == []
    assert shop.engine.tally()["order.v1"]["failed"] == 25
    follow(page.get_by_role("button", name="Redrive those that failed: 25 runs"))
    expect(page.get_by_role("status")).to_have_text("25 runs changed.")
    assert inaccessible(page) == []
    assert shop.engine.tally()["order.v1"]["queued"] == 25
    assert entry(page, shop) == ["redrive_runs", "runs", "done"]


def test_an_event_is_published_to_many_runs(page, console, shop):
    wait_flow = named("wait.v1", dict[str, int]).wait_event("w", "go", int, lambda _order, _n: None).compile()
    shop.engine.register(wait_flow)
    shop.engine.start_many(wait_flow, [("w1", {}), ("w2", {})], labels={"team": "a"})
    shop.engine.run_until_idle()
    page.goto(f"{shop.url}/ui/bulk?label=team%3Da&verb=publish_to_runs")
    page.get_by_role("textbox", name="event").fill("go")
    page.get_by_label("payload").fill("three")
    follow(page.get_by_role("button", name="Publish an event: 2 runs"))
    expect(page.get_by_role("alert")).to_contain_text("payload: 'three' is not JSON")
    expect(page.get_by_role("textbox", name="event")).to_have_value("go")
    page.get_by_label("payload").fill("3")
    follow(page.get_by_role("button", name="Publish an event: 2 runs"))
    expect(page.get_by_role("status")).to_have_text("2 runs changed.")
    shop.engine.run_until_idle()
    assert shop.engine.tally()["wait.v1"] == {"completed": 2}
    assert all("status of 400" in text for text in console)
    console.clear()


VERBS = {
    "Cancel": {"cancelled": 1},
    "Pause": {"paused": 1},
    "Retry those that sleep or are blocked now": {"queued": 1},
}


@pytest.mark.parametrize(("verb", "after"), VERBS.items(), ids=VERBS)
def test_other_verbs_on_many_runs(page, shop, verb, after):
    shop.engine.start(order_flow, {"amount": 1}, id="o", at=datetime.now(UTC) + timedelta(days=1))
    page.goto(f"{shop.url}/ui/bulk")
    expect(page.get_by_role("main")).to_contain_text("all runs of the namespace")
    page.get_by_label("What to do").select_option(verb)
    follow(page.get_by_role("button", name="Find out which runs"))
    follow(page.get_by_role("button", name=f"{verb}: 1 run"))
    expect(page.get_by_role("status")).to_have_text("1 run changed.")
    assert shop.engine.tally()["order.v1"] == after


def test_many_paused_runs_are_resumed(page, shop):
    shop.engine.start(order_flow, {"amount": 1}, id="o").pause()
    page.goto(f"{shop.url}/ui/bulk?verb=resume_runs")
    follow(page.get_by_role("button", name="Resume: 1 run"))
    expect(page.get_by_role("status")).to_have_text("1 run changed.")
    assert shop.engine.tally()["order.v1"] == {"queued": 1}


def test_many_runs_are_moved(page, console, shop):
    shop.engine.start_many(order_flow, [("m1", {"amount": -1}), ("m2", {"amount": -2})])
    page.goto(f"{shop.url}/ui/bulk?flow=order.v1")
    page.get_by_label("What to do").select_option("Move to another position")
    follow(page.get_by_role("button", name="Find out which runs"))
    expect(page.get_by_role("alert")).to_contain_text("a move needs a flow among the conditions, and a position")
    page.get_by_role("textbox", name="Position").fill("start:order.v1")
    follow(page.get_by_role("button", name="Find out which runs"))
    assert inaccessible(page) == []
    before = {run.id: run.rev for run in shop.engine.runs()}
    follow(page.get_by_role("button", name="Move to another position: 2 runs"))
    expect(page.get_by_role("status")).to_have_text("2 runs changed.")
    assert all(run.rev > before[run.id] and run.position == ["start:order.v1"] for run in shop.engine.runs())
    assert entry(page, shop) == ["move_runs", "runs", "done"]
    assert all("status of 400" in text for text in console)
    console.clear()


def test_many_runs_are_forked_and_rewound(page, console, shop):
    shop.engine.start_many(order_flow, [("f1", {"amount": 1}), ("f2", {"amount": 2})])
    shop.engine.run_until_idle()
    page.goto(f"{shop.url}/ui/bulk?flow=order.v1")
    page.get_by_label("What to do").select_option("Fork before a step")
    page.get_by_role("textbox", name="Step").fill("order.v1/charge")
    follow(page.get_by_role("button", name="Find out which runs"))
    expect(page.get_by_role("alert")).to_contain_text("what is put behind the ids")
    page.get_by_label("Behind the ids").fill("/again")
    follow(page.get_by_role("button", name="Find out which runs"))
    assert inaccessible(page) == []
    follow(page.get_by_role("button", name="Fork before a step: 2 runs"))
    expect(page.get_by_role("status")).to_have_text("2 runs changed.")
    assert {run.id for run in shop.engine.runs()} == {"f1", "f2", "f1/again", "f2/again"}
    page.goto(f"{shop.url}/ui/bulk?id=f1&status=completed&verb=rewind_runs&step=order.v1%2Fcharge")
    follow(page.get_by_role("button", name="Rewind to before a step: 1 run"))
    expect(page.get_by_role("status")).to_have_text("1 run changed.")
    assert shop.engine.tally() == {"order.v1": {"completed": 1, "queued": 3}}
    assert all("status of 400" in text for text in console)
    console.clear()


def test_what_no_filter_can_mean_is_told(page, console, shop):
    for query, why in (("label=x&verb=cancel_runs", "write it as name=value"), ("verb=burn", "choose one of the list")):
        assert page.goto(f"{shop.url}/ui/bulk?{query}").status == 400
        expect(page.get_by_role("alert")).to_contain_text(why)
    assert all("status of 400" in text for text in console)
    console.clear()


def test_the_audit_is_filtered_and_paged(page, console, shop):
    for number in range(60):
        shop.engine.start(order_flow, {"amount": 1}, id=f"o{number}")
    page.goto(f"{shop.url}/ui/bulk?verb=cancel_runs")
    follow(page.get_by_role("button", name="Cancel: 60 runs"))
    expect(page.get_by_role("status")).to_have_text("60 runs changed.")
    page.goto(f"{shop.url}/ui/audit")
    page.get_by_label("Verb").fill("cancel_runs")
    follow(page.get_by_role("button", name="Filter"))
    expect(page.locator("tbody tr")).to_contain_text("count: 60")
    assert inaccessible(page) == []
    page.get_by_label("Verb").fill("wake_runs")
    follow(page.get_by_role("button", name="Filter"))
    expect(page.get_by_role("main")).to_contain_text("There is no entry.")
    assert page.goto(f"{shop.url}/ui/audit?verb=cancel_run_").status == 400
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'cancel_run'?")
    assert page.goto(f"{shop.url}/ui/audit?cursor=x").status == 400
    expect(page.get_by_role("alert")).to_contain_text("give the `next` of a page")
    console.clear()


def test_who_may_change_single_runs_is_told_that_many_take_more(page, store, engine):
    engine.start(order_flow, {"amount": 1}, id="o")
    with serving(store, flows=FLOWS, tokens=TokenTable([Token("one", digest("one"), "operate", None)])) as url:
        page.goto(f"{url}/ui/bulk?verb=cancel_runs")
        page.get_by_label("Token").fill("one")
        follow(page.get_by_role("button", name="Log in"))
        expect(page.get_by_role("region", name="Dry run")).to_contain_text("a token with the scope admin")
        assert page.get_by_role("button", name="Cancel: 1 run").count() == 0
