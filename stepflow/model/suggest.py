"""suggest: finds the known position that is most similar to an unknown one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from difflib import get_close_matches

_ALL = 400  # up to so many positions are all compared; of more, only those with a similar beginning or end
_NEIGHBOURS = 50
_LONGEST = 300  # characters at the end of a position that are compared


def suggest(unknown: str, known: Iterable[str]) -> str:
    """The most similar known position, empty if none is similar. Fast even with tens of thousands of them."""
    candidates = list(known)
    if len(candidates) > _ALL:
        candidates = [
            *_neighbours(unknown, candidates),
            *(e[::-1] for e in _neighbours(unknown[::-1], [e[::-1] for e in candidates])),
        ]
    endings = {position[-_LONGEST:]: position for position in candidates}
    found = get_close_matches(unknown[-_LONGEST:], endings, n=1)
    return endings[found[0]] if found else ""


def _neighbours(text: str, texts: list[str]) -> list[str]:
    """The texts next to `text` in sorted order: those that share the longest prefix with it."""
    texts.sort()
    at = bisect_left(texts, text)
    return texts[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
