"""resolve: settles a call whose outcome is unknown: stores what a caller found out, and lets the run go on."""

from __future__ import annotations

import json

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.journal import INTENT, JournalRow
from stepflow.engine import step_failure
from stepflow.engine.client.repair import refuse_unreadable
from stepflow.errors import NotFound, StepflowError
from stepflow.model.state import POSITION, RESOLVED, STYLE, Transition
from stepflow.model.step_names import is_named
from stepflow.replay.branches import MARK


def resolved(
    record: Record, rows: tuple[JournalRow, ...], step: str, value: str | None, error: str | None
) -> Transition:
    """The transition that holds the resolution of the step's call: `value` or `error` as text."""
    state, row = record.state, record.row
    refuse_unreadable(state)
    intents = [one.key for one in rows if one.kind.partition(MARK)[0] == INTENT]  # a branch marks the kind
    if state.transition.status or row is None or row.owner or not intents:
        raise StepflowError(
            f"run {state.id!r} has no call of unknown outcome that could be resolved: `run.explain()` tells what it does"
        )
    key = next((key for key in intents if _is_called(key, step, state.transition)), None)
    if key is None:
        names = ", ".join(repr(_path(key, state.transition)) for key in intents)
        raise NotFound(f"run {state.id!r}: the outcome of {names} is unknown, not that of {step!r}: name that one")
    if RESOLVED in state.transition.annotations and not row.blocked:
        raise StepflowError(f"run {state.id!r}: {step!r} is resolved already, a worker is about to take that up")
    text = json.dumps({"step": _path(key, state.transition), "value": value, "error": error})
    return state.transition.with_notes(resolved=text)


def unresolved(record: Record, rows: tuple[JournalRow, ...]) -> list[str]:
    """What the calls of unknown outcome are called."""
    transition = record.state.transition
    return [_path(row.key, transition) for row in rows if row.kind.partition(MARK)[0] == INTENT]


def _path(key: str, transition: Transition) -> str:
    """The key of a workflow's call, or the path of a chain's step below the flow."""
    return key if STYLE in transition.annotations else key[1:]


def _is_called(key: str, step: str, transition: Transition) -> bool:
    """Whether the call may be called so: by the key of a workflow's call; by a name of a chain's step (a run makes one), or the position."""
    if STYLE in transition.annotations:
        return key == step
    path, position = key[1:], json.loads(transition.annotations.get(POSITION, "[]"))[:1]
    return step in position or is_named(path, step) or is_named(path, step.removeprefix(f"{transition.to}/"))


def failure_text(error: Exception | str) -> str:
    """The stored form of the failure that a caller found out about."""
    if isinstance(error, Exception):
        return step_failure.stored(error)
    if not isinstance(error, str):
        raise StepflowError(f"resolve_failed(..., {error!r:.80}): give an exception, or its message")
    return json.dumps({"type": "StepFailed", "message": error, "traceback": ""})
