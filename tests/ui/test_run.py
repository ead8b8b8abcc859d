"""The page of one run in a real browser: its diagram, its values, its timeline, and updates while it is open."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    RetryPolicy,
    StateCtx,
    Steps,
    StoreData,
    commit,
    named,
    park,
    workflow,
)
from tests.ui.browser import expect, follow, inaccessible
from tests.ui.conftest import Site, serving

Order = dict[str, object]


def reserve(order: Order) -> None:
    order["reserved"] = True


def charge(order: Order) -> None:
    if order["amount"] == 0:
        raise ValueError("there is <nothing> to charge")


def is_big(order: Order) -> bool:
    return order["amount"] == 1000


def ship(order: Order) -> None:
    order["shipped"] = True


payment = Steps[Order]().do("charge", charge).do("book", reserve)
order_flow = (
    named("order.v1", Order)
    .do("reserve", reserve)
    .retry("payment", RetryPolicy(max_attempts=2, delay=0.0), payment)
    .case("big", is_big, Steps[Order]().do("call", ship))
    .wait_event("confirm", "paid", str, lambda _order, _text: None, timedelta(days=3))
    .do("ship", ship)
    .compile()
)


def add(a: int, b: int) -> int:
    return a + b


def look_up(sku: str) -> int:
    raise LookupError(f"no {sku} in stock")


child_flow = named("parcel.v1", Order).do("ship", ship).compile()


@workflow("checkout.v1")
def checkout(wf: Context, order: Order) -> int:
    total = wf.execute("total", add, 2, 3)
    try:
        wf.execute("stock", look_up, "a-1")
    except Exception:
        total += 1
    wf.start_child("parcel", child_flow, {"amount": 1})
    wf.wait_for_event("go", "go", str)
    return total


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A file with a short name, which pictures show."""
    monkeypatch.chdir(tmp_path)
    return "sqlite:///orders.db"


@pytest.fixture
def shop(store, engine, page):
    """A server that knows the flows, and runs of them."""
    with serving(store, flows=[order_flow, checkout]) as url:
        engine.register(order_flow, checkout)
        items = [{"sku": "a-1", "price": 9.5}, {"sku": "b-2", "price": 12}]
        engine.start(order_flow, {"amount": 5, "items": items, "note": None}, id="order-1", labels={"customer": "7"})
        engine.start(order_flow, {"amount": 0}, id="order-2")
        engine.start(checkout, {"amount": 9}, id="checkout-1")
        engine.run_until_idle()
        yield Site(url, engine)
        page.close()


def boxes(page, state=""):
    return page.locator(f".plan g.step{state} text:first-of-type").all_text_contents()


TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")
SPAN = re.compile(r"\d[\d.e-]* (ms|s|min|h)( \d+ s)?")


def section(page, name):
    return page.get_by_role("region", name=name, exact=True)


def test_a_chain_that_waits(page, shop):
    page.goto(f"{shop.url}/ui/runs")
    follow(page.get_by_role("link", name="order-1"))
    assert page.title() == "order-1 · stepflow"
    expect(page.locator(".summary .status")).to_have_text("waiting")
    expect(section(page, "Why it is where it is")).to_contain_text(
        "it waits for event 'paid': stepflow publish 'order-1'"
    )
    expect(section(page, "Why it is where it is")).to_contain_text("it times out at")
    assert boxes(page) == [
        "order.v1",
        "reserve",
        "charge",
        "book",
        "case big",
        "call",
        "wait for confirm",
        "ship",
        "completed",
    ]
    assert boxes(page, ".done") == ["order.v1", "reserve", "charge", "book", "case big"]
    assert boxes(page, ".current") == ["wait for confirm"]
    assert page.locator(".plan path.retry").count() == 1
    expect(section(page, "Facts")).to_contain_text("times out at")
    follow(page.locator(".summary").get_by_role("link", name="customer=7"))
    assert page.locator("tbody td:first-child").all_inner_texts() == ["order-1"]


