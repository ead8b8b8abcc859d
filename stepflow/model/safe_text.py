"""safe_text: texts of others, fit to be stored, written to a log, or shown on a terminal."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text with each half of a surrogate pair as an escape sequence: stores and logs hold UTF-8."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """The text with escape sequences for what would break a line of a log, move the cursor, or not be UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def showable(text: str, keep: str = "") -> str:
    """The text with a replacement for each control character but those in `keep`: it cannot control a terminal."""
    return "".join(c if c.isprintable() or c in keep else "\ufffd" for c in text)
