"""nearest: the known event that a strange one was probably meant to be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from difflib import get_close_matches

_ALL = 400  # events that are compared one by one; of more, only those that begin or end alike
_AROUND = 50
_LONGEST = 300  # characters at the end of an event that are compared


def suggest(strange: str, known: Iterable[str]) -> str:
    """The most similar of the known events, empty if none is similar. Fast also with tens of thousands of them."""
    candidates = list(known)
    if len(candidates) > _ALL:
        candidates = [
            *_alike(strange, candidates),
            *(e[::-1] for e in _alike(strange[::-1], [e[::-1] for e in candidates])),
        ]
    endings = {event[-_LONGEST:]: event for event in candidates}
    found = get_close_matches(strange[-_LONGEST:], endings, n=1)
    return endings[found[0]] if found else ""


def _alike(text: str, texts: list[str]) -> list[str]:
    """Those around the place that `text` has in their order: the ones with the longest common beginnings."""
    texts.sort()
    at = bisect_left(texts, text)
    return texts[max(0, at - _AROUND) : at + _AROUND]
