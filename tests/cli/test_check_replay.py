"""`check` replays the journals of open workflows against the code that is to be deployed; no step is called."""

from __future__ import annotations

from contextlib import closing

import pytest

from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing.conformance.kit import Sessions, make, publish

SALES = """
import sys
from pathlib import Path
from attrs import define
from stepflow import AsyncContext, Context, Terminal, current, workflow

@define
class Sale:
    number: int

def called(name: str) -> str:
    with Path("calls.txt").open("a") as log:
        log.write(name + "\\n")
    return name

def charge(sale: Sale) -> str:
    return called("charge")

def fail(sale: Sale) -> str:
    raise ValueError(called("fail"))

async def pack(sale: Sale) -> str:
    return called("pack")

@workflow("sale.v1")
def sale(wf: Context, order: Sale) -> str:
    paid = wf.execute("charge", charge, order)
    print(current().run_id)
    try:
        wf.execute("fail", fail, order)
    except ValueError:
        pass
    wf.sleep("pause", 3600)
    who = wf.wait_for_event("approval", "approved", str)
    return paid + who

@workflow("parcel.v1")
async def parcel(wf: AsyncContext, order: Sale) -> str:
    packed = await wf.execute("pack", pack, order)
    who = await wf.wait_for_event("pickup", "picked", str)
    return packed + who
"""


@pytest.fixture
def sales(stepflow, tmp_path):
    """The command on a store in which three sales sleep, and a parcel waits for its pickup."""
    (tmp_path / "sales.py").write_text(SALES)
    for n in range(3):
        stepflow("start", "sales:sale", f'{{"number": {n}}}', "--id", f"sale-{n}")
    stepflow("start", "sales:parcel", '{"number": 1}', "--id", "parcel-1")
    stepflow("worker", "sales", "--until-idle")
    return stepflow


def deployed(tmp_path, *changes, name="sales2"):
    text = SALES
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / f"{name}.py").write_text(text)
    return name


def test_unchanged_code_goes_on_and_no_step_is_called(sales, tmp_path):
    before = (tmp_path / "calls.txt").read_text()
    rows = sales.json("check", deployed(tmp_path))
    assert [(row["flow"], row["runs"], row["verdict"]) for row in rows] == [
        ("sale.v1", 3, "ok"),
        ("parcel.v1", 1, "ok"),
    ]
    assert sales.code == 0
    assert (tmp_path / "calls.txt").read_text() == before


@pytest.mark.parametrize(
    ("change", "verdict", "remedy"),
    [
        (('wf.execute("charge"', 'wf.execute("charge/v2"'), "diverges", "has step 'charge' of charge and 2 more here"),
        (('wf.sleep("pause", 3600)', ""), "diverges", "comes to event 'approval' of approved"),
        (('wf.sleep("pause", 3600)', 'wf.random_uuid7("pause")'), "diverges", "has sleep 'pause' here"),
        (('return called("charge")', "return int()"), "ok", ""),
        (
            ("def charge(sale: Sale) -> str", "def charge(sale: Sale) -> int"),
            "unreadable",
            "recorded value of 'charge'",
        ),
        (("    number: int", "    number: int\n    size: int"), "unreadable", "size"),
        (("print(current().run_id)", "order.colour"), "fails", "raises AttributeError"),
        (("print(current().run_id)", "sys.exit(3)"), "fails", "raises SystemExit"),
        (("print(current().run_id)", "import os; os._exit(3)"), "fails", "ended its process"),
        (("print(current().run_id)", 'wf.execute("charge", charge, order)'), "blocked", "used before in this workflow"),
        (("except ValueError:", "except BaseException:"), "ok", ""),
        (
            ('wf.sleep("pause", 3600)', 'try: wf.sleep("pause", 3600)\n    except BaseException: return paid'),
            "blocked",
            "`except Exception` is fine",
        ),
        (("print(current().run_id)", "assert sys.stdin.read() == ''"), "ok", ""),
    ],
)
def test_a_deploy_that_would_stop_runs_is_found(sales, tmp_path, change, verdict, remedy):
    (row,) = sales.json("check", deployed(tmp_path, change) + ":sale")[:1]
    assert (row["runs"], row["verdict"], row["example"]) == (3, verdict, "sale-2")
    assert remedy in row["remedy"]
    assert sales.code == (0 if verdict == "ok" else 3)


def test_code_that_does_not_end_is_given_up(sales, tmp_path):
    module = deployed(tmp_path, ("print(current().run_id)", "while order.number == 1: pass"))
    rows = sales.json("check", f"{module}:sale", "--limit", "1s")
    assert [(row["runs"], row["verdict"], row["example"]) for row in rows[:2]] == [
        (1, "fails", "sale-1"),
        (2, "ok", "sale-2"),
    ]
    assert "within 1 s" in rows[0]["remedy"]


def test_a_sample_is_replayed(sales, tmp_path):
    module = deployed(tmp_path, ('wf.sleep("pause", 3600)', ""))
    rows = sales.json("check", f"{module}:sale", "--sample", "2")
    assert [(row["runs"], row["verdict"]) for row in rows[:2]] == [(2, "diverges"), (1, "ok")]
    assert rows[1]["remedy"] == "2 of 3 were replayed"


def test_an_async_workflow_is_replayed_with_its_unread_events(sales, tmp_path):
    with closing(Sessions(SqliteDriver(tmp_path / "shop.db"))) as sessions:  # the command refuses it
        make(sessions.session(), publish("parcel-1", "picked", "1", "17"))
    (row,) = sales.json("check", deployed(tmp_path) + ":parcel")[:1]
    assert (row["verdict"], row["runs"]) == ("unreadable", 1)
    assert "an event for 'pickup' does not fit" in row["remedy"]
    (row,) = sales.json("check", deployed(tmp_path, ('"picked", str', '"picked", int'), name="sales3") + ":parcel")[:1]
    assert row["verdict"] == "ok"


def test_a_run_that_shall_go_on_behind_its_failure_is_replayed_without_it(sales, tmp_path):
    raising = ("    except ValueError:\n        pass", "    finally:\n        wf.execute('late', charge, order)")
    (tmp_path / "sales3.py").write_text(SALES.replace(*raising))
    sales("start", "sales3:sale", '{"number": 7}', "--id", "sale-7")
    sales("worker", "sales3", "--until-idle")
    assert sales.json("show", "sale-7")["info"]["status"] == "failed"
    sales("retry", "sale-7")
    rows = sales.json("check", deployed(tmp_path, raising) + ":sale")
    assert [(row["runs"], row["verdict"]) for row in rows if row["example"] == "sale-7"] == [(1, "ok")]
