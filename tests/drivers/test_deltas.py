"""Deltas: what was stored comes back, a large exchange that changes little is stored small, and a small one as it is."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from stepflow import Corrupt, Engine, SchemaMismatch, Steps, named
from stepflow.drivers.port import deltas
from stepflow.drivers.port.deltas import (
    MOST,
    SMALL,
    UNKNOWN,
    ExchangeParts,
    applied,
    is_delta,
    length_of,
    needed,
    parts_of,
    restore,
    stored_form,
)
from stepflow.drivers.sqlite import SqliteDriver

pieces = st.lists(st.text("ab,\n\x00é🦜", max_size=20), max_size=12).map("".join)


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str]:
    """A text and an edited one."""
    old = draw(pieces) * draw(st.sampled_from((1, 2, 60)))
    new = old
    for _ in range(draw(st.integers(0, 5))):
        at, gone = draw(st.integers(0, len(new))), draw(st.integers(0, 60))
        new = new[:at] + draw(pieces) + new[at + gone :]
    return old, new


@given(edits())
def test_changes_make_one_text_of_the_other(pair: tuple[str, str]) -> None:
    old, new = pair
    changes = deltas._changes(old, new)
    numbers = ",".join(f"{begin},{stop},{end - start}" for begin, stop, start, end in changes)
    added = "".join(new[start:end] for _begin, _stop, start, end in changes)
    assert applied(old, f"\x021[0,{len(new)},1]\n{numbers}\n{added}") == new
    assert (changes == []) == (old == new)


def grown(number: int, places: int = 3) -> list[str]:
    """The texts of an exchange whose list grows in the middle, with counters before and behind it."""
    source = random.Random(1)
    rows = ["".join(source.choices("abcdefgh", k=1000)) for _ in range(1000)]
    texts = []
    for step in range(number):
        rows.insert(500, "".join(source.choices("abcdefgh", k=1000)))
        for _ in range(places):
            at = source.randrange(len(rows))
            rows[at] = rows[at][:-1] + str(step)
        texts.append(json.dumps({"step": step, "rows": rows, "last": step * 7}))
    return texts


def chain(texts: list[str]) -> dict[int, str]:
    """Their stored forms, by revision."""
    old, parts, stored = "", UNKNOWN, dict[int, str]()
    for rev, text in enumerate(texts, 1):
        stored[rev] = stored_form(old, text, parts)
        parts, old = parts_of(rev, stored[rev]), text
    return stored


def test_a_megabyte_that_changes_by_a_kilobyte_is_stored_as_that() -> None:
    texts = grown(MOST + 3)
    stored = chain(texts)
    whole = [rev for rev, text in stored.items() if not is_delta(text)]
    assert whole == [1, 1 + MOST]
    assert sum(len(stored[rev]) for rev in range(1, MOST + 1)) / MOST < 20_000
    assert [length_of(text) for text in stored.values()] == [len(text) for text in texts]
    last = len(texts)
    assert needed({last: stored[last]}) == set(range(1 + MOST, last))
    some = {rev: stored[rev] for rev in range(1 + MOST, last + 1)}
    assert restore(some, [last]) == {last: texts[-1]}
    assert restore(stored, [1, 2, 20, 22, last]) == {rev: texts[rev - 1] for rev in (1, 2, 20, 22, last)}


def test_deltas_are_never_larger_together_than_the_text() -> None:
    source, texts = random.Random(2), ["x" * 2 * SMALL]
    for _ in range(20):
        at = source.randrange(len(texts[-1]))
        texts.append(texts[-1][:at] + "".join(source.choices("abc", k=3000)) + texts[-1][at + 3000 :])
    stored = chain(texts)
    since = 0
    for rev, text in stored.items():
        since = since + len(text) if is_delta(text) else 0
        assert since <= len(texts[rev - 1])
    assert not is_delta(stored_form("a" * SMALL, "b" * SMALL, ExchangeParts((1,))))


def test_small_texts_and_unknown_parts_are_stored_whole() -> None:
    text = "x" * (SMALL - 1)
    assert parts_of(1, text) == UNKNOWN
    assert stored_form(text + "y", text, ExchangeParts((1,))) == text
    assert stored_form(text * 2, text * 2 + "y", UNKNOWN) == text * 2 + "y"


def test_a_missing_part_and_a_later_format_are_told() -> None:
    stored = chain(grown(3))
    del stored[2]
    with pytest.raises(Corrupt, match="revision 3 builds on that of revision 2"):
        restore(stored, [3])
    with pytest.raises(SchemaMismatch, match="format '2'"):
        parts_of(4, "\x022[]\n\n")


@define
class Document:
    lines: list[str] = field(factory=list)
    steps: int = 0


def append(document: Document) -> None:
    document.steps += 1
    document.lines.insert(len(document.lines) // 2, f"{document.steps:04}" * 100)


flow = (
    named("document", Document)
    .loop_until("loop", lambda document: document.steps >= 100, Steps().do("append", append))
    .compile()
)


def test_an_engine_stores_deltas_across_claims_and_reads_them_everywhere(tmp_path: Path) -> None:
    start = Document([f"{number:04}" * 100 for number in range(200)])
    with Engine(f"sqlite:///{tmp_path}/runs.db") as engine:
        engine.register(flow)
        engine.start(flow, start, id="one")
        engine.run_until_idle()
        result = engine.get(flow, "one").result()
        assert (result.steps, len(result.lines)) == (100, 300)
        history = engine.get("one").history()
        found = {entry.exchange["steps"]: len(entry.exchange["lines"]) for entry in history}
        assert found == {number: 200 + number for number in range(101)}
    with closing(sqlite3.connect(tmp_path / "runs.db")) as file:
        (stored,) = file.execute("SELECT sum(length(exchange)) FROM stepflow_history").fetchone()
    assert stored < 5 * 120_000 + 100 * 1000


def test_check_tells_of_a_missing_part(tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path}/runs.db") as engine:
        engine.register(flow)
        engine.start(flow, Document([f"{number:04}" * 100 for number in range(200)], steps=95), id="one")
        engine.run_until_idle()
    with closing(sqlite3.connect(tmp_path / "runs.db")) as file, file:
        (first,) = file.execute("SELECT min(rev) FROM stepflow_history").fetchone()
        file.execute("UPDATE stepflow_history SET exchange = NULL WHERE rev = ?", (first,))
    problems = SqliteDriver(tmp_path / "runs.db").maintenance("").check()
    assert any("builds on one that is missing" in problem for problem in problems)
    with Engine(f"sqlite:///{tmp_path}/runs.db") as engine, pytest.raises(Corrupt, match="builds on that of revision"):
        engine.get("one").exchange()
