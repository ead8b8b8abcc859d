"""Everything that can be done to a run from the pages, once each, in a real browser: the form, what came of it, and the audit entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import attrs
import pytest

from stepflow import Context, named, workflow
from stepflow.server.tokens import Token, TokenTable, digest
from tests.ui.browser import expect, follow, inaccessible
from tests.ui.conftest import Site, serving


@attrs.define
class Address:
    street: str
    number: int = 1


@attrs.define
class Parcel:
    amount: int
    speed: Literal["slow", "fast"]
    to: Address
    fragile: bool = False
    note: str | None = None
    tags: list[str] = attrs.Factory(list)
    charged: int = 0


@attrs.define
class Answer:
    accepted: bool
    price: float
    by: datetime | None = None


def charge(parcel: Parcel) -> None:
    if parcel.amount < 0:
        raise ValueError("a negative amount")
    parcel.charged = parcel.amount


def settle(parcel: Parcel, answer: Answer) -> None:
    parcel.note = f"{answer.accepted} {answer.price}"


parcel_flow = named("parcel.v1", Parcel).do("charge", charge).wait_event("offer", "offer", Answer, settle).compile()


@workflow("greeting.v1")
def greeting(wf: Context, name: str) -> str:
    return wf.execute("upper", str.upper, name)


@workflow("asking.v1")
def asking(wf: Context, name: str) -> str:
    first = wf.first_of("either", wf.event("offer", Answer), wf.event("note", str), wf.timer(timedelta(days=3)))
    return f"{name}: {first.value}"


def pay(_order: dict[str, int]) -> None:
    """Its call is interrupted."""
    raise KeyboardInterrupt


once_flow = named("once.v1", dict[str, int]).do("pay", pay, at_most_once=True).do("end", lambda _order: None).compile()
FLOWS = (parcel_flow, greeting, once_flow)


@pytest.fixture
def shop(store, engine):
    """A server that knows the flows, and two parcels: one that waits for an offer, one that failed."""
    engine.register(*FLOWS)
    for name, amount in (("good", 5), ("bad", -5)):
        engine.start(parcel_flow, Parcel(amount, "slow", Address("Main St")), id=f"{name}/1")
    engine.run_until_idle()
    with serving(store, flows=FLOWS) as url:
        yield Site(url, engine)


@pytest.fixture
def audit(shop, page):
    """The newest entry of the audit, as the page shows it: verb, of what, outcome."""

    def newest() -> list[str]:
        page.goto(f"{shop.url}/ui/audit")
        return page.locator("tbody tr").first.locator("td").all_inner_texts()[2:5]

    return newest


def ask(page, shop, path, button, **fields):
    """Fill in the form of a page and send it."""
    page.goto(f"{shop.url}/ui{path}")
    assert inaccessible(page) == []
    for name, value in fields.items():
        field = page.locator(f'[name="{name.replace("__", ".")}"]')
        if field.evaluate("one => one.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    follow(page.get_by_role("button", name=button))


def status(shop, run_id):
    return str(shop.engine.get(run_id).status())


SIMPLE = {
    "pause": ("pause_run", "Pause the run", "good/1", "waiting", "paused"),
    "cancel": ("cancel_run", "Cancel the run", "good/1", "waiting", "cancelled"),
    "redrive": ("redrive_run", "Redrive the run", "bad/1", "failed", "queued"),
}


@pytest.mark.parametrize(("verb", "button", "run_id", "before", "after"), SIMPLE.values(), ids=SIMPLE)
def test_a_button_on_the_page_of_a_run_leads_to_a_question_and_that_back(
    page, shop, audit, verb, button, run_id, before, after
):
    assert status(shop, run_id) == before
    page.goto(f"{shop.url}/ui/run?id={run_id}")
    follow(page.get_by_role("list", name="Actions").get_by_role("link", name=button.split()[0], exact=True))
    expect(page.get_by_role("heading", level=1)).to_contain_text(run_id)
    assert inaccessible(page) == []
    assert status(shop, run_id) == before  # a look at the question changes nothing
    follow(page.get_by_role("button", name=button))
    page.wait_for_url(f"{shop.url}/ui/run?id={run_id.replace('/', '%2F')}")
    assert status(shop, run_id) == after
    assert audit() == [verb, run_id, "done"]


def test_resume(page, shop, audit):
    shop.engine.get("good/1").pause()
    ask(page, shop, "/ask/resume_run?id=good/1", "Resume the run")
    assert (status(shop, "good/1"), audit()) == ("waiting", ["resume_run", "good/1", "done"])


def test_retry_now_of_a_run_that_sleeps(page, shop, audit):
    later = datetime.now(UTC) + timedelta(days=1)
    shop.engine.start(greeting, "ada", id="g", at=later)
    page.goto(f"{shop.url}/ui/run?id=g")
    follow(page.get_by_role("link", name="Retry now"))
    follow(page.get_by_role("button", name="Wake it now"))
    assert audit() == ["wake_run", "g", "done"]
    assert status(shop, "g") == "queued"


def test_a_question_can_be_left(page, shop):
    page.goto(f"{shop.url}/ui/ask/cancel_run?id=good/1")
    follow(page.get_by_role("link", name="Leave it"))
    page.wait_for_url(f"{shop.url}/ui/run?id=good%2F1")
    assert status(shop, "good/1") == "waiting"


def test_an_open_question_is_answered_by_a_form_of_the_type_of_its_payload(page, shop, audit):
    page.goto(f"{shop.url}/ui/questions")
    assert inaccessible(page) == []
    expect(page.locator("tbody tr")).to_contain_text("Answer")
    follow(page.get_by_role("link", name="Answer offer of good/1"))
    assert inaccessible(page) == []
    page.get_by_label("accepted").select_option("true")
    page.get_by_label("price").fill("12.5")
    follow(page.get_by_role("button", name="Publish the event"))
    page.wait_for_url(f"{shop.url}/ui/run?id=good%2F1")
    shop.engine.run_until_idle()
    assert shop.engine.get(parcel_flow, "good/1").result().note == "True 12.5"
    assert audit() == ["publish_event", "good/1", "done"]
    page.goto(f"{shop.url}/ui/questions")
    expect(page.locator("#live")).to_contain_text("No run of this page waits for an event.")


def test_the_question_of_a_workflow_has_a_form_although_the_server_does_not_know_the_flow(page, console, store, engine):
    engine.register(asking)
    engine.start(asking, "ada", id="w/1")
    engine.run_until_idle()
    with serving(store) as url:
        page.goto(f"{url}/ui/questions")
        assert page.locator("tbody tr td:nth-child(3)").all_inner_texts() == ["offer Answer", "note string"]
        follow(page.get_by_role("link", name="Answer offer of w/1"))
        assert page.get_by_label("accepted").evaluate("one => one.tagName") == "SELECT"
        page.get_by_label("price").fill("cheap")
        page.get_by_label("by").fill("tomorrow")
        follow(page.get_by_role("button", name="Publish the event"))
        wrong = page.get_by_role("alert")
        expect(wrong).to_contain_text("3 fields are not as needed; nothing was done.")
        told = [
            "accepted: give a value",
            "price: 'cheap' is not a number, e.g. 2.5",
            'by: "tomorrow" does not fit: give a time with its offset',
        ]
        for text in told:
            expect(wrong).to_contain_text(text)
        expect(page.get_by_label("accepted")).to_be_focused()
        expect(page.get_by_label("price")).to_have_attribute("aria-invalid", "true")
        assert inaccessible(page) == []
        wrong.get_by_role("link", name="price").click()
        expect(page.get_by_label("price")).to_be_focused()
        page.get_by_label("accepted").select_option("false")
        page.get_by_label("price").fill("2")
        page.get_by_label("by").fill("2030-01-31T18:30:00+00:00")
        follow(page.get_by_role("button", name="Publish the event"))
        assert page.url == f"{url}/ui/run?id=w%2F1"
        page.close()
    engine.run_until_idle()
    by = datetime(2030, 1, 31, 18, 30, tzinfo=UTC)
    assert engine.get(asking, "w/1").result() == f"ada: {Answer(False, 2, by)}"
    assert all("status of 400" in text for text in console)
    console.clear()


def test_an_event_of_any_name_takes_json(page, shop, audit):
    path = "/ask/publish_event?id=good/1"
    ask(page, shop, path, "Publish the event", name="offer", payload='{"accepted": false, "price": 1}')
    shop.engine.run_until_idle()
    assert shop.engine.get(parcel_flow, "good/1").result().note == "False 1"
    assert audit() == ["publish_event", "good/1", "done"]


def test_a_run_is_started_by_a_form_of_the_type_of_the_input(page, shop, audit):
    page.goto(f"{shop.url}/ui/flows")
    assert inaccessible(page) == []
    follow(page.get_by_role("link", name="Start a run of parcel.v1"))
    assert inaccessible(page) == []
    for label, text in (("amount", "7"), ("street", "Fleet St"), ("tags", '["a", "b"]'), ("id", "new")):
        page.get_by_role("textbox", name=label).last.fill(text)
    page.get_by_label("speed").select_option("fast")
    page.get_by_label("fragile").select_option("true")
    page.get_by_label("labels").fill("shop=a city=Bern")
    page.get_by_label("run timeout").fill("7200")
    follow(page.get_by_role("button", name="Start the run"))
    page.wait_for_url(f"{shop.url}/ui/run?id=new")
    run = shop.engine.get(parcel_flow, "new")
    assert run.info().ends_at == run.info().created_at + timedelta(hours=2)
    expect(page.get_by_text("ends at the latest at")).to_be_visible()
    assert run.exchange() == Parcel(7, "fast", Address("Fleet St"), True, tags=["a", "b"])
    assert run.info().labels == {"shop": "a", "city": "Bern"}
    assert audit() == ["start_run", "new", "done"]


def test_what_does_not_fit_is_told_in_the_form_which_keeps_what_was_filled_in(page, console, shop):
    ask(page, shop, "/start?flow=parcel.v1", "Start the run", input__amount="many", input__to__street="Fleet St")
    expect(page.get_by_role("alert")).to_contain_text("amount: 'many' is not a whole number, e.g. 3")
    expect(page.get_by_role("alert")).to_contain_text("speed: give a value")  # all that is wrong is told at once
    expect(page.get_by_role("textbox", name="street")).to_have_value("Fleet St")
    assert inaccessible(page) == []
    page.get_by_role("textbox", name="amount").fill("3")
    follow(page.get_by_role("button", name="Start the run"))
    expect(page.get_by_role("alert")).to_contain_text("speed: give a value")  # none is chosen for the user
    page.get_by_label("speed").select_option("fast")
    page.locator('[name="id"]').fill("good/1")  # another input has this id
    follow(page.get_by_role("button", name="Start the run"))
    expect(page.get_by_role("alert")).to_contain_text("run 'good/1' was started before with another input")
    page.locator('[name="id"]').fill("third")
    follow(page.get_by_role("button", name="Start the run"))
    page.wait_for_url(f"{shop.url}/ui/run?id=third")
    assert all("status of 4" in text for text in console)
    console.clear()


def test_a_workflow_is_started_and_forked_from_a_call(page, shop, audit):
    ask(page, shop, "/start?flow=greeting.v1", "Start the run", input="ada", id="g")
    shop.engine.run_until_idle()
    assert shop.engine.get(greeting, "g").result() == "ADA"
    page.goto(f"{shop.url}/ui/run?id=g")
    follow(page.get_by_role("link", name="Fork"))
    assert inaccessible(page) == []
    page.get_by_label("from").select_option("before call upper")
    page.get_by_label("id of the new run").fill("h")
    page.get_by_label("other input").fill('"bob"')
    follow(page.get_by_role("button", name="Start the new run"))
    page.wait_for_url(f"{shop.url}/ui/run?id=h")
    shop.engine.run_until_idle()
    assert shop.engine.get(greeting, "h").result() == "BOB"
    assert audit() == ["fork_run", "g", "done"]


def test_a_run_is_forked_from_a_revision_and_rewound_to_a_step(page, console, shop, audit):
    first = shop.engine.get("bad/1").history()[0].rev
    new_input = '{"amount": 1, "speed": "slow", "to": {"street": "x"}}'
    path = f"/ask/fork_run?id=bad/1&rev={first}"
    ask(page, shop, path, "Start the new run", new_id="better", input=new_input)
    shop.engine.run_until_idle()
    assert status(shop, "better") == "waiting"
    assert audit() == ["fork_run", "bad/1", "done"]
    ask(page, shop, "/ask/rewind_run?id=better", "Rewind the run")
    expect(page.get_by_role("alert")).to_contain_text("choose a revision or a call, or name a step")
    page.get_by_label("or before step").fill("parcel.v1/charge")
    follow(page.get_by_role("button", name="Rewind the run"))
    page.wait_for_url(f"{shop.url}/ui/run?id=better")
    assert (status(shop, "better"), audit()) == ("queued", ["rewind_run", "better", "done"])
    assert all("status of 400" in text for text in console)
    console.clear()


def test_a_run_is_moved(page, shop, audit):
    shop.engine.start(parcel_flow, Parcel(1, "slow", Address("x")), id="m")
    ask(page, shop, "/ask/move_run?id=m", "Move the run", to="completed:parcel.v1/charge")
    assert audit() == ["move_run", "m", "done"]
    shop.engine.run_until_idle()
    assert (status(shop, "m"), shop.engine.get(parcel_flow, "m").exchange().charged) == ("waiting", 0)


OUTCOMES = {
    "it took place": ("It took place", "resolve_call", {"value": '{"paid": 7}'}, "completed"),
    "it took place, nothing changed": ("It took place", "resolve_call", {}, "completed"),
    "it failed": ("It failed", "resolve_call_failed", {"error": "the line was dead"}, "failed"),
}


@pytest.mark.parametrize(("button", "verb", "fields", "after"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_call_of_unknown_outcome_is_resolved(page, shop, audit, button, verb, fields, after):
    shop.engine.start(once_flow, {"paid": 0}, id="p")
    with pytest.raises(KeyboardInterrupt):
        shop.engine.run_until_idle()
    shop.engine.run_until_idle()  # the next claim finds that the call was interrupted
    assert status(shop, "p") == "blocked"
    page.goto(f"{shop.url}/ui/run?id=p")
    follow(page.get_by_role("link", name=button))
    assert inaccessible(page) == []
    expect(page.get_by_label("step")).to_have_value("pay")
    for name, text in fields.items():
        page.locator(f"[name={name}]").fill(text)
    follow(page.get_by_role("button", name=button))
    page.wait_for_url(f"{shop.url}/ui/run?id=p")
    shop.engine.run_until_idle()
    assert (status(shop, "p"), audit()) == (after, [verb, "p", "done"])
    if "value" in fields:
        assert shop.engine.get(once_flow, "p").exchange() == {"paid": 7}


def table(*entries):
    return TokenTable([Token(secret, digest(secret), scope, None) for secret, scope in entries])


def test_who_may_only_read_sees_no_button_and_is_refused(page, console, store, engine):
    engine.register(*FLOWS)
    engine.start(parcel_flow, Parcel(5, "slow", Address("Main St")), id="a")
    engine.run_until_idle()
    with serving(store, flows=FLOWS, tokens=table(("reader", "read"))) as url:
        page.goto(f"{url}/ui/run?id=a")
        page.get_by_label("Token").fill("reader")
        follow(page.get_by_role("button", name="Log in"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("a")
        assert page.get_by_role("list", name="Actions").count() == 0
        page.goto(f"{url}/ui/questions")
        assert page.get_by_role("link", name="Answer").count() == 0
        assert page.goto(f"{url}/ui/ask/cancel_run?id=a").status == 403
        expect(page.get_by_role("main")).to_contain_text("token 'reader' does not allow 'operate'")
    assert all("status of 403" in text for text in console)
    console.clear()
