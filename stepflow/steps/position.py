"""Positions: reads the list of strings that apply takes against a table, and writes it.

The list has one position of the table, e.g. "start:order/pay", and one string `attempt:<number>:<scope>` for each retry
group with a policy that failed since it was entered; the attempts of a group are dropped when the run leaves it.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from stepflow.errors import UnknownState
from stepflow.model.suggest import suggest
from stepflow.steps.table import Table
from stepflow.steps.values import Attempts, CallTransition, RetryScope

_MAX_SHOWN = 400  # characters of a string that a message repeats
_MAX_DIGITS = 10


@frozen
class Position:
    """A position that the table knows: its name, the row that is due there (None at the end), and the current attempts."""

    name: str
    row: CallTransition | None
    attempts: Attempts = ()


def read_position(table: Table, state: Any) -> Position:
    """Read `None`, `[]` or a list of strings; raises UnknownState, which names the most similar known position."""
    if state is None:
        state = (table.start,)
    if not isinstance(state, (list, tuple)):
        raise UnknownState(
            f"{state!r:.200} is not a position: give the list that apply returned, e.g. [{table.start!r}]"
        )
    if not state:
        state = (table.start,)
    if not all(isinstance(text, str) for text in state):
        raise UnknownState(f"{state!r:.200} is not a position of {table.name}: it must be a list of strings")
    known = [text for text in state if text in table.positions]
    if len(known) > 1:
        raise UnknownState(f"{list(state)!r:.400} has {len(known)} positions: {table.name} has one at a time")
    attempts = [text for text in state if text.startswith("attempt:")]
    if not known or len(attempts) + 1 < len(state):
        raise _unknown(table, [text for text in state if text not in table.positions and text not in attempts])
    row = table.row_at(known[0])
    return Position(
        known[0], row, attempts_in(row.retry_scope if row else None, tuple(_attempt(text) for text in attempts))
    )


def _attempt(text: str) -> tuple[str, int]:
    _, number, scope = (*text.split(":", 2), "")[:3]
    if not (number.isascii() and number.isdigit() and len(number) < _MAX_DIGITS and int(number) > 0 and scope):
        raise UnknownState(f"{_shortened(text)} is not an attempt: it must look like 'attempt:2:order/payRetry'")
    return scope, int(number)


def _unknown(table: Table, unknown: list[str]) -> UnknownState:
    if not unknown:
        return UnknownState(
            f"the list has no position of {table.name}, only attempts: give the list that apply returned"
        )
    similar = suggest(unknown[0], table.positions)
    hint = f"; the most similar known one is {similar!r}" if similar else ""
    return UnknownState(
        f"{_shortened(unknown[0])} is not a position of {table.name}{hint}. Was a step renamed or removed, or does it "
        "belong to another flow?"
    )


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."


def attempts_in(group: RetryScope | None, attempts: Attempts) -> Attempts:
    """The attempts of `group` and of the groups around it, innermost first; those of other groups are dropped."""
    if not attempts or group is None:
        return ()
    numbers = dict(attempts)
    return tuple((g.scope, numbers[g.scope]) for g in group.outwards() if g.policy is not None and g.scope in numbers)


def to_strings(position: str, attempts: Attempts) -> tuple[str, ...]:
    """The list that apply returns for a position with these attempts."""
    return (position, *(f"attempt:{number}:{scope}" for scope, number in attempts))


def to_json(strings: tuple[str, ...]) -> str:
    """The stored form: a JSON list without spaces."""
    return json.dumps(strings, ensure_ascii=False, separators=(",", ":"))
