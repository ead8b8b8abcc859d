"""The timeline of a run in a real browser: attempts, sleeps, times that are not known, and pages."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from stepflow import Context, Engine, RetryPolicy, workflow
from stepflow.testing import VirtualClock
from tests.ui.browser import expect, follow, inaccessible
from tests.ui.test_run import add, boxes, section


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path}/orders.db"


tries = []


def pay():
    tries.append(1)
    if len(tries) < 2:
        raise ConnectionError("no <bank>")
    return 100


@workflow("payment.v1")
def payment_flow(wf: Context, number: int) -> int:
    wf.execute("reserve", add, 1, 2)
    wf.sleep("cool-off", timedelta(hours=3))
    return wf.execute("pay", pay, retry=RetryPolicy(max_attempts=3, delay=90, jitter=0))


def test_the_timeline_tells_attempts_sleeps_and_that_a_time_is_not_known(page, site, store, tmp_path):
    tries.clear()
    with Engine(store, clock=VirtualClock()) as engine:
        engine.register(payment_flow)
        engine.start(payment_flow, 1, id="payment-1")
        engine.run_until_idle(advance=True)
    with closing(sqlite3.connect(tmp_path / "orders.db")) as file, file:  # as in a store that an older version wrote
        assert file.execute("UPDATE stepflow_journal SET written_at = 0 WHERE key = 'reserve'").rowcount == 1
    page.goto(f"{site.url}/ui/run?id=payment-1")
    rows = section(page, "Timeline").locator("tbody tr")
    seen = [[cell.strip() for cell in row.split("\t")][1:] for row in rows.all_inner_texts()]
    assert seen == [
        ["2000-01-01 03:01:30.000", "0 ms", "", "completed"],
        ["2000-01-01 03:01:30.000", "1 min 30 s", "step pay", "attempt 2: 100"],
        ["2000-01-01 03:00:00.000", "0 ms", "step:pay", "attempt 1 failed: ConnectionError: no <bank>"],
        ["2000-01-01 00:00:00.000", "0 ms", "sleep:cool-off", ""],
        ["2000-01-01 00:00:00.000", "", "sleep", "until 2000-01-01T03:00:00Z"],
        ["unknown", "", "step add", "3"],
        ["2000-01-01 00:00:00.000", "", "payment.v1", ""],
    ]
    assert page.locator("tr.failed").count() == 1
    assert inaccessible(page) == []


@workflow("counting.v1")
def counting(wf: Context, calls: int) -> int:
    for number in range(calls):
        wf.execute(f"call-{number}", add, number, 1)
    wf.wait_for_event("end", "end", int, timeout=timedelta(days=1))
    return calls


def test_a_long_journal_has_pages(page, site):
    site.engine.register(counting)
    site.engine.start(counting, 400, id="counting-1")
    site.engine.run_until_idle()
    assert len(page.goto(f"{site.url}/ui/run?id=counting-1").body()) < 80_000
    assert boxes(page)[0] == "more before"
    assert boxes(page)[-2:] == ["end", "waiting"]
    records = section(page, "Timeline").locator("tbody tr")
    expect(records.nth(1)).to_contain_text("until 20")  # a wait tells when it ends
    seen = records.locator("td:first-child").all_inner_texts()
    while page.get_by_role("link", name="Older records").count():
        follow(page.get_by_role("link", name="Older records"))
        assert boxes(page)[-2:] == ["end", "waiting"]  # the diagram stays that of the present
        seen += records.locator("td:first-child").all_inner_texts()
    rev, *calls, first = seen
    assert calls == ["end", *(f"call-{number}" for number in reversed(range(400)))]
    assert int(rev) > int(first)
    follow(page.get_by_role("link", name="Newest records"))
    expect(records.nth(1)).to_contain_text("end")
    assert inaccessible(page) == []
