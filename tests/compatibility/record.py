"""What the public API tells of a store, as plain JSON values: of everything as it is, or of how it ended."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import attrs

from stepflow import Engine, GetData, GetDelayedStates, State

ALL = 10_000  # more runs than there are
END = datetime(2100, 1, 1, tzinfo=UTC)
INFO = (
    "flow", "status", "position", "rev", "labels", "created_at", "updated_at", "waiting_for", "due", "deadline", "attempt",
    "priority", "error", "owner", "crashes", "blocked", "to", "limits",
)  # fmt: skip
DATA = "flowstate.data."


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    return json.loads(json.dumps(value, default=_encoded))


def _encoded(value: Any) -> Any:
    return (
        attrs.asdict(value)
        if attrs.has(type(value))
        else value.isoformat()
        if isinstance(value, datetime)
        else dict(value)
    )


def everything(engine: Engine) -> dict[str, Any]:
    """All that can be seen from outside: runs, every revision, delays, data."""
    runs = {}
    for run in (engine.get(listed.id) for listed in engine.runs(limit=ALL)):
        info = run.info()  # which knows of delays, as the list does not
        history = [{"rev": h.rev, "exchange": h.exchange, "status": h.status} for h in run.history(ALL)]
        found = {name: getattr(info, name) for name in INFO} | {"blocked": str(info.blocked or "")}
        runs[info.id] = found | {"exchange": run.exchange(), "history": history}
    states = list(engine.iterate())
    delays = engine.do(GetDelayedStates(until=END)) or []
    return plain(
        {
            "tally": engine.tally(),
            "runs": runs,
            "states": [_state(state) for state in states],
            "delays": [
                {"offset": d.offset, "due": d.due, "commit": d.commit, "fired": d.fired, "state": _state(d.state)}
                for d in delays
            ],
            "data": _data(engine, states),
        }
    )


def _state(state: State) -> dict[str, Any]:
    return {
        "id": state.id, "rev": state.rev, "to": state.transition.to, "notes": dict(state.transition.annotations),
        "labels": dict(state.labels), "annotations": dict(state.annotations), "committed_at": state.committed_at,
    }  # fmt: skip


def _data(engine: Engine, states: list[State]) -> dict[str, Any]:
    """Every blob that some revision refers to, with its annotations."""
    found = {}
    for state in states:
        for name in state.annotations:
            if name.startswith(DATA):
                ctx = engine.get_state(state.id, state.rev)
                engine.do(GetData(ctx, name.removeprefix(DATA)))
                data = ctx.data(name.removeprefix(DATA))
                found[f"{state.id}@{state.rev}/{name.removeprefix(DATA)}"] = {
                    "rev": data.rev, "annotations": data.annotations, "blob": base64.b64encode(data.blob).decode()
                }  # fmt: skip
    return found


def outcome(engine: Engine, left_at: datetime, taken_over_at: datetime) -> dict[str, Any]:
    """How every run ended and by which way, without what may be another number or wording in another version.

    What happened between `left_at` and `taken_over_at` counts as done at the end of that time: how soon a dead owner is
    found out depends on the store.
    """

    def when(at: datetime) -> datetime:
        return taken_over_at if left_at <= at <= taken_over_at else at

    runs = {}
    for run in (engine.get(listed.id) for listed in engine.runs(limit=ALL)):
        info = run.info()
        notes = engine.get_state(info.id).transition.annotations
        runs[info.id] = {
            "status": info.status,
            "labels": info.labels,
            "notes": {name: text for name, text in notes.items() if not name.startswith(("stepflow.", "flowstate."))},
            "exchange": run.exchange(),
            "error": info.error.type if info.error else "",
            "way": [[when(entry.at), entry.position, entry.status] for entry in run.history(ALL)],
        }
    return plain({"tally": engine.tally(), "runs": runs})
