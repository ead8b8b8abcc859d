"""Columns of values as PostgreSQL array literals, and texts that may hold NUL.

One literal per column is many times cheaper than a list that the client library converts item by item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ESCAPED = re.compile("\x01([\x01\x02])")


def stored(text: str) -> str:
    """The form in which a text is stored: PostgreSQL's texts cannot hold NUL."""
    if "\0" in text or "\1" in text:
        return text.replace("\1", "\1\1").replace("\0", "\1\2")
    return text


def restored(text: str) -> str:
    """What `stored` was given."""
    if "\1" in text:
        return _ESCAPED.sub(lambda found: "\0" if found[1] == "\2" else "\1", text)
    return text


def texts(items: Sequence[str]) -> str:
    """A `text[]` literal of texts in their stored form."""
    if not items:
        return "{}"
    joined = "\0".join(items)
    if joined.count("\0") >= len(items) or "\1" in joined:
        joined = "\0".join([stored(item) for item in items])
    if "\\" in joined:
        joined = joined.replace("\\", "\\\\")
    return '{"' + joined.replace('"', '\\"').replace("\0", '","') + '"}'


def stored_texts(items: Sequence[str]) -> str:
    """A `text[]` literal of texts that are in their stored form already."""
    return "{" + ",".join(['"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items]) + "}"


def optional_texts(items: Sequence[str | None]) -> str:
    """A `text[]` literal where None is null."""
    if items.count(None) == len(items):
        return "{" + ",".join(["null"] * len(items)) + "}"
    return "{" + ",".join(["null" if item is None else texts((item,))[1:-1] for item in items]) + "}"


def numbers(items: Iterable[int | None]) -> str:
    """A `bigint[]` literal where None is null."""
    return "{" + ",".join(["null" if item is None else str(item) for item in items]) + "}"


def flags(items: Iterable[bool]) -> str:
    """A `boolean[]` literal."""
    return "{" + ",".join(["t" if item else "f" for item in items]) + "}"
