"""Values that pages show: trees of any size and depth, bytes, data of flow functions, and their downloads."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
import pytest

from stepflow import AsyncEngine, StateCtx, StoreData, commit, named, park
from stepflow.model.durations import length_text
from stepflow.server import app
from stepflow.server.ui.column_svg import DrawnArrow, DrawnBox, DrawnGroup, column_svg
from stepflow.server.ui.json_tree import HEX_BYTES, MOST_CHARACTERS, MOST_NODES, hex_dump, json_tree

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_texts_of_a_tree_are_escaped():
    tree = json_tree({"<script>": ["<b>", 1, None, True, {}, []]})
    assert "<script>" not in tree
    assert "&#34;&lt;script&gt;&#34;" in tree
    assert "&lt;b&gt;" in tree
    assert re.findall("<code class=atom>(.*?)</code>", tree) == ["1", "null", "true", "{}", "[]"]


def test_a_tree_shows_what_would_hide_text_or_turn_it_round():
    assert "&#34;pay \\u202eecila\\u200b&#34;" in json_tree("pay \u202eecila\u200b")
    assert "&#34;a\\u2066&#34;" in json_tree({"a\u2066": 1})
    assert "&#34;مرحبا&#34;" in json_tree("مرحبا")


def test_a_large_tree_is_cut_and_says_so():
    tree = json_tree({"numbers": list(range(MOST_NODES + 10)), "long": "x" * (MOST_CHARACTERS + 10)})
    assert tree.count("<li>") == MOST_NODES + 1
    assert "and 13 more members" in tree
    assert f"({MOST_CHARACTERS + 12:,} characters)" in json_tree("x" * (MOST_CHARACTERS + 10))


def test_a_deep_tree():
    deep: list[object] = []
    for _ in range(1500):
        deep = [deep]
    assert json_tree(deep).count("<details") == 1500


def test_bytes_are_shown_as_hex_and_text():
    assert hex_dump(b"\x00ABC\xff") == "00000000  00 41 42 43 ff                                   .ABC."
    assert hex_dump(bytes(HEX_BYTES + 3)).splitlines()[-1] == "… 3 more bytes"


def test_durations():
    cases = {
        0.00042: "0.42 ms",
        0.0042: "4.2 ms",
        0.042: "42 ms",
        1.25: "1.250 s",
        8: "8 s",
        61: "1 min 1 s",
        3600: "1 h",
        93_784: "1 d 2 h",
    }
    assert {seconds: length_text(timedelta(seconds=seconds)) for seconds in cases} == cases


def test_arrows_that_skip_boxes_run_beside_them_without_touching():
    boxes = [DrawnBox(key, key) for key in "abcde"]
    arrows = [
        DrawnArrow("a", "b"),
        DrawnArrow("a", "c", "x"),
        DrawnArrow("b", "e"),
        DrawnArrow("d", "a", "again", retry=True),
    ]
    picture = column_svg("a picture", boxes, arrows, [DrawnGroup("group", 1, 2, 1)])
    straight, *beside = re.findall(r'<path class="arrow[^"]*"[^>]* d="([^"]*)"', picture)
    assert re.fullmatch(r"M\d+ \d+V\d+", straight)
    lanes = [int(re.findall(r"H(-?\d+)V", path)[0]) for path in beside]
    assert len(set(lanes)) == 3  # no two overlap
    width = int(re.findall(r'width="(\d+)"', picture)[0])
    assert all(0 < lane < width for lane in lanes)
    assert picture.count("<polygon") == 5


@asynccontextmanager
async def calling(store):
    served = app(store)
    async with served.router.lifespan_context(served):
        transport = httpx2.ASGITransport(served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            yield client


BLOBS = {
    "picture": (b"\x89PNG\x00\xff", "89 50 4e 47 00 ff", ".bin"),
    "note": ("grüße <b>".encode(), "grüße &lt;b&gt;", ".txt"),
    "json": (b'{"a": [1]}', "<code class=atom>1</code>", ".json"),
}


async def test_data_of_a_state(store):
    async with AsyncEngine(store) as engine:
        ctx = StateCtx("s-1")
        for alias, (blob, _shown, _ending) in BLOBS.items():
            ctx.set_data(alias, blob)
        await engine.do(commit(*(StoreData(ctx, alias) for alias in BLOBS), park(ctx)))
    async with calling(store) as client:
        page = await client.get("/ui/run?id=s-1")
        for alias, (blob, shown, ending) in BLOBS.items():
            assert f"/ui/run/value?id=s-1&amp;data={alias}" in page.text
            value = await client.get(f"/ui/run/value?id=s-1&data={alias}")
            assert shown in value.text
            assert f"{len(blob)} bytes" in value.text
            file = await client.get(f"/ui/run/download?id=s-1&data={alias}")
            assert file.content == blob
            assert file.headers["content-disposition"].endswith(f"s-1%20data%20{alias}{ending}")
            assert "sandbox" in file.headers["content-security-policy"]
            assert file.headers["content-type"] == "application/octet-stream"


WRONG = {
    "id=s-1": 400,
    "id=s-1&rev=x": 400,
    "id=s-1&rev=99": 404,
    "id=s-1&rev=999999999999999999999": 400,
    "id=s-1&call=none": 404,
    "id=s-1&data=none": 400,
    "id=none&data=a": 404,
    "rev=1": 400,
}


async def test_values_that_are_not_there(store):
    async with AsyncEngine(store) as engine:
        await engine.do(commit(park(StateCtx("s-1"))))
    async with calling(store) as client:
        for path in ("/ui/run/value", "/ui/run/download"):
            assert {query: (await client.get(f"{path}?{query}")).status_code for query in WRONG} == WRONG


async def test_the_download_of_an_exchange_is_what_is_stored(store):
    async with AsyncEngine(store) as engine:
        run = await engine.start(named("f.v1", dict).do("x", lambda _e: None).compile(), {"ü": [1, 2.5]}, id="r/1")
        rev = (await run.info()).rev
    async with calling(store) as client:
        file = await client.get("/ui/run/download", params={"id": "r/1", "rev": rev})
        assert json.loads(file.content) == {"ü": [1, 2.5]}
