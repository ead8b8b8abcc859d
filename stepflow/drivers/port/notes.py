"""notes: what a person is about to change in a store, for the audit of the server behind it, and the entries of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from attrs import Factory, frozen

AUDIT = "stepflow.audit"  # the namespace of the entries in the store of a server, which no request can name
BEGUN = "begun"  # the outcome of a change that has none yet
Verb = Literal[
    "start_run", "publish_event", "cancel_run", "wake_run", "redrive_run", "pause_run", "resume_run", "fork_run", "rewind_run", "move_run",
    "resolve_call", "resolve_call_failed", "cancel_runs", "redrive_runs", "wake_runs", "pause_runs", "resume_runs", "publish_to_runs", "move_runs",
    "fork_runs", "rewind_runs", "pause_flow", "resume_flow", "pause_schedule", "resume_schedule", "trigger_schedule", "backfill_schedule",
    "delete_schedule", "publish_topic", "prune",
]  # fmt: skip
"""What entries tell of: the operations of the operator's API that change something, and two of the command line."""
Outcome = Literal[
    "begun", "done", "cancelled", "aborted", "already_exists", "deadline_exceeded", "failed_precondition", "invalid_argument", "not_found",
    "permission_denied", "resource_exhausted", "session_gone", "unauthenticated", "unavailable", "unimplemented", "unknown",
]  # fmt: skip
"""How changes end: the last ones are codes of refusals."""
VERBS: tuple[Verb, ...] = get_args(Verb)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
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