def test_what_a_run_has_many_of_does_not_push_the_rest_away(page, shop):
    labels = {f"label {number:03d}": "a  b" for number in range(50)}
    run = shop.engine.start(order_flow, {"amount": 5}, id="{x}  y", labels=labels)
    for number in range(50):
        run.publish(f"other{number}", number)
    shop.engine.run_until_idle()
    page.goto(f"{shop.url}/ui/run?id=%7Bx%7D++y")
    assert page.get_by_role("heading", level=1).inner_text() == "Run {x}  y"
    expect(section(page, "Why it is where it is")).to_contain_text("stepflow publish '{x}  y'")
    expect(section(page, "Events that no wait has taken")).to_contain_text("and 30 more")
    expect(page.get_by_text("label 019=a  b")).to_be_visible()
    expect(page.get_by_text("label 020=a  b")).to_be_hidden()
    page.get_by_text("30 more labels").click()
    expect(page.get_by_text("label 049=a  b")).to_be_visible()
    assert inaccessible(page) == []
    follow(page.get_by_role("link", name="label 049=a  b"))
    expect(page.get_by_label("Labels")).to_have_value('"label 049=a  b"')
    assert page.locator("tbody td:first-child").all_inner_texts() == ["{x}  y"]


def test_a_run_that_waits_for_many_events_has_buttons_for_some(page, shop):
    @workflow("survey.v1")
    async def survey(wf: AsyncContext, n: int) -> int:
        return len(await wf.gather(*[wf.wait_for_event(f"ask {i}", f"answer{i}", str) for i in range(n)]))

    shop.engine.register(survey)
    shop.engine.start(survey, 30, id="survey-1")
    shop.engine.run_until_idle()
    page.goto(f"{shop.url}/ui/run?id=survey-1")
    expect(page.get_by_role("link", name="Publish answer")).to_have_count(10)
    expect(section(page, "Why it is where it is")).to_contain_text("or 10 more: stepflow publish 'survey-1'")
    page.goto(f"{shop.url}/ui/questions")
    expect(page.get_by_role("link", name="of survey-1")).to_have_count(30)


def test_the_exchange_can_be_unfolded_and_stays_so(page, shop):
    page.goto(f"{shop.url}/ui/run?id=order-1")
    expect(page.locator("html")).to_have_attribute("data-updates", "on")
    tree = section(page, "Exchange")
    expect(tree.get_by_text("9.5")).to_be_hidden()
    tree.get_by_text("[0]").click()
    expect(tree.get_by_text("9.5")).to_be_visible()
    shop.engine.get(order_flow, "order-1").publish("paid", "yes")
    shop.engine.run_until_idle()
    expect(page.locator(".summary .status")).to_have_text("completed")
    expect(section(page, "Result").get_by_text("9.5")).to_be_visible()  # the update did not fold it
    assert boxes(page, ".done")[-2:] == [
        "ship",
        "completed",
    ]  # one commit, whose revision has the second as its position
    assert boxes(page, ".done")[-1] == "completed"
    assert inaccessible(page) == []


def test_a_run_that_failed(page, shop):
    page.goto(f"{shop.url}/ui/run?id=order-2")
    assert boxes(page, ".failed") == ["charge"]
    error = section(page, "Error")
    expect(error).to_contain_text("ValueError: there is <nothing> to charge")
    error.get_by_text("Traceback", exact=True).click()
    expect(error.locator("pre")).to_contain_text("in charge")
    rows = page.locator("tr.failed")
    expect(rows.first).to_contain_text("failed")
    expect(rows.last.locator("td").last).to_have_text("attempt 1 failed: ValueError: there is <nothing> to charge")
    assert inaccessible(page) == []


