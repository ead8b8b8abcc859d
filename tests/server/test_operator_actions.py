"""Operators change runs, one by one and many at once."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from stepflow import Command, Context, StateCtx, commit, current, flow, park, workflow
from stepflow.server.audit import UNFIT
from tests.server.operating import Order, doubled, entries, nightly_flow, operating, order_flow

pytestmark = pytest.mark.anyio


async def test_start_publish_and_result(store):
    async with operating(store) as operator:
        made = await operator.post("/run/start", flow="order.v1", input={"amount": 7}, id="o", labels={"shop": "a"})
        assert made == {"id": "o", "status": "queued"}
        assert await operator.post("/run/start", flow="order.v1", input={"amount": 7}, id="o") == made
        await operator.engine.run_until_idle()
        published = await operator.post("/run/publish", id="o", event="confirmed", payload="by phone", event_id="1")
        assert published["id"] == "o"
        await operator.engine.run_until_idle()
        assert await operator.engine.get(order_flow, "o").result() == Order(7, 7, "by phone")
        assert [(e["verb"], e["target"], e["outcome"]) for e in await entries(operator, target="o")] == [
            ("publish_event", "o", "done"),
            ("start_run", "o", "done"),
            ("start_run", "o", "done"),
        ]
        ended = await operator.post("/run/publish", 409, id="o", event="confirmed", payload="again")
        assert ended["code"] == "failed_precondition"


async def test_a_start_that_cannot_be_meant(store):
    async with operating(store) as operator:
        wrong = await operator.post("/run/start", 400, flow="order.v1", input={"amount": "seven"})
        assert "the input does not fit flow 'order.v1'" in wrong["message"]
        unknown = await operator.post("/run/start", 404, flow="order.v2", input={})
        assert "did you mean 'order.v1'?" in unknown["message"]
        await operator.post("/run/start", flow="order.v1", input={"amount": 1}, id="o")
        taken = await operator.post("/run/start", 409, flow="order.v1", input={"amount": 2}, id="o")
        assert taken["code"] == "already_exists"
        reserved = await operator.post("/run/start", 400, flow="doubled.v1", input=1, labels={"stepflow.x": "1"})
        assert "names that begin with 'stepflow.' are stepflow's" in reserved["message"]
        assert len((await operator.get("/runs"))["runs"]) == 1


async def test_a_payload_that_does_not_fit_is_refused_if_the_flow_is_known(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        await operator.engine.run_until_idle()
        wrong = await operator.post("/run/publish", 409, id="o", event="confirmed", payload={"by": "phone"})
        assert "event 'confirmed' of flow 'order.v1'" in wrong["message"]
        assert "expected str" in wrong["message"]
        many = await operator.post("/runs/publish", filter={}, event="confirmed", payload=7, dry_run=False)
        assert (many["count"], "expected str" in many["skipped"]["o"]) == (0, True)
        (entry, _skipped) = reversed(await entries(operator))
        assert (entry["outcome"], entry["message"]) == ("failed_precondition", UNFIT)  # its own may have the value
        await operator.post("/run/publish", id="o", event="confirmed", payload="by phone")
        await operator.engine.run_until_idle()
        assert (await operator.engine.get(order_flow, "o").result()).note == "by phone"


@workflow("asks.v1")
def asks(wf: Context) -> str:
    return wf.wait_for_event("answer", "answered", Literal["yes", "no"])


async def test_a_payload_that_a_workflow_does_not_wait_for_is_refused_without_its_code(store):
    async with operating(store) as operator:
        operator.engine.register(asks)
        await operator.engine.start(asks, id="w")
        await operator.engine.run_until_idle()
        wrong = await operator.post("/run/publish", 409, id="w", event="answered", payload="maybe")
        assert '"maybe" does not fit: give one of "yes", "no"' in wrong["message"]
        many = await operator.post("/runs/publish", filter={}, event="answered", payload="maybe", dry_run=False)
        assert (many["count"], 'give one of "yes", "no"' in many["skipped"]["w"]) == (0, True)
        assert [(one["outcome"], one["message"]) for one in await entries(operator, target="w")] == [
            ("failed_precondition", UNFIT)  # its own text has the value, which no audit keeps
        ]
        await operator.post("/run/publish", id="w", event="answered", payload="yes")
        await operator.engine.run_until_idle()
        assert await operator.engine.get(asks, "w").result() == "yes"


async def test_the_run_timeout_of_a_start(store):
    async with operating(store) as operator:
        await operator.post("/run/start", flow="order.v1", input={"amount": 7}, id="o", run_timeout=3600)
        info = (await operator.get("/run", id="o"))["info"]
        assert info["ends_at"] > info["created_at"]
        assert info["labels"] == {}
        for wrong in (0, -1, 1e10, "1h", True):
            refused = await operator.post("/run/start", 400, flow="doubled.v1", input=1, run_timeout=wrong)
            assert "run_timeout" in refused["message"]
        assert len((await operator.get("/runs"))["runs"]) == 1
        assert (await operator.get("/schedules"))["schedules"] == []


async def test_limits_and_deduplication_of_a_start(store):
    async with operating(store) as operator:
        limits = [{"key": "tenant/a", "concurrency": 2}, {"key": "mail", "rate": 3, "per": 60}]
        once = {"flow": "doubled.v1", "input": 1, "dedup_key": "k", "dedup_window": 3600, "limits": limits}
        first = await operator.post("/run/start", **once, id="a")
        assert await operator.post("/run/start", **once, id="b") == first
        found = (await operator.get("/run", id="a"))["info"]["limits"]
        assert sorted((one["key"], one["concurrency"], one["rate"]) for one in found) == [
            ("mail", None, 3),
            ("tenant/a", 2, None),
        ]
        also = {"priority": 2.0, "limits": [{"key": "k", "rate": 3.0}]}  # in JSON, 2.0 is a whole number
        await operator.post("/run/start", flow="doubled.v1", input=1, id="c", **also)
        assert (await operator.get("/run", id="c"))["info"]["priority"] == 2
        nothing = await operator.post("/run/start", 400, flow="doubled.v1", input=1, limits=[{"key": "k"}])
        assert "limits nothing: give concurrency=" in nothing["message"]
        await operator.post("/run/start", 400, flow="doubled.v1", input=1, limits=[{"key": "k", "rate": 0}])


async def test_cancel_pause_resume_wake(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        assert (await operator.post("/run/pause", id="o"))["status"] == "paused"
        await operator.engine.run_until_idle()
        assert (await operator.get("/run", id="o"))["info"]["status"] == "paused"
        assert (await operator.post("/run/resume", id="o"))["status"] == "queued"
        await operator.engine.run_until_idle()
        waits = await operator.post("/run/wake", 409, id="o")
        assert "waits for event 'confirmed': publish it" in waits["message"]
        assert (await operator.post("/run/cancel", id="o"))["status"] == "cancelled"
        assert (await operator.post("/run/cancel", id="o"))["status"] == "cancelled"
        refused = (await entries(operator, target="o", outcome="failed_precondition"))[0]
        assert (refused["verb"], refused["message"]) == ("wake_run", waits["message"])


async def test_redrive_fork_and_rewind(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(-1), id="bad")
        await operator.engine.run_until_idle()
        assert (await operator.post("/run/redrive", id="bad"))["status"] == "queued"
        await operator.engine.run_until_idle()
        first = (await operator.get("/run/history", id="bad"))["entries"][0]["rev"]
        made = await operator.post("/run/fork", id="bad", rev=first, new_id="good", input={"amount": 3})
        assert made == {"id": "good", "status": "queued"}
        await operator.engine.run_until_idle()
        assert (await operator.get("/run", id="good"))["exchange"]["charged"] == 3
        back = await operator.post("/run/rewind", id="good", step="order.v1/charge")
        assert back["status"] == "queued"
        forked = (await entries(operator, verb="fork_run"))[0]
        assert (forked["target"], forked["arguments"], forked["result"]) == ("bad", {"rev": first}, {"id": "good"})
        for place in ({}, {"rev": 1, "step": "order.v1/charge"}, {"rev": None}):
            await operator.post("/run/rewind", 400, id="good", **place)
        await operator.post("/run/fork", 404, id="good", rev=10**9)


async def test_move_and_resolve(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), id="o")
        moved = await operator.post("/run/move", id="o", flow="order.v1", to="completed:order.v1/charge")
        assert moved["status"] == "queued"
        await operator.engine.run_until_idle()
        assert (await operator.get("/run", id="o"))["exchange"]["charged"] == 0
        assert (await operator.post("/run/move", 409, id="o", flow="order.v1", to="nowhere"))["message"]
        await operator.post("/run/move", 404, id="gone", flow="order.v1", to="completed:order.v1/charge")
        nothing = await operator.post("/run/resolve", 409, id="o", step="order.v1/charge")
        assert nothing["message"]
        await operator.post("/run/resolve-failed", 409, id="o", step="order.v1/charge", error="the line was dead")


async def test_resolve_a_call_of_a_flow_function(store):
    paid: list[Any] = []

    def pay() -> Any:
        return {1, 2}  # cannot be stored, so the outcome is unknown

    @flow("pays")
    async def pays(ctx: StateCtx) -> Command:
        paid.append(await current().aonce("pay", pay, at_most_once=True))
        return commit(park(ctx))

    async with operating(store) as operator:
        operator.engine.register(pays)
        await operator.engine.start(pays, id="p")
        await operator.engine.run_until_idle()
        assert (await operator.get("/run", id="p"))["info"]["blocked"]["kind"] == "unknown_outcome"
        await operator.post("/run/resolve", 404, id="p", step="other", value=7)
        assert (await operator.post("/run/resolve", id="p", step="pay", value=7))["status"] == "queued"
        await operator.engine.run_until_idle()
        assert (paid, (await operator.get("/run", id="p"))["info"]["status"]) == ([7], "parked")


async def test_many_runs_by_filter_begin_with_a_dry_run(store):
    async with operating(store) as operator:
        await operator.engine.start_many(order_flow, [(f"bad-{number}", Order(-1)) for number in range(5)])
        await operator.engine.start(order_flow, Order(1), id="good")
        await operator.engine.run_until_idle()
        wanted = {"status": ["failed"], "flow": "order.v1"}
        dry = await operator.post("/runs/redrive", filter=wanted)
        assert (dry["count"], dry["dry_run"], sorted(dry["ids"])) == (5, True, [f"bad-{n}" for n in range(5)])
        assert (await operator.get("/tally"))["flows"]["order.v1"]["failed"] == 5
        done = await operator.post("/runs/redrive", filter=wanted, dry_run=False)
        assert (done["count"], done["dry_run"]) == (5, False)
        assert (await operator.get("/tally"))["flows"]["order.v1"]["queued"] == 5
        (entry,) = await entries(operator, kind="runs")
        assert (entry["arguments"], entry["result"]["count"]) == ({"filter": wanted}, 5)
        some = await operator.post("/runs/pause", ids=["bad-0", "gone"], dry_run=False)
        assert (some["ids"], some["skipped"]) == (["bad-0"], {"gone": "there is no such run"})
        assert (await operator.post("/runs/resume", filter={}, dry_run=False))["ids"] == ["bad-0"]
        assert (await operator.post("/runs/publish", filter={}, event="confirmed", payload="all"))["count"] == 6
        given = await operator.post("/runs/publish", ids=["good"], event="confirmed", payload="x", dry_run=False)
        assert given["count"] == 1
        moved = await operator.post("/runs/move", ids=["bad-1"], flow="order.v1", to="completed:order.v1/charge")
        assert (moved["ids"], moved["dry_run"]) == (["bad-1"], True)
        place = {"filter": {"id_prefix": "bad-"}, "step": "order.v1/charge"}
        assert (await operator.post("/runs/rewind", **place))["count"] == 5
        copies = await operator.post("/runs/fork", **place, suffix="-again", dry_run=False)
        assert (copies["count"], (await operator.get("/tally"))["flows"]["order.v1"]["queued"]) == (5, 11)
        (entry,) = await entries(operator, verb="fork_runs")
        assert entry["arguments"] == {**place, "suffix": "-again"}
        assert (await operator.post("/runs/wake", filter={}, dry_run=False))["count"] == 0
        assert (await operator.post("/runs/cancel", filter={"open": True}, dry_run=False))["count"] == 11
        for wrong in ({}, {"filter": {}, "ids": ["a"]}, {"ids": []}, {"filter": {"labels": {"a": 1}}}):
            await operator.post("/runs/cancel", 400, **wrong)


async def test_a_dry_run_leaves_no_entry(store):
    async with operating(store) as operator:
        await operator.post("/runs/cancel", filter={})
        assert await entries(operator) == []


async def test_flows(store):
    async with operating(store) as operator:
        assert await operator.post("/flow/pause", flow="order.v1") == {"flow": "order.v1", "paused": True}
        await operator.engine.start(order_flow, Order(1), id="o")
        flows = {flow["name"]: flow for flow in (await operator.get("/flows"))["flows"]}
        assert set(flows) == {"order.v1", "nightly.v1", "doubled.v1"}
        order = flows["order.v1"]
        assert order["paused_since"]
        assert (order["kind"], order["events"], order["runs"]) == ("steps", ["confirmed"], {"paused": 1})
        assert order["input"]["$defs"]["Order"]["required"] == ["amount"]
        assert flows["doubled.v1"]["input"] == {"type": "integer"}
        assert await operator.post("/flow/resume", flow="order.v1") == {"flow": "order.v1", "paused": False}
        assert (await operator.get("/flows"))["flows"][2]["runs"] == {"queued": 1}
        assert [e["verb"] for e in await entries(operator, kind="flow")] == ["resume_flow", "pause_flow"]


async def test_schedules(store):
    async with operating(store) as operator:
        await operator.engine.schedule("nightly", nightly_flow, {"done": 0}, cron="30 2 * * *")
        (listed,) = (await operator.get("/schedules"))["schedules"]
        assert (listed["id"], listed["timing"], listed["jitter"]) == ("nightly", "30 2 * * *", "PT0S")
        await operator.post("/schedule/pause", id="nightly")
        shown = await operator.get("/schedule", id="nightly")
        assert (shown["info"]["paused"], shown["runs"]) == (True, [])
        assert "it is paused" in shown["explain"][1]
        await operator.post("/schedule/resume", id="nightly")
        made = await operator.post("/schedule/trigger", id="nightly")
        span = {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-03T00:00:00+00:00"}
        past = await operator.post("/schedule/backfill", id="nightly", **span)
        assert past["runs"] == ["nightly@2026-03-01T02:30:00Z", "nightly@2026-03-02T02:30:00Z"]
        runs = {run["id"] for run in (await operator.get("/schedule", id="nightly"))["runs"]}
        assert runs == {*made["runs"], *past["runs"]}
        wrong = await operator.post("/schedule/backfill", 409, id="nightly", start=span["end"], end=span["start"])
        assert "start is after end" in wrong["message"]
        await operator.post("/schedule/delete", id="nightly")
        await operator.post("/schedule/trigger", 404, id="nightly")
        verbs = [e["verb"] for e in await entries(operator, kind="schedule", target="nightly", outcome="done")]
        assert verbs == [
            "delete_schedule",
            "backfill_schedule",
            "trigger_schedule",
            "resume_schedule",
            "pause_schedule",
        ]


async def test_bodies_that_are_none(store):
    async with operating(store) as operator:
        post = operator.client.post
        json_type = {"content-type": "application/json"}
        for content, status, why in (
            (b"", 400, "the body is no JSON"),
            (b"{", 400, "the body is no JSON"),
            (b"[" * 100_000, 400, "the body is no JSON"),
            (b'{"id": NaN}', 400, "NaN is no JSON number"),
            (b"\xff", 400, "the body is no JSON"),
            (b"[]", 400, "Expected `object`, got `array`"),
            (b'{"id": 3}', 400, "Expected `str`, got `int` - at `$.id`"),
            (
                b'{"id": "a", "why": "x"}',
                400,
                "Object contains unknown field `why`, it takes id; see the OpenAPI document",
            ),
            (b'{"id": "\\uD800"}', 400, "surrogate"),
            (b'{"id": ["\\ud83d\\ude00"]}', 400, "Expected `str`, got `array`"),
        ):
            answer = await post("/api/v1/run/cancel", content=content, headers=json_type)
            assert (answer.status_code, why in answer.json()["message"]) == (status, True), answer.text
        form = await post("/api/v1/run/cancel", content=b"id=a", headers={"content-type": "text/plain"})
        assert form.status_code == 415
        assert (await operator.client.get("/api/v1/run/cancel")).status_code == 405


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/runs/redrive", {"fliter": {}}, "`fliter`, did you mean 'filter'?"),
        ("/runs/redrive", {"filter": {"statuss": []}}, "`statuss` - at `$.filter`, did you mean 'status'?"),
        ("/runs/redrive", {"filter": {"colour": 1}}, "`colour` - at `$.filter`, it takes created_since, created_until, "),
        ("/runs/redrive", {"filter": {"status": ["qeued"]}}, "'qeued' - at `$.filter.status[0]`, did you mean 'queued'?"),
        ("/run/start", {"flow": "a", "limits": [{"key": "k", "concurency": 1}]}, "`$.limits[0]`, did you mean 'concurrency'?"),
    ],
)  # fmt: skip
async def test_a_misspelt_name_is_told_with_a_similar_one_of_its_place(store, path, body, why):
    async with operating(store) as operator:
        assert why in (await operator.post(path, 400, **body))["message"]


async def test_a_value_as_large_as_json_has_them_is_given_to_the_flow(store):
    async with operating(store) as operator:
        await operator.post("/run/start", flow="doubled.v1", input=10**25, id="d")
        await operator.engine.run_until_idle()
        assert await operator.engine.get(doubled, "d").result() == 4 * 10**25
        assert (await operator.get("/run", id="d"))["exchange"] == 4 * 10**25
