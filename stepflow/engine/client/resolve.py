"""resolve: settles a call whose outcome is unknown: stores what a caller found out, and lets the run go on."""

from __future__ import annotations

import json

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.journal import INTENT, JournalRow
from stepflow.engine import step_failure
from stepflow.errors import NotFound, StepflowError
from stepflow.model.state import POSITION, RESOLVED, STYLE, Transition
from stepflow.replay.branches import MARK


def resolved(
    record: Record, rows: tuple[JournalRow, ...], step: str, value: str | None, error: str | None
) -> Transition:
    """The transition that holds the resolution of the step's call: `value` or `error` as text."""
    state, row = record.state, record.row
    intents = [one.key for one in rows if one.kind.partition(MARK)[0] == INTENT]  # a branch marks the kind
    if state.transition.status or row is None or row.owner or not intents:
        raise StepflowError(
            f"run {state.id!r} has no call of unknown outcome that could be resolved: `run.explain()` tells what it does"
        )
    key = next((key for key in intents if step in _names(key, state.transition)), None)
    if key is None:
        names = ", ".join(repr(_names(key, state.transition)[0]) for key in intents)
        raise NotFound(f"run {state.id!r}: the outcome of {names} is unknown, not that of {step!r}: name that one")
    if RESOLVED in state.transition.annotations and not row.blocked:
        raise StepflowError(f"run {state.id!r}: {step!r} is resolved already, a worker is about to take that up")
    text = json.dumps({"step": _names(key, state.transition)[0], "value": value, "error": error})
    return state.transition.with_notes(resolved=text)


def unresolved(record: Record, rows: tuple[JournalRow, ...]) -> list[str]:
    """What the calls of unknown outcome may be called."""
    transition = record.state.transition
    return [_names(row.key, transition)[0] for row in rows if row.kind.partition(MARK)[0] == INTENT]


def _names(key: str, transition: Transition) -> list[str]:
    """What the call may be called: the path of the step with and without the flow, the position, the key of a workflow's call."""
    if STYLE in transition.annotations:
        return [key]
    position = json.loads(transition.annotations.get(POSITION, "[]"))[:1]
    return [key[1:], f"{transition.to}/{key[1:]}", *position]


def failure_text(error: Exception | str) -> str:
    """The stored form of the failure that a caller found out about."""
    if isinstance(error, Exception):
        return step_failure.stored(error)
    if not isinstance(error, str):
        raise StepflowError(f"resolve_failed(..., {error!r:.80}): give an exception, or its message")
    return json.dumps({"type": "StepFailed", "message": error, "traceback": ""})