def test_the_timeline_leads_to_every_exchange(page, shop):
    page.goto(f"{shop.url}/ui/run?id=order-1")
    rows = section(page, "Timeline").locator("tbody tr")
    assert rows.locator("td:nth-child(4)").all_inner_texts() == [
        "completed:order.v1/bigCase",
        "completed:order.v1/paymentRetry/book",
        "completed:order.v1/paymentRetry/charge",
        "completed:order.v1/reserve",
        "start:order.v1",
    ]
    expect(rows.first).to_contain_text("waits for paid")
    assert rows.last.locator("td:nth-child(3)").inner_text() == ""  # nothing was before it
    follow(rows.last.get_by_role("link"))
    expect(page.get_by_role("heading", name="exchange at revision")).to_be_visible()
    expect(page.locator(".tree")).not_to_contain_text("reserved")
    assert inaccessible(page) == []
    assert (
        page.get_by_role("link", name="Download").get_attribute("href").startswith("/ui/run/download?id=order-1&rev=")
    )


def test_an_update_tells_the_status_and_takes_the_focus_from_no_link(page, shop):
    page.goto(f"{shop.url}/ui/run?id=order-1")
    expect(page.locator("html")).to_have_attribute("data-updates", "on")
    page.get_by_role("link", name="Fork").focus()
    shop.engine.get(order_flow, "order-1").publish("paid", "yes")
    shop.engine.run_until_idle()
    expect(page.get_by_role("status")).to_have_text("completed")  # what a screen reader says when it changes
    expect(page.get_by_role("link", name="Fork")).to_be_focused()


def test_annotations_of_users_and_of_traces_are_shown_and_those_of_the_library_are_folded(page, site):
    context = StateCtx("state-1")
    context.annotations["tenant"] = "Bern <b>"
    context.annotations["traceparent"] = f"00-{'ab' * 16}-{'cd' * 8}-01"
    context.set_data("note", b"kept elsewhere")
    site.engine.do(commit(StoreData(context, "note"), park(context, reason="for a look")))
    page.goto(f"{site.url}/ui/run?id=state-1")
    found = section(page, "Annotations")
    assert found.locator("dt").all_inner_texts() == ["reason (of this revision)", "tenant", "traceparent"]
    assert found.locator("dd").all_inner_texts()[:2] == ["for a look", "Bern <b>"]
    assert inaccessible(page) == []


def test_annotations_of_the_library_can_be_unfolded(page, shop):
    page.goto(f"{shop.url}/ui/run?id=order-1")
    found = section(page, "Annotations")
    expect(found.get_by_text("stepflow.waiting")).to_be_hidden()
    found.get_by_text("Those of the library").click()
    expect(found.get_by_text("event:paid")).to_be_visible()


MOVING = {
    "order-1": ["Publish paid"],
    "order-2": ["Redrive"],
    "paused": ["Resume flow parcel.v1"],
    "later": ["Retry now"],
    "held": ["Resume"],
}


def test_what_moves_a_run_on_comes_first(page, shop, store):
    with Engine(store) as engine:
        engine.start(child_flow, {}, id="paused")
        engine.pause_flow("parcel.v1")
        later = datetime.now(UTC) + timedelta(days=1)
        engine.start(order_flow, {}, id="later", at=later)
        engine.start(order_flow, {}, id="held").pause()
    for run_id, main in MOVING.items():
        page.goto(f"{shop.url}/ui/run?id={run_id}")
        buttons = page.get_by_role("list", name="Actions").get_by_role("link")
        assert buttons.all_inner_texts()[: len(main)] == main
        assert page.locator(".actions a.main").all_inner_texts() == main
        assert inaccessible(page) == []


def test_only_chains_can_be_moved(page, shop):
    page.goto(f"{shop.url}/ui/run?id=checkout-1")
    buttons = page.get_by_role("list", name="Actions").get_by_role("link").all_inner_texts()
    assert buttons == ["Publish go", "Publish an event", "Pause", "Fork", "Rewind", "Cancel"]


