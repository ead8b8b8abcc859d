"""Operators read runs: lists in pages, one run, its history and its journal."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest

from tests.server.operating import Order, doubled, operating, order_flow

pytestmark = pytest.mark.anyio


async def test_a_list_in_pages_has_each_run_once(store):
    async with operating(store) as operator:
        ids = [f"order-{number}" for number in range(7)]
        await operator.engine.start_many(order_flow, [(run_id, Order(1)) for run_id in ids], labels={"shop": "a"})
        await operator.engine.start(order_flow, Order(1), id="other", labels={"shop": "b"})
        found, cursor = [], None
        while True:
            query = {"label": ["shop=a"], "limit": 3, "status": ["queued", "failed"]}
            page = await operator.get("/runs", **query, **({} if cursor is None else {"cursor": cursor}))
            found += [run["id"] for run in page["runs"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert sorted(found) == ids


async def test_filters_of_a_list(store):
    async with operating(store) as operator:
        engine = operator.engine
        await engine.start(order_flow, Order(-1), id="a/failed")
        await engine.start(order_flow, Order(1), id="a/waits")
        await engine.start(doubled, 4, id="b")
        await engine.run_until_idle()
        for query, ids in (
            ({"flow": "doubled.v1"}, {"b"}),
            ({"status": "failed"}, {"a/failed"}),
            ({"open": "true"}, {"a/waits"}),
            ({"id_prefix": "a/"}, {"a/failed", "a/waits"}),
            ({"error_type": "ValueError"}, {"a/failed"}),
            ({"error_text": "Error: "}, {"a/failed"}),
            ({"error_text": "nothing of the kind"}, set()),
            ({"position": "order.v1/charge"}, {"a/failed", "a/waits"}),
            ({"created_since": "2020-01-01T00:00:00Z", "created_until": "2020-01-02T00:00:00+01:00"}, set()),
            (
                {"updated_since": "2020-01-01T00:00:00Z", "order": "id", "ascending": "true"},
                {"a/failed", "a/waits", "b"},
            ),
        ):
            assert {run["id"] for run in (await operator.get("/runs", **query))["runs"]} == ids, query
        assert (await operator.get("/tally"))["flows"] == {
            "order.v1": {"failed": 1, "waiting": 1},
            "doubled.v1": {"completed": 1},
        }


async def test_one_run_whose_id_has_a_slash(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(5), id="shop/1?&=ä")
        await operator.engine.run_until_idle()
        found = await operator.get("/run", id="shop/1?&=ä")
        assert (found["info"]["status"], found["exchange"]["charged"], found["unreadable"]) == ("waiting", 5, "")
        assert "it waits for event 'confirmed'" in found["explain"][1]
        assert '--store "http://localhost:8080"' in found["explain"][1]  # not the path of the server's file
        assert (await operator.get("/run/explain", id="shop/1?&=ä"))["lines"] == found["explain"]


async def test_history_and_journal_in_pages(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(5), id="a")
        await operator.engine.start(doubled, 4, id="b")
        await operator.engine.run_until_idle()
        newest = await operator.get("/run/history", id="a", limit=1)
        older = await operator.get("/run/history", id="a", limit=5, before=newest["before"])
        first = await operator.get("/run/history", id="a", before=older["before"])
        assert [len(page["entries"]) for page in (newest, older, first)] == [1, 1, 0]
        assert [page["entries"][0]["exchange"]["charged"] for page in (newest, older)] == [5, 0]
        assert first["before"] is None
        one = await operator.get("/run/journal", id="b", limit=1)
        two = await operator.get("/run/journal", id="b", after=one["after"])
        assert [(row["key"], row["value"]) for row in one["rows"] + two["rows"]] == [("twice", 8), ("again", 8)]
        assert two["after"] is None
        assert (await operator.get("/run/journal", id="a"))["rows"] == []


async def test_a_timeline_in_pages_has_revisions_and_calls_with_their_times(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(5), id="a")
        await operator.engine.start(doubled, 4, id="b")
        await operator.engine.run_until_idle()
        page = await operator.get("/run/timeline", id="b", limit=3)
        last = await operator.get("/run/timeline", id="b", cursor=page["next"])
        assert last["next"] is None
        entries = page["entries"] + last["entries"]
        assert [(one["kind"], one["where"], one["text"]) for one in entries] == [
            ("revision", "", ""),
            ("step", "again", "8"),
            ("step", "twice", "8"),
            ("revision", "doubled.v1", ""),
        ]
        assert entries[0]["status"] == "completed"
        times = [datetime.fromisoformat(one["at"]) for one in entries]
        assert times == sorted(times, reverse=True)
        assert [one["after"] is None for one in entries] == [False, False, False, True]
        rows = (await operator.get("/run/journal", id="b"))["rows"]
        assert [row["at"] for row in reversed(rows)] == [one["at"] for one in entries if one["seq"]]
        chain = (await operator.get("/run/timeline", id="a"))["entries"]
        assert [one["text"] for one in chain] == ["waits for confirmed", ""]
        refused = await operator.get("/run/timeline", 404, id="a", cursor=f"1-{1 << 63}")
        assert "give the `next` of a page" in refused["message"]
        await operator.get("/run/timeline", 400, id="a", cursor="x")


@pytest.mark.parametrize("path", ["/run", "/run/explain", "/run/history", "/run/journal", "/run/timeline"])
async def test_a_run_that_is_not_there(store, path):
    async with operating(store) as operator:
        refused = await operator.get(path, 404, id="gone")
        assert refused["code"] == "not_found"
        assert "gone" in refused["message"]


async def test_what_no_query_can_mean_is_refused_with_the_place(store):
    async with operating(store) as operator:
        for query, why in (
            (
                {"status": "done"},
                "Invalid enum value 'done' - at `$.status[0]`, give one of blocked, cancelled, completed, ",
            ),
            ({"limit": "0"}, "Expected `int` >= 1 - at `$.limit`"),
            ({"limit": "ten"}, "Expected `int`, got `str` - at `$.limit`"),
            ({"limit": "9" * 5000}, "Expected `int`, got `str` - at `$.limit`"),
            ({"open": "yes"}, "Expected `bool | null`, got `str` - at `$.open`"),
            ({"colour": "red"}, "Object contains unknown field `colour`"),
            ({"flow": ["a", "b"]}, "'flow' is given twice"),
            ({"created_since": "2020-01-01T00:00:00"}, "Expected `datetime` with a timezone component"),
            ({"id_prefix": "\0"}, "matching regex"),
            ({"namespace": "no/name"}, "matching regex"),
        ):
            refused = await operator.get("/runs", 400, **query)
            assert refused["code"] == "invalid_argument"
            assert why in refused["message"]
        for cursor in (
            "abc",
            "WyJjcmVhdGVkIiw",
            cursor_of("created", False, 1 << 63, "a", 0, ""),
            cursor_of("id", False, 0, "a", 0, ""),
        ):
            refused = await operator.get("/runs", 404, cursor=cursor)
            assert "give the" in refused["message"]


def cursor_of(*values):
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


async def test_two_values_of_one_label_are_of_no_run(store):
    async with operating(store) as operator:
        await operator.engine.start(order_flow, Order(1), labels={"a": "1"})
        for path, none in (("/runs", {"runs": [], "next": None}), ("/tally", {"flows": {}})):
            assert await operator.get(path, label=["a=1", "a=1"]) != none
            assert await operator.get(path, label=["a=1", "a=2"]) == none


async def test_a_list_by_due_time_goes_on_behind_its_first_page(store):
    late = datetime.now(UTC) + timedelta(days=1)
    async with operating(store) as operator:
        runs = [(f"o{number:03}", Order(1)) for number in range(130)]
        await operator.engine.start_many(order_flow, runs, at=late)
        found, cursor = list[str](), dict[str, str]()
        while True:
            page = await operator.get("/runs", order="due", limit=60, **cursor)
            found += [run["id"] for run in page["runs"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert sorted(found) == [run_id for run_id, _order in runs]
