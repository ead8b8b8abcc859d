"""notes: what a person is about to change in a store, for the audit of the server behind it, and the entries of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import Factory, frozen

AUDIT = "stepflow.audit"  # the namespace of the entries in the store of a server, which no request can name
BEGUN = "begun"  # the outcome of a change that has none yet
NoteKind = Literal["run", "runs", "flow", "schedule", "topic", "store"]

EndNote = Callable[[BaseException | None, Mapping[str, Any]], None]
"""Tells how the change ended: with an error or None, and with what came of it, e.g. `{"count": 3}`. Raises StoreErrors."""


@frozen
class ChangeNote:
    """A verb of the operator's API, e.g. `cancel_run`, and what it is done to: `target` is an id or a name, empty for many runs.

    The arguments are JSON values, and no values of users.
    """

    verb: str
    kind: str
    target: str = ""
    arguments: Mapping[str, Any] = Factory(dict)


@frozen
class NotePage:
    """Entries, the newest first, as JSON objects, and the cursor of the page that follows."""

    entries: list[dict[str, Any]]
    next: str | None