def test_a_workflow(page, shop):
    page.goto(f"{shop.url}/ui/run?id=checkout-1")
    assert boxes(page)[:2] == ["total", "stock"]
    assert boxes(page, ".failed") == ["stock"]
    assert boxes(page, ".current") == ["waiting"]
    journal = section(page, "Timeline")
    expect(journal.locator("tr.failed")).to_contain_text("LookupError: no a-1 in stock")
    expect(journal.locator("tbody tr", has_text="total")).to_contain_text("5")
    rows = journal.locator("tbody tr")
    assert rows.locator("td:nth-child(4)").all_inner_texts() == [
        "event:go",
        "wait go",
        "child parcel.v1",
        "step look_up",
        "step add",
        "checkout.v1",
    ]
    assert all(TIME.fullmatch(text) for text in rows.locator("td:nth-child(2)").all_inner_texts())
    *spans, first = rows.locator("td:nth-child(3)").all_inner_texts()
    assert all(SPAN.fullmatch(text) for text in spans)
    assert first == ""
    children = section(page, "Children")
    expect(children).to_contain_text("checkout-1/parcel")
    assert inaccessible(page) == []
    follow(children.get_by_role("link"))
    expect(page.locator(".summary")).to_contain_text("child of checkout-1")
    page.go_back()
    follow(journal.get_by_role("link", name="stock"))
    expect(page.locator(".tree")).to_contain_text("no a-1 in stock")
    assert inaccessible(page) == []


long_chain = named("long.v1", Order)
for number in range(300):
    long_chain = long_chain.do(f"step-{number}", reserve)
long_flow = long_chain.wait_event("confirm", "paid", str, lambda _order, _text: None).do("ship", ship).compile()


def test_of_a_long_plan_the_part_around_the_position_is_drawn(page, store, engine):
    engine.register(long_flow)
    engine.start(long_flow, {}, id="long-1")
    engine.run_until_idle()
    with serving(store, flows=[long_flow]) as url:
        assert len(page.goto(f"{url}/ui/run?id=long-1").body()) < 150_000
        assert boxes(page)[0] == "264 more before"
        assert boxes(page)[-3:] == ["wait for confirm", "ship", "completed"]
        assert boxes(page, ".done")[-1] == "step-299"
        current = page.locator(".plan .current")
        expect(current).to_contain_text("wait for confirm")
        expect(current).to_be_in_viewport()  # the diagram is scrolled to it
        assert inaccessible(page) == []
        page.close()


def test_a_long_plan_at_its_beginning_says_what_is_behind(page, store, engine):
    engine.start(long_flow, {}, id="long-1")
    with serving(store, flows=[long_flow]) as url:
        page.goto(f"{url}/ui/run?id=long-1")
        assert boxes(page)[:2] == ["long.v1", "step-0"]
        assert boxes(page)[-1] == "264 more behind"
        page.close()


def test_where_no_plan_is_known_the_way_is_drawn(page, site):
    site.engine.register(order_flow)
    site.engine.start(order_flow, {"amount": 5}, id="order-1")
    site.engine.run_until_idle()
    page.goto(f"{site.url}/ui/run?id=order-1")
    expect(page.get_by_role("heading", name="The way that the run took")).to_be_visible()
    assert boxes(page)[:3] == ["order.v1", "reserve", "charge"]
    assert boxes(page, ".current") == ["waiting"]
    site.engine.get(order_flow, "order-1").publish("paid", "yes")
    site.engine.run_until_idle()
    expect(page.locator(".plan g.step.current")).to_have_count(0)
    assert boxes(page)[-2:] == ["order.v1", "completed"]
    assert inaccessible(page) == []


def test_a_run_that_is_not_there(page, console, site):
    for query, status, text in (
        ("?id=none", 404, "no run 'none'"),
        ("", 400, "the address names no run"),
        ("?id=none&before=x", 404, "no run 'none'"),
    ):
        assert page.goto(f"{site.url}/ui/run{query}").status == status
        expect(page.get_by_role("main")).to_contain_text(text)
    assert all("status of 40" in text for text in console)
    console.clear()


def test_ids_that_are_no_words(page, site):
    odd = "a/../b?c=1&d#e <i>ü"
    site.engine.register(child_flow)
    site.engine.start(child_flow, {"amount": 1}, id=odd)
    page.goto(f"{site.url}/ui/runs")
    follow(page.get_by_role("link", name=odd))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Run {odd}")
    follow(section(page, "Timeline").get_by_role("link").first)
    expect(page.get_by_role("heading", level=1)).to_contain_text(odd)
