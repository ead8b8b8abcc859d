"""AuditEntry: what the audit of a server has of one change, and the labels by which entries are stored and found.

The server and the command line on the server's store read the same entries, so what is stored and what is searched for is decided here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from attrs import Factory, fields, frozen

from stepflow.drivers.port.notes import BEGUN, NoteKind
from stepflow.model.safe_text import printable

LONGEST = 500  # characters of a value of a label
MOST_NAMES = 1000  # ids and names by which one entry is found
FACTS = ("who", "verb", "kind", "namespace", "outcome")


@frozen(kw_only=True)
class AuditEntry:
    """A change that was asked for: `who` is the name of the token (`local` without tokens), `outcome` is `begun`, `done`, `cancelled` or the code of the refusal.

    `at` is the time at which it was asked for, `ended` that of its outcome, None while it is `begun`.
    `target` is the id of the run or schedule, or the name of the flow; empty for a filter, which is among the `arguments`. `message` is
    that of the refusal, without values. `result` is what came of it, e.g. the id of a new run. No values of users are kept: no input, no payload.
    `via` is `api` for what the server did itself, and `cli` for what the command line did through its store and told of it.
    """

    at: datetime
    who: str
    verb: str
    kind: NoteKind
    target: str
    namespace: str
    outcome: str = BEGUN
    message: str = ""
    ended: datetime | None = None
    arguments: Mapping[str, Any] = Factory(dict)
    result: Mapping[str, Any] = Factory(dict)
    via: Literal["api", "cli"] = "api"


STORED = tuple(field.name for field in fields(AuditEntry))


def entry_of(text: str, labels: Mapping[str, str], at: datetime, changed: datetime) -> AuditEntry:
    """The entry that is stored as this text in a State that was made and changed at these times; what a newer server adds is left out.

    Of a damaged one there is what its labels tell, and `message` says so.
    """
    try:
        stored: Mapping[str, Any] = json.loads(text)
        known = {name: stored[name] for name in STORED if name in stored}
        return AuditEntry(**known | {"at": at, "ended": None if stored["outcome"] == BEGUN else changed})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        facts: dict[str, Any] = {name: labels.get(name, "") for name in FACTS}
        message = f"the stored entry is damaged: {type(error).__name__}: {error}"
        return AuditEntry(
            **facts, at=at, ended=None if facts["outcome"] == BEGUN else changed, target="", message=message
        )


def labels_of(entry: AuditEntry) -> dict[str, str]:
    """The labels of an entry: its facts, and one for each name in it, so that a change of many runs is found by each of them."""
    facts = {name: _value(getattr(entry, name)) for name in FACTS}
    return facts | {_name_label(name): "" for name in islice(dict.fromkeys(_names(entry)), MOST_NAMES)}


def labels_wanted(facts: Mapping[str, str]) -> dict[str, str]:
    """The labels of the entries that have these facts; `target` asks for entries with this name."""
    labels = {name: _value(value) for name, value in facts.items() if name != "target"}
    return labels | ({_name_label(facts["target"]): ""} if "target" in facts else {})


def _value(text: str) -> str:
    return printable(text)[:LONGEST]


def _name_label(name: str) -> str:
    """A key of one length for any name: an index has no room for the longest ones."""
    return f"names:{hashlib.sha256(printable(name).encode()).hexdigest()[:32]}"


def _names(entry: AuditEntry) -> Iterator[str]:
    """What the change was done to, what it made, and what was asked for: each a run, a flow, a schedule or a topic."""
    result, arguments = entry.result, entry.arguments
    yield from filter(None, (entry.target, str(result.get("id", ""))))
    for names in (result.get("ids"), result.get("runs"), arguments.get("ids")):
        yield from map(str, names if isinstance(names, list | tuple) else ())
