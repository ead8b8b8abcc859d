"""Positions: the list of strings that apply takes and returns, read against a table and written back.

The first string is an event of the table. Further ones are `attempt:<number>:<scope>`, one for each retry group with a
policy that failed since it was entered; they go when the group is left.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from stepflow.errors import UnknownState
from stepflow.steps.suggest import suggest
from stepflow.steps.table import Table
from stepflow.steps.values import Attempts, CallTransition, RetryScope

_MAX_SHOWN = 400  # characters of a string that a message repeats
_MAX_DIGITS = 10


@frozen
class Position:
    """A position that the table knows: the row that is due there (None at the end), and the attempts going on."""

    event: str
    row: CallTransition | None
    attempts: Attempts = ()


def read_position(table: Table, state: Any) -> Position:
    """Read `None`, `[]` or a list of strings; raises UnknownState, which names the nearest known event."""
    if state is None:
        state = (table.start,)
    if not isinstance(state, (list, tuple)):
        raise UnknownState(f"{state!r:.200} is no position: give the list that apply returned, e.g. [{table.start!r}]")
    if not state:
        state = (table.start,)
    if not all(isinstance(text, str) for text in state):
        raise UnknownState(f"{state!r:.200} is no position of {table.name}: it must be a list of strings")
    live = [text for text in state if text in table.next]
    if len(live) > 1:
        raise UnknownState(f"{list(state)!r:.400} has {len(live)} live strings: {table.name} is at one place at a time")
    notes = [text for text in state if text.startswith("attempt:")]
    if not live or len(notes) + 1 < len(state):
        raise _unknown(table, [text for text in state if text not in table.next and text not in notes])
    row = table.next[live[0]]
    return Position(live[0], row, kept(tuple(_attempt(text) for text in notes), row.guard if row else None))


def _attempt(text: str) -> tuple[str, int]:
    _, number, scope = (*text.split(":", 2), "")[:3]
    if not (number.isascii() and number.isdigit() and len(number) < _MAX_DIGITS and int(number) > 0 and scope):
        raise UnknownState(f"{_cut(text)} is no attempt: it must look like 'attempt:2:order/payRetry'")
    return scope, int(number)


def _unknown(table: Table, strange: list[str]) -> UnknownState:
    if not strange:
        return UnknownState(
            f"the position has no event of {table.name}, only attempts: give the list that apply returned"
        )
    near = suggest(strange[0], table.next)
    hint = f"; the nearest known one is {near!r}" if near else ""
    return UnknownState(
        f"{_cut(strange[0])} is no position of {table.name}{hint}. Was a step renamed or removed, or does it belong to "
        "another flow?"
    )


def _cut(text: str) -> str:
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."


def kept(attempts: Attempts, guard: RetryScope | None) -> Attempts:
    """The attempts of those groups that still are around: `guard` and the ones outside of it, innermost first."""
    if not attempts or guard is None:
        return ()
    numbers = dict(attempts)
    return tuple((g.scope, numbers[g.scope]) for g in guard.chain() if g.policy is not None and g.scope in numbers)


def strings(event: str, attempts: Attempts) -> tuple[str, ...]:
    """The position as strings."""
    return (event, *(f"attempt:{number}:{scope}" for scope, number in attempts))


def to_json(position: tuple[str, ...]) -> str:
    """The stored form, a JSON list without spaces."""
    return json.dumps(position, ensure_ascii=False, separators=(",", ":"))
