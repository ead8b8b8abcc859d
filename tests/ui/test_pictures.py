"""The pictures of the docs, made by the pages that they show. They are written where STEPFLOW_PICTURES is set; else only made."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Literal

import attrs
import pytest

from stepflow import Context, workflow
from tests.house.pages import ROOT
from tests.ui.browser import expect
from tests.ui.conftest import serving
from tests.ui.test_run import checkout, child_flow, order_flow

FOLDER = ROOT / "docs" / "images" if os.environ.get("STEPFLOW_PICTURES") else None


@attrs.define
class Decision:
    accepted: bool
    by: str
    delivery: Literal["standard", "express"] = "standard"
    discount: float | None = None


@workflow("approval.v1")
def approval(wf: Context, order: dict[str, int]) -> str:
    decision = wf.wait_for_event("decide", "decision", Decision, timeout=timedelta(days=2))
    return f"{decision.by}: {decision.accepted} for {order['amount']}"


@pytest.fixture
def store(tmp_path, monkeypatch) -> str:
    """A file with a short name, which pictures show."""
    monkeypatch.chdir(tmp_path)
    return "sqlite:///orders.db"


@pytest.fixture
def shop(store, engine, page):
    """The address of a server with some runs."""
    engine.register(order_flow, checkout, approval)
    items = [{"sku": "a-1", "price": 9.5}, {"sku": "b-2", "price": 12}]
    engine.start(order_flow, {"amount": 5, "items": items, "note": None}, id="order-1", labels={"customer": "7"})
    engine.start_many(order_flow, [(f"order-{number}", {"amount": 0}) for number in range(2, 6)])
    engine.start(checkout, {"amount": 9}, id="checkout-1")
    engine.start(approval, {"amount": 900}, id="approval-1")
    engine.run_until_idle()
    engine.start_many(child_flow, [(f"parcel-{number}", {"amount": number}) for number in range(4)])
    with serving(store, flows=[order_flow, checkout]) as url:
        yield url
        page.close()


PICTURES = {
    "ui-runs": ("/runs?live=off", "light", "parcel-3"),
    "ui-run": ("/run?id=order-1&live=off", "light", "Why it is where it is"),
    "ui-workflow": ("/run?id=checkout-1&live=off", "dark", "The calls that are recorded"),
    "ui-question": ("/ask/publish_event?id=approval-1&event=decision", "light", "Publish the event"),
    "ui-bulk": ("/bulk?status=failed&flow=order.v1&verb=redrive_runs", "light", "Nothing was changed yet."),
}


@pytest.mark.parametrize(("name", "path", "scheme", "text"), [(n, *more) for n, more in PICTURES.items()], ids=PICTURES)
def test_a_picture_for_the_docs(page, shop, name, path, scheme, text):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 1000, "height": 720})
    page.goto(f"{shop}/ui{path}")
    expect(page.get_by_role("main")).to_contain_text(text, ignore_case=True)
    picture = page.screenshot(path=FOLDER and FOLDER / f"{name}.png")
    assert picture[:4] == b"\x89PNG"
