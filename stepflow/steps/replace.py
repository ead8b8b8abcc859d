"""replace: a table in which one step calls another function, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from stepflow.errors import DefinitionError
from stepflow.model.suggest import suggest
from stepflow.steps.kinds.do import Do
from stepflow.steps.kinds.wait_event import WaitEvent
from stepflow.steps.signature import CONDITION, STEP, THEN, TRANSACTION, read_function
from stepflow.steps.table import Table
from stepflow.steps.values import CallTransition


def replaced(table: Table, step: str, fn: Callable[..., Any]) -> Table:
    """The table with `fn` in the step of this name or path. Raises DefinitionError if it is not exactly one."""
    named = {row.scope: row for row in table.rows if step in _names(row, table.name)}
    if len(named) != 1:
        names = [name for row in table.rows for name in _names(row, table.name)]
        near = suggest(step, names) if isinstance(step, str) else ""
        what = f"there are several: {', '.join(named)}" if named else f"there is none; most similar: {near or 'none'}"
        raise DefinitionError(f"{table.name}: replace({step!r:.80}): {what}; give the name of one step, or its path")
    (row,) = named.values()
    step_kind = TRANSACTION if row.transacted else STEP
    expected = step_kind if row.kind is Do else THEN if row.kind is WaitEvent else CONDITION
    call, problem = read_function(fn, expected)
    if problem:
        raise DefinitionError(f"{row.scope}: {problem}")
    other = evolve(row, fn=call)
    return Table(table.name, [other if one is row else one for one in table.transitions])


def _names(row: CallTransition, flow: str) -> tuple[str, ...]:
    """What a step may be called: its name in the chain, and its path with the names and with the scopes of groups."""
    path = row.scope.removeprefix(f"{flow}/")
    name = path.rpartition("/")[2].removesuffix(row.kind.suffix)
    return (name, path, path.removesuffix(row.kind.suffix), row.scope)
