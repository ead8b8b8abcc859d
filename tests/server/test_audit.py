"""Each change that an operator asks for leaves an entry in the audit, which is found by all that it names."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import AsyncEngine, MemoryDriver, Unavailable
from stepflow.cli.app import run
from stepflow.errors import Full, ReadOnly
from stepflow.wire.audit_entry import MOST_NAMES, AuditEntry, labels_of, labels_wanted
from tests.server.operating import Order, entries, nightly_flow, operating, order_flow

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite", "rocksdb", "postgres"])
def any_store(request, tmp_path):
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        server.execute("drop database if exists audited")
        server.execute("create database audited")
        return server.uri.replace("/postgres?", "/audited?")
    if request.param == "rocksdb":
        pytest.importorskip("rocksdict")
    return MemoryDriver() if request.param == "memory" else f"{request.param}:///{tmp_path}/audited"


async def test_a_change_of_many_runs_is_found_by_each_of_them(any_store):
    odd = "a\nb" + "x" * 505
    ids = ["one", "two", odd]
    async with operating(any_store) as operator:
        for run_id in (*ids, "other"):
            await operator.engine.start(order_flow, Order(1), id=run_id)
        await operator.post("/run/pause", id="two")
        await operator.post("/runs/cancel", ids=ids, dry_run=False)
        await operator.post("/runs/wake", 200, ids=["gone"], dry_run=False)
        await operator.post("/runs/cancel", filter={"id_prefix": "oth"}, dry_run=False)
        await operator.post("/run/redrive", 409, id="other")
        found = {
            name: [e["verb"] for e in await entries(operator, target=name)] for name in (*ids, "other", "gone", "o")
        }
        assert found == {
            "one": ["cancel_runs"],
            "two": ["cancel_runs", "pause_run"],
            odd: ["cancel_runs"],
            "other": ["redrive_run", "cancel_runs"],
            "gone": ["wake_runs"],
            "o": [],
        }
        assert [e["verb"] for e in await entries(operator, target="two", kind="run")] == ["pause_run"]
        first = await operator.get("/audit", target="two", limit=1)
        second = await operator.get("/audit", target="two", limit=1, cursor=first["next"])
        assert [e["verb"] for e in first["entries"] + second["entries"]] == found["two"]


async def test_a_fork_is_found_by_the_run_that_it_made_and_a_trigger_by_its_run(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        await operator.engine.run_until_idle()
        await operator.post("/run/fork", id="o", step="order.v1/charge", new_id="made")
        await operator.engine.schedule("nightly", nightly_flow, {}, every=timedelta(hours=1))
        await operator.post("/schedule/trigger", id="nightly")
        for name in ("o", "made"):
            assert [e["verb"] for e in await entries(operator, target=name)] == ["fork_run"]
        ((run_id,),) = [e["result"]["runs"] for e in await entries(operator, target="nightly")]
        assert [e["verb"] for e in await entries(operator, target=run_id)] == ["trigger_schedule"]


def test_the_labels_of_an_entry_are_bounded():
    ids = [f"{number}" * 300 for number in range(5000)]
    entry = AuditEntry(
        at=datetime(2026, 1, 1, tzinfo=UTC), who="w" * 900, verb="cancel_runs", kind="runs", target="", namespace="",
        arguments={"ids": ids[:1000]}, result={"ids": ids[:1000] + ids, "count": 5000},
    )  # fmt: skip
    labels = labels_of(entry)
    assert len(labels) == MOST_NAMES + 5
    assert max(len(key) + len(value) for key, value in labels.items()) <= 510
    assert labels_wanted({"target": ids[3], "who": "w" * 900}).items() <= labels.items()
    assert not labels_wanted({"target": ids[4000]}).items() <= labels.items()


async def test_the_audit_is_in_the_log_and_in_the_store_without_values_of_users(store, caplog):
    caplog.set_level(logging.INFO, "stepflow.audit")
    secret = "the secret of a user"
    async with operating(store) as operator:
        await operator.post("/run/start", flow="order.v1", input={"amount": 1, "note": secret}, id="o")
        await operator.post("/run/start", 400, flow="order.v1", input={"amount": secret}, id="p")
        await operator.post("/run/publish", id="o", event="confirmed", payload=secret)
        found = await entries(operator)
        assert [e["who"] for e in found] == ["local"] * 3
        assert [e["outcome"] for e in found] == ["done", "invalid_argument", "done"]
        assert secret not in str(found)
        logged = [record for record in caplog.records if record.name == "stepflow.audit"]
        assert [record.getMessage() for record in logged] == [
            "local: start_run run o: done",
            "local: start_run run p: invalid_argument",
            "local: publish_event run o: done",
        ]
        assert logged[0].audit["arguments"] == {"flow": "order.v1"}
        assert all(record.audit["ended"] is not None for record in logged)
        assert secret not in str([vars(record) for record in caplog.records])


async def test_the_audit_outlives_the_server_and_disturbs_no_list(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        await operator.post("/run/cancel", id="o")
    async with operating(store) as operator:
        assert [e["verb"] for e in await entries(operator)] == ["cancel_run"]
        assert [run["id"] for run in (await operator.get("/runs"))["runs"]] == ["o"]
        assert set((await operator.get("/tally"))["flows"]) == {"order.v1"}


async def test_entries_in_pages_and_of_one_namespace(store):
    async with operating(store) as operator:
        for number in range(5):
            await operator.post("/flow/pause", flow=f"f{number}")
        await operator.post("/flow/pause", flow="other", namespace="b")
        first = await operator.get("/audit", limit=3)
        second = await operator.get("/audit", limit=3, cursor=first["next"])
        targets = [e["target"] for e in first["entries"] + second["entries"]]
        assert (targets, second["next"]) == (["f4", "f3", "f2", "f1", "f0"], None)
        assert [e["target"] for e in await entries(operator, namespace="b")] == ["other"]


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_store_that_takes_no_entry(store, caplog, monkeypatch, taken):
    """Not that of the intent: then nothing is changed. Not that of the outcome: what was done stays done, and the entry `begun`."""
    entries_taken = []

    def fails(entry):
        if len(entries_taken) == taken:
            raise Unavailable("the disk is full")
        entries_taken.append(entry)
        return labels_of(entry)

    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        monkeypatch.setattr("stepflow.server.audit.labels_of", fails)
        answer = await operator.post("/run/cancel", 200 if taken else 503, id="o")
        assert (answer.get("status"), "the disk is full" in str(answer)) == (
            ("cancelled", False) if taken else (None, True)
        )
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        text = "the audit entry of cancel_run run o by local could not be stored: the disk is full"
        assert (record.getMessage(), record.exc_info) == (text, None), (
            "no traceback for each entry that a full disk refuses"
        )
        assert (await operator.get("/run", id="o"))["info"]["status"] == ("cancelled" if taken else "queued")
        assert [e["outcome"] for e in await entries(operator)] == ["begun"] * taken


async def test_a_change_is_in_the_audit_before_it_begins(store, monkeypatch):
    during = []

    async with operating(store) as operator:

        async def seen(engine, flow):
            during.extend(await entries(operator, outcome="begun"))
            await AsyncEngine.pause_flow(engine, flow)

        monkeypatch.setattr("stepflow.server.namespaces.ServedEngine.pause_flow", seen, raising=False)
        await operator.post("/flow/pause", flow="order.v1")
        (entry,) = await entries(operator)
        assert during == [entry | {"outcome": "begun", "ended": None, "result": {}}]
        assert (entry["outcome"], entry["at"] <= entry["ended"]) == ("done", True)
        assert await entries(operator, outcome="begun") == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ReadOnly("it was opened with ?mode=ro"), 503, "failed_precondition"),
        (Full("no space left"), 507, "resource_exhausted"),
    ],
)
async def test_a_store_that_takes_nothing_has_a_code_in_the_audit(store, monkeypatch, error, status, code):
    async def refuses(*_args):
        raise error

    async with operating(store) as operator:
        monkeypatch.setattr("stepflow.server.namespaces.ServedEngine.pause_flow", refuses, raising=False)
        assert (await operator.post("/flow/pause", status, flow="order.v1"))["code"] == code
        (entry,) = await entries(operator, outcome=code)
        assert (entry["verb"], entry["message"]) == ("pause_flow", str(error))


async def test_a_change_that_the_end_of_the_server_interrupts_is_in_the_audit(store, monkeypatch):
    begun = asyncio.Event()

    async def lasts(*_args):
        begun.set()
        await asyncio.Event().wait()

    async with operating(store) as operator:
        monkeypatch.setattr("stepflow.server.namespaces.ServedEngine.move", lasts, raising=False)
        change = asyncio.create_task(
            operator.post("/run/move", id="o", flow="order.v1", to="completed:order.v1/charge")
        )
        await begun.wait()
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await change
        (entry,) = await entries(operator)
        assert (entry["verb"], entry["target"], entry["outcome"]) == ("move_run", "o", "cancelled")
        assert "a part may be done" in entry["message"]


async def test_an_odd_id_is_escaped_in_the_log(store, caplog):
    caplog.set_level("INFO", "stepflow.audit")
    async with operating(store) as operator:
        for run_id in ("a\u2028b", "a\nb"):
            content, headers = json.dumps({"id": run_id}), {"content-type": "application/json"}
            answer = await operator.client.post("/api/v1/run/cancel", content=content, headers=headers)
            assert answer.status_code == 404
            (entry,) = await entries(operator, target=run_id)
            assert entry["target"] == run_id
    assert [line.rpartition(" ")[0] for line in caplog.messages] == [
        "local: cancel_run run a\\u2028b:",
        "local: cancel_run run a\\nb:",
    ]


async def test_a_damaged_entry_keeps_no_other_one_from_being_listed(tmp_path, capsys):
    path = tmp_path / "audited.db"
    async with operating(f"sqlite:///{path}") as operator:
        for run_id in ("one", "two"):
            await operator.engine.start(order_flow, Order(1), id=run_id)
            await operator.post("/run/pause", id=run_id)
        with closing(sqlite3.connect(path)) as connection, connection:
            changed = connection.execute(
                """UPDATE stepflow_history SET exchange = 'nonsense' WHERE exchange LIKE '%"two"%' AND exchange LIKE '%pause_run%'"""
            )
            assert changed.rowcount
        bad, good = await entries(operator)
        assert (good["verb"], good["target"], good["message"]) == ("pause_run", "one", "")
        assert (bad["verb"], bad["who"], bad["outcome"], bad["target"]) == ("pause_run", "local", "done", "")
        assert "the stored entry is damaged" in bad["message"]
        assert await asyncio.to_thread(run, ["audit", "--store", f"sqlite:///{path}", "--json"]) == 0
        page = json.loads(capsys.readouterr().out)
        assert [one["verb"] for one in page] == ["pause_run", "pause_run"]
        assert "the stored entry is damaged" in page[0]["message"]
