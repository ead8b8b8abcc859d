"""The stored form of label and annotation maps, of transitions and of texts for people: the same in every store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from stepflow.model.state import EMPTY, Transition, encode_map

_encode_items = lru_cache(maxsize=4096)(lambda items: encode_map(dict(items)))


def map_text(mapping: Mapping[str, str]) -> str:
    """The stored form of labels or annotations; most runs have a few that do not change."""
    return str(_encode_items(tuple(mapping.items()))) if mapping else "{}"


def read_map(text: str) -> Mapping[str, str]:
    """Labels or annotations from their stored form."""
    return EMPTY if text == "{}" else json.loads(text)


@lru_cache(maxsize=1024)
def read_transition(text: str) -> Transition:
    """A transition from its stored form; runs share most of them."""
    return Transition.parse(text)


def printable(text: str) -> str:
    """A text for people, fit to be stored; half surrogate pairs are written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
