"""label_text: labels as people write them in a field, `name=value`, several separated by blanks."""

from __future__ import annotations

import json
import re

from stepflow.errors import StepflowError

QUOTED = 'one with blanks in quotes, "name=a value"'
WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?=\s|$)|\S+', re.DOTALL)


def labels_of(text: str) -> dict[str, str]:
    """The labels of a text. Raises StepflowError for one that is none."""
    found: dict[str, str] = {}
    for word in WORD.findall(text):
        name, equals, value = _plain(word).partition("=")
        if not (name and equals):
            raise StepflowError(
                f"label {word!r:.80}: write it as name=value; several are separated by blanks, {QUOTED}"
            )
        found[name] = value
    return found


def label_text(name: str, value: str) -> str:
    """A label as such a text."""
    text = f"{name}={value}"
    return json.dumps(text, ensure_ascii=False) if text[:1] == '"' or text.split() != [text] else text


def _plain(word: str) -> str:
    """What a quoted word says, as JSON; any other word itself."""
    if word[:1] != '"':
        return word
    try:
        return str(json.loads(word, strict=False))
    except ValueError:
        return word
