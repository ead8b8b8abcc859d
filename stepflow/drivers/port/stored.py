"""The stored form of label and annotation maps and of transitions: the same in every store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain

from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.state import EMPTY, Transition, encode_map

_map_texts: BoundedCache[tuple[tuple[str, str], ...], str] = BoundedCache(
    lambda items: encode_map(dict(items)), lambda items, text: size_of_texts(text, *chain.from_iterable(items))
)
_transitions = BoundedCache(Transition.parse, lambda text, _transition: 4 * size_of_texts(text))


def map_text(mapping: Mapping[str, str]) -> str:
    """The stored form of labels or annotations; most runs have a few that do not change."""
    return _map_texts[tuple(mapping.items())] if mapping else "{}"


def read_map(text: str) -> Mapping[str, str]:
    """Labels or annotations from their stored form."""
    return EMPTY if text == "{}" else json.loads(text)


def read_transition(text: str) -> Transition:
    """A transition from its stored form; runs share most of them."""
    return _transitions[text]
