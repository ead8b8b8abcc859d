"""State, Transition, shards and the lifecycle table."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.model.lifecycle import FINAL, TABLE, QueueRow, Status, status_from, status_of, status_sql
from stepflow.model.shard import fnv1a_64, shard_of
from stepflow.model.state import PARKED, State, Transition, encode_map

texts = st.text(st.characters(exclude_categories=["Cs"]))
maps = st.dictionaries(texts, texts, max_size=4)


@given(texts, maps)
def test_a_transition_survives_its_stored_form(to, annotations):
    transition = Transition(to, annotations)
    assert Transition.parse(transition.text) == transition
    assert Transition.parse(transition.text).text == transition.text


@given(maps)
def test_the_stored_form_is_canonical(mapping):
    backwards = dict(reversed(mapping.items()))
    assert encode_map(mapping) == encode_map(backwards)
    assert json.loads(encode_map(mapping)) == mapping


def test_literal_stored_forms():
    assert encode_map({}) == "{}"
    assert encode_map({"b": "ä", "a": '"'}) == '{"a":"\\"","b":"ä"}'
    assert Transition("flow", {"b": "1", "a": "2"}).text == '{"annotations":{"a":"2","b":"1"},"to":"flow"}'
    assert PARKED.text == '{"annotations":{},"to":""}'


# The forms of chains: what was stored can never change. The first one of a pair is also read.
@pytest.mark.parametrize(
    ("plain", "stored"),
    [
        ('{"annotations":{"stepflow.state":"[\\"start:o\\"]"},"to":"o"}', '\x03start:o\x04o"}'),
        ('{"annotations":{"stepflow.state":"[\\"completed:o/a\\"]"},"to":"o"}', '\x03\x06o/a\x04o"}'),
        (
            '{"annotations":{"stepflow.state":"[\\"completed:o\\"]","stepflow.status":"completed"},"to":""}',
            "\x03\x06o\x05",
        ),
        (
            '{"annotations":{"stepflow.state":"[\\"o/r\\",\\"attempt:2:o/r\\"]"},"to":"o"}',
            '\x03o/r\\",\\"attempt:2:o/r\x04o"}',
        ),
        ('{"annotations":{"a":"\\u0003completed:"},"to":"o"}', '{"annotations":{"a":"\\u0003\x06"},"to":"o"}'),
    ],
)
def test_frequent_parts_are_stored_as_one_character(plain, stored):
    raw = json.loads(plain)
    transition = Transition(raw["to"], raw["annotations"])
    assert transition.text == stored
    assert Transition.parse(stored) == Transition.parse(plain) == transition


def test_what_the_annotations_say():
    assert (PARKED.status, PARKED.events) == ("", ())
    assert Transition("", {"stepflow.status": "failed"}).status == "failed"
    assert Transition("f", {"stepflow.waiting": "event:a:b"}).events == ("a:b",)
    assert Transition("f", {"stepflow.waiting": "poll"}).events == ()


def test_noting_adds_library_annotations_to_a_copy():
    before = Transition("f", {"mine": "1", "stepflow.status": "completed"})
    after = before.with_notes(status="failed", error="{}")
    assert after == Transition("f", {"mine": "1", "stepflow.status": "failed", "stepflow.error": "{}"})
    assert before.status == "completed"


def test_a_state_without_destination_is_parked():
    assert State("a").parked
    assert not State("a", 1, Transition("f")).parked


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8), ("foo", 0xDCB27518FED9D577)],
)
def test_fnv_vectors(text, value):
    assert fnv1a_64(text) == value


@given(texts, texts, st.integers(1, 1000))
def test_a_shard_is_one_of_the_shards_and_depends_on_the_id_alone(namespace, run_id, shards):
    shard = shard_of(namespace, run_id, shards)
    assert shard.startswith(f"{namespace}/")
    number = int(shard.removeprefix(f"{namespace}/"))
    assert number == fnv1a_64(run_id) % shards
    assert shard_of("other", run_id, shards) == f"other/{number}"


POSITIONED = Transition("f", {"stepflow.state": "[]"})


def waiting(for_what: str) -> Transition:
    return Transition("f", {"stepflow.waiting": for_what})


NOW = 1000
LATER, PAST = NOW + 1, NOW


@pytest.mark.parametrize(
    ("transition", "row", "status"),
    [
        (Transition("", {"stepflow.status": "completed"}), None, Status.COMPLETED),
        (Transition("", {"stepflow.status": "failed"}), QueueRow("f", PAST), Status.FAILED),
        (Transition("", {"stepflow.status": "cancelled"}), None, Status.CANCELLED),
        (PARKED, None, Status.PARKED),
        (POSITIONED, None, Status.PARKED),
        (waiting("event:x"), None, Status.WAITING),
        (POSITIONED, QueueRow("f", PAST), Status.QUEUED),
        (POSITIONED, QueueRow("f", LATER), Status.SLEEPING),
        (waiting("delay"), QueueRow("f", LATER), Status.SLEEPING),
        (waiting("poll"), QueueRow("f", LATER), Status.WAITING),
        (waiting("event:x"), QueueRow("f", LATER), Status.WAITING),
        (waiting("event:x"), QueueRow("f", PAST), Status.QUEUED),
        (POSITIONED, QueueRow("f", LATER, owner="me"), Status.RUNNING),
        (POSITIONED, QueueRow("f", PAST, blocked="unknown position"), Status.BLOCKED),
        (POSITIONED, QueueRow("f", PAST, owner="me", blocked="unknown position"), Status.RUNNING),
    ],
)
def test_the_lifecycle_table(transition, row, status):
    assert status_of(State("a", 1, transition), row, NOW) is status


FACTS = sorted(set().union(*(needed for needed, _status in TABLE)))


@pytest.mark.parametrize("number", range(2 ** len(FACTS)))
def test_the_table_as_sql_says_the_same(number):
    holds = {fact: bool(number >> bit & 1) for bit, fact in enumerate(FACTS)}
    text = status_sql({fact: f"{held:d} = 1" for fact, held in holds.items()}, final="'failed'")
    with closing(sqlite3.connect(":memory:")) as connection:
        (found,) = connection.execute(f"SELECT {text}").fetchone()
    expected = "failed" if holds["ended"] else status_from(frozenset(fact for fact in holds if holds[fact]))
    assert found == expected


def test_three_statuses_are_final():
    assert {status for status in Status if status.final} == {Status.COMPLETED, Status.FAILED, Status.CANCELLED} == FINAL
    assert f"{Status.QUEUED}" == "queued"
