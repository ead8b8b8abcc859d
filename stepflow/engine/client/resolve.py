"""resolve: settles a call whose outcome is unknown: stores what a caller found out, and lets the run go on."""

from __future__ import annotations

import json

from stepflow.drivers.port.commit import Commit, Record
from stepflow.drivers.port.journal import JournalRow
from stepflow.engine import step_failure
from stepflow.engine.client.repair import due_now, refuse_unreadable
from stepflow.engine.intents import intents, is_of_once, is_resolved, is_told, name_of
from stepflow.errors import NotFound, StepflowError
from stepflow.model.blocked import UNKNOWN_OUTCOME
from stepflow.model.state import POSITION, RESOLVED, State
from stepflow.model.step_names import is_named


def resolved(
    record: Record, rows: tuple[JournalRow, ...], step: str, value: str | None, error: str | None, now: int
) -> Commit:
    """The commit that stores the resolution of the call, `value` or `error` as text, and lets the run go on."""
    state, row = record.state, record.row
    refuse_unreadable(state)
    found, transition = intents(state, rows), state.transition
    if transition.status or row is None or row.owner or not (found or row.blocked_by == UNKNOWN_OUTCOME):
        raise StepflowError(
            f"run {state.id!r} has no call of unknown outcome that could be resolved: `run.explain()` tells what it does"
        )
    if not found:  # what the call returned was recorded just when the run was released
        return due_now(record, transition, now)
    one = next((one for one in found if _is_called(one, step, state)), None)
    if one is None:
        names = ", ".join(repr(_called(other, state)) for other in found)
        raise NotFound(f"run {state.id!r}: the outcome of {names} is unknown, not that of {step!r}: name that one")
    if not row.blocked and (is_told(one) if is_of_once(one, state) else RESOLVED in transition.annotations):
        raise StepflowError(f"run {state.id!r}: {step!r} is resolved already, a worker is about to take that up")
    name = _called(one, state)
    if is_of_once(one, state):
        told = one._replace(text=json.dumps({"value": value, "error": error}), seq=0, epoch=0, at=0)
        return due_now(record, transition.with_notes(note=f"resolved {name!r}"), now)._replace(journal=(told,))
    text = json.dumps({"step": name, "value": value, "error": error})
    return due_now(record, transition.with_notes(resolved=text), now)


def unresolved(record: Record, rows: tuple[JournalRow, ...]) -> list[str]:
    """The names of the calls of unknown outcome, those without a resolution first."""
    state = record.state
    found = sorted(intents(state, rows), key=lambda one: is_resolved(one, state))
    return [_called(one, state) for one in found]


def _called(row: JournalRow, state: State) -> str:
    """The key of a call, or the path of a chain's step below the flow."""
    step, call = name_of(row.key, state)
    return call or step


def _is_called(row: JournalRow, name: str, state: State) -> bool:
    """Whether the call may be called so: by its key, in a step or function also behind that; by a name of a chain's step, or the position."""
    step, call = name_of(row.key, state)
    if call:
        return name in (call, f"{step}:{call}" if step else call)
    position = json.loads(state.transition.annotations.get(POSITION, "[]"))[:1]  # a run makes one step
    return name in position or is_named(step, name) or is_named(step, name.removeprefix(f"{state.transition.to}/"))


def failure_text(error: Exception | str) -> str:
    """The stored form of the failure that a caller found out about."""
    if isinstance(error, Exception):
        return step_failure.stored(error)
    if not isinstance(error, str):
        raise StepflowError(f"resolve_failed(..., {error!r:.80}): give an exception, or its message")
    return json.dumps({"type": "StepFailed", "message": error, "traceback": ""})
