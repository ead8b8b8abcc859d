"""intents: the journal rows of calls that are made at most once and have not ended: their keys, what they are called, and what a caller found out.

The key of such a row is that of a workflow's call; `:STEP` for a chain's step; `STEP:KEY` for a call of `once` in a step, and
`FUNCTION@REV.MOVES:KEY` for one in a flow function. The row of a call of `once` holds in its `text` what a caller found out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from stepflow.drivers.port.journal import INTENT, ONCE, JournalRow
from stepflow.model.state import ONCE_SINCE, POSITION, RESOLVED, STYLE, State, Transition
from stepflow.replay.branches import MARK

UNKNOWN = "null"  # the text of an intent whose call has no known end


def step_intent(step: str) -> str:
    """The key of the intent of a chain's step: no path of a step is empty, so no other row has such a key."""
    return f":{step}"


def once_since(state: State) -> str:
    """The revision that is part of the keys of a flow function's rows: that of the State, or the one at which it was tried first."""
    return state.transition.annotations.get(ONCE_SINCE, str(state.rev))


def at_same_place(state: State, rows: object) -> Transition:
    """The transition of a State at a flow function, which also says where the `rows` of its journal, if there are some, belong to."""
    if not rows or ONCE_SINCE in state.transition.annotations:
        return state.transition
    return Transition(state.transition.to, {**state.transition.annotations, ONCE_SINCE: str(state.rev)})


def is_of_function(transition: Transition) -> bool:
    """Whether the State is at a flow function."""
    return not (STYLE in transition.annotations or POSITION in transition.annotations)


def is_intent(row: JournalRow) -> bool:
    """Whether it is written before a call that is made at most once; a branch marks the kind of its rows."""
    return row.kind.partition(MARK)[0] == INTENT


def intents(state: State, rows: Iterable[JournalRow]) -> list[JournalRow]:
    """The intents among the rows of a run. Those of a flow function count no more when another commit has moved its State."""
    return [row for row in rows if is_intent(row) and _is_here(row, state)]


def known_rows(state: State, rows: Iterable[JournalRow]) -> dict[str, JournalRow]:
    """The rows of a State at a flow function, by key, without the intents that count no more."""
    return {row.key: row if row.kind != INTENT or _is_here(row, state) else row._replace(kind=ONCE) for row in rows}


def _is_here(row: JournalRow, state: State) -> bool:
    return not is_of_function(state.transition) or f"@{once_since(state)}." in row.key


def name_of(key: str, state: State) -> tuple[str, str]:
    """The step, or flow function, and the key of its call of `once`; empty is the key for a chain's step, the step for the call of a workflow."""
    if STYLE in state.transition.annotations:
        return "", key
    if key[0] == ":":
        return key[1:], ""
    function, at, behind = key.partition(f"@{once_since(state)}.") if is_of_function(state.transition) else ("", "", "")
    if at:
        return function, behind.partition(":")[2]
    step, _colon, call = key.partition(":")
    return step, call


def call_of(row: JournalRow) -> str:
    """The key of a call of `once` in a flow function, wherever its State is."""
    return re.sub(r"^.*?@\d+\.\d+:", "", row.key, count=1, flags=re.DOTALL)


def is_of_once(row: JournalRow, state: State) -> bool:
    """Whether the intent is that of a call of `once`."""
    return all(name_of(row.key, state))


def is_told(row: JournalRow) -> bool:
    """Whether a caller has told how a call of `once` ended; not if that cannot be read here."""
    return row.text[:1] == "{"


def is_resolved(row: JournalRow, state: State) -> bool:
    """Whether a caller has told how the call ended that the intent is of."""
    if is_of_once(row, state):
        return is_told(row)
    found = resolution_of(state.transition)
    return found is not None and found["step"] in name_of(row.key, state)


def unknown_call(rows: Mapping[str, JournalRow]) -> JournalRow | None:
    """A call of `once` whose outcome is unknown, among the rows of a chain's step or a flow function."""
    if not rows:
        return None
    return next(
        (row for row in list(rows.values()) if row.kind == INTENT and row.key[0] != ":" and not is_told(row)), None
    )


def resolution_of(transition: Transition) -> dict[str, Any] | None:
    """`step`, and `value` or `error` as text, of the resolution that a caller has stored for a step, or a workflow's call."""
    text = transition.annotations.get(RESOLVED)
    found: dict[str, Any] | None = None if text is None else json.loads(text)
    return found
