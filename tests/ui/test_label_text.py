"""Labels in a field of the web UI: what a link writes is read as that label."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepflow import StepflowError
from stepflow.server.ui.label_text import label_text, labels_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = TEXTS.filter(lambda name: name != "" and "=" not in name)


@given(st.dictionaries(NAMES, TEXTS, max_size=4))
@example({"customer": "Ada Lovelace", "a b": "", '"q': "\\", "x": "\n"})
def test_what_is_written_is_read(labels):
    assert labels_of("  ".join(label_text(name, value) for name, value in labels.items())) == labels


def test_a_plain_label_is_written_as_it_is():
    assert label_text("customer", "42") == "customer=42"
    assert labels_of("customer=42 shop=a") == {"customer": "42", "shop": "a"}
    assert labels_of('say="hi') == {"say": '"hi'}


@pytest.mark.parametrize("text", ["x", "=x", '"a b"', '"a'])
def test_what_is_no_label_is_told(text):
    with pytest.raises(StepflowError, match="write it as name=value"):
        labels_of(text)
