"""What a browser posts is read as the standard library reads it, and a large form in little time."""

from __future__ import annotations

import tracemalloc
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepflow.server.ui.forms import MAX_FIELDS, fields_of

PARTS = st.lists(
    st.sampled_from(
        [
            "a",
            "é",
            "&",
            "=",
            "+",
            "%",
            "%4",
            "%zz",
            "%41",
            "%c3%a9",
            "%C3",
            "%ff",
            " ",
            "\0",
            ";",
            "\r\n",
            "\n",
            "_",
            ".",
        ]
    )
).map("".join)


@given(PARTS)
@example("")
@example("a&b=&=c&&d=e=f")
def test_a_form_is_read_as_by_the_standard_library(text):
    raw = text.encode()
    assert fields_of(raw) == parse_qsl(raw.decode(), keep_blank_values=True)


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
    )
)
def test_fields_arrive_as_a_browser_sent_them(fields):
    assert fields_of(urlencode(fields).encode()) == fields


def test_too_many_fields_are_refused():
    with pytest.raises(ValueError, match="more than 1000 fields"):
        fields_of(b"&".join([b"a=1"] * (MAX_FIELDS + 1)))


def test_a_megabyte_of_escapes_makes_no_millions_of_objects():
    body = urlencode({"payload": "é" * 100_000}).encode()
    tracemalloc.start()
    try:
        fields_of(body)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(body)  # that of `parse_qsl` is 20 times its length
