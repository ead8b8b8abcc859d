"""json_tree: a JSON value as HTML that can be unfolded, and bytes as a hex dump."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

MOST_NODES = 2_000  # that are shown; the rest can be downloaded
MOST_CHARACTERS = 2_000  # of one text
OPEN_DEPTH = 2  # levels that are unfolded at first
HEX_BYTES = 4_096
UNSEEN = re.compile("[\x80-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_ROW = 16


def json_tree(value: Any) -> Markup:
    """The value as nested lists; it may be of any depth, and what is beyond MOST_NODES is only counted."""
    parts: list[str] = ["<ul class=tree>"]
    stack = [iter([("", value)])]
    shown = hidden = 0
    while stack:
        for name, item in stack[-1]:
            if shown >= MOST_NODES:
                hidden += 1
                continue
            shown += 1
            label = "" if name == "" else f"<b>{escape(name)}</b> "
            if isinstance(item, dict | list) and item:
                unfolded = " open" if len(stack) <= OPEN_DEPTH else ""
                parts.append(f"<li><details{unfolded}><summary>{label}{_size(item)}</summary><ul>")
                stack.append(_members(item))
                break
            parts.append(f"<li>{label}{_leaf(item)}")
        else:
            stack.pop()
            parts.append("</ul></details>" if stack else "")
    more = f"<li><i>and {hidden:,} more members of the values above</i>" if hidden else ""
    return Markup("".join(parts) + more + "</ul>")  # noqa: S704 - every text in it is escaped


def _members(item: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(item, dict):
        return iter([(_visible(json.dumps(str(name), ensure_ascii=False)), one) for name, one in item.items()])
    return ((f"[{number}]", one) for number, one in enumerate(item))


def _size(item: dict[str, Any] | list[Any]) -> str:
    what = "member" if isinstance(item, dict) else "item"
    return f"<i>{len(item):,} {what}{'' if len(item) == 1 else 's'}</i>"


def _leaf(item: Any) -> Markup:
    text = _visible(json.dumps(item, ensure_ascii=False))
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}… ({len(text):,} characters)"
    kind = "text" if isinstance(item, str) else "atom"
    return Markup("<code class={0}>{1}</code>").format(kind, text)


def _visible(text: str) -> str:
    """JSON with escapes for what would hide text, or show it in another order."""
    return text if text.isascii() else UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def hex_dump(blob: bytes) -> str:
    """The first HEX_BYTES bytes: 16 on a line, with their place, and those that are printable ASCII."""
    lines = []
    for start in range(0, min(len(blob), HEX_BYTES), _ROW):
        row = blob[start : start + _ROW]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<{_ROW * 3 - 1}}  {shown}")
    if len(blob) > HEX_BYTES:
        lines.append(f"… {len(blob) - HEX_BYTES:,} more bytes")
    return "\n".join(lines)
