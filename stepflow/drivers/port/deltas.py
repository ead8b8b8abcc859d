"""Deltas: an exchange stored as what changed since the one before, so that a large one that changes little is stored small.

The engine chooses between the whole text and a delta and gives either as the exchange of a Write. A store writes it as it is given,
and returns whole texts: `restore` makes them from the stored texts of the revisions that `needed` names.

A delta begins with MARK, with which no JSON text begins, and the number of its format. The first line is a JSON list: the size
of the deltas before it, the length of the whole text, and the revisions on which it builds, that of a whole text first. The
second line has three numbers per change: where the replaced characters begin and end, and how many replace them. These follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stepflow.errors import Corrupt, SchemaMismatch

SMALL = (
    16 << 10
)  # characters: shorter texts are always stored whole, as a delta would cost as much CPU as their encoding
MOST = 64  # revisions from one whole text to the next
MARK, FORMAT = "\x02", "1"
ANCHOR = 32  # characters that two texts must have in common to be matched again behind a change
REACH = 32 << 10  # how far the second text is searched for them
SKIPS = (0, 24, 256, 4096, 32 << 10)  # how much of the first text may be gone
CHANGES = 256  # places at which a text may change before the rest of it counts as one change
BEGINNING = 48  # characters that tell the length of the whole text
COMPARED = 64 << 10  # characters compared at once at most


class ExchangeParts(NamedTuple):
    """What a stored exchange is made of: a whole text and deltas, by their revisions in this order, and the size of the deltas.

    Without revisions: not known, or a small text.
    """

    revs: tuple[int, ...] = ()
    size: int = 0


UNKNOWN = ExchangeParts()


def is_delta(stored: str) -> bool:
    """Whether a stored exchange is a delta."""
    return stored[:1] == MARK


def parts_of(rev: int, stored: str) -> ExchangeParts:
    """The parts of the exchange that revision `rev` holds in this form."""
    if is_delta(stored):
        size, _length, *revs = _header(stored)
        return ExchangeParts((*revs, rev), size + len(stored))
    return UNKNOWN if len(stored) < SMALL else ExchangeParts((rev,))


def length_of(stored: str, size: int = 0) -> int:
    """The number of characters of the whole text. With `size`, `stored` is the beginning of a form of that size, BEGINNING characters."""
    if is_delta(stored):
        return int(stored[len(MARK) + len(FORMAT) + 1 :].split(",", 2)[1])
    return size or len(stored)


def stored_form(old: str, new: str, parts: ExchangeParts) -> str:
    """The form in which to store `new`, which follows `old` with its parts: a delta if that is much smaller."""
    if not parts.revs or len(parts.revs) >= MOST or len(new) < SMALL:
        return new
    changes = _changes(old, new)
    added = "".join([new[start:end] for _begin, _stop, start, end in changes])
    if len(added) > len(new) // 2:
        return new
    numbers = ",".join([f"{begin},{stop},{end - start}" for begin, stop, start, end in changes])
    header = json.dumps([parts.size, len(new), *parts.revs], separators=(",", ":"))
    delta = f"{MARK}{FORMAT}{header}\n{numbers}\n{added}"
    return new if parts.size + len(delta) > len(new) else delta


def needed(stored: Mapping[int, str]) -> set[int]:
    """The revisions whose stored texts are needed to restore these as well."""
    found: set[int] = set()
    for text in stored.values():
        if text[:1] == MARK:
            found.update(_header(text)[2:])
    return found.difference(stored)


def restore(stored: Mapping[int, str], wanted: Iterable[int]) -> dict[int, str]:
    """The whole texts of these revisions; Corrupt if a part is missing."""
    done: dict[int, str] = {}
    for rev in sorted(wanted):
        text = stored[rev]
        if not is_delta(text):
            done[rev] = text
            continue
        revs = _header(text)[2:]
        last = next((number for number in reversed(range(len(revs))) if revs[number] in done), 0)
        try:
            whole = done[revs[last]] if revs[last] in done else stored[revs[last]]
            for part in revs[last + 1 :]:
                whole = applied(whole, stored[part])
        except KeyError as error:
            raise Corrupt(
                f"the exchange of revision {rev} builds on that of revision {error}, which is missing:"
                " run `stepflow doctor`, and restore the store from a backup"
            ) from None
        done[rev] = applied(whole, text)
    return done


def applied(old: str, delta: str) -> str:
    """The text that a delta makes of the one before it."""
    first = delta.index("\n")
    second = delta.index("\n", first + 1)
    numbers = [int(number) for number in delta[first + 1 : second].split(",")] if second > first + 1 else []
    pieces, at, added = list[str](), 0, second + 1
    for begin, stop, length in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        pieces += (old[at:begin], delta[added : added + length])
        at, added = stop, added + length
    pieces.append(old[at:])
    return "".join(pieces)


def _header(delta: str) -> list[int]:
    if delta[1:2] != FORMAT:
        raise SchemaMismatch(f"an exchange has the format {delta[1:2]!r} of deltas: update stepflow here")
    header: list[int] = json.loads(delta[2 : delta.index("\n")])
    return header


Change = tuple[int, int, int, int]
"""Where the replaced characters begin and end in the old text, and the new ones in the new text."""


def _changes(old: str, new: str) -> list[Change]:
    """The places at which `new` differs from `old`: few if little changed, but not always the fewest."""
    shared = min(len(old), len(new))
    at = same = _same_from(old, 0, new, 0, shared)
    tail = _same_before(old, len(old), new, len(new), shared - at)
    begin, end_old, end_new, found = same, len(old) - tail, len(new) - tail, list[Change]()
    while begin < end_old or same < end_new:
        match = _next_match(old, begin, end_old, new, same, end_new) if len(found) < CHANGES - 1 else None
        if match is None:
            found.append((begin, end_old, same, end_new))
            break
        found.append((begin, match[0], same, match[1]))
        length = _same_from(old, match[0], new, match[1], min(end_old - match[0], end_new - match[1]))
        begin, same = match[0] + length, match[1] + length
    return found


def _next_match(old: str, begin: int, end_old: int, new: str, start: int, end_new: int) -> tuple[int, int] | None:
    """Where both texts are the same again behind a change."""
    for skip in SKIPS:
        at = begin + skip
        if at + ANCHOR > end_old:
            return None
        found = new.find(old[at : at + ANCHOR], start, min(end_new, start + skip + REACH))
        if found >= 0:
            back = _same_before(old, at, new, found, min(skip, found - start))
            return at - back, found - back
    return None


def _same_from(old: str, at: int, new: str, start: int, most: int) -> int:
    """How many characters from these places on are the same, `most` at most."""
    same, size, grows = 0, min(ANCHOR, most), True
    while size:
        if new.startswith(old[at + same : at + same + size], start + same):
            same += size
        else:
            grows = False
        size = min(2 * size, COMPARED, most - same) if grows else size // 2
    return same


def _same_before(old: str, end_old: int, new: str, end_new: int, most: int) -> int:
    """How many characters before these places are the same, `most` at most."""
    same, size, grows = 0, min(ANCHOR, most), True
    while size:
        if new.startswith(old[end_old - same - size : end_old - same], end_new - same - size):
            same += size
        else:
            grows = False
        size = min(2 * size, COMPARED, most - same) if grows else size // 2
    return same
