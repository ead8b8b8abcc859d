"""replace: a table in which one step calls another function, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from stepflow.errors import DefinitionError
from stepflow.model.step_names import StepNames
from stepflow.model.suggest import suggest
from stepflow.steps.kinds.do import Do
from stepflow.steps.kinds.wait_event import WaitEvent
from stepflow.steps.signature import CONDITION, STEP, THEN, TRANSACTION, read_function
from stepflow.steps.table import Table


def replaced(table: Table, step: str, fn: Callable[..., Any]) -> Table:
    """The table with `fn` in the step of this name or path. Raises DefinitionError if it is not exactly one."""
    rows = {row.scope.removeprefix(f"{table.name}/"): row for row in table.rows}
    names = StepNames(table.name, rows)
    named = names.found(step) if isinstance(step, str) else []
    if len(named) != 1:
        near = suggest(step, names.known()) if isinstance(step, str) else ""
        several = ", ".join(f"{table.name}/{path}" for path in named)
        what = f"there are several: {several}" if named else f"there is none; most similar: {near or 'none'}"
        raise DefinitionError(f"{table.name}: replace({step!r:.80}): {what}; give the name of one step, or its path")
    row = rows[named[0]]
    step_kind = TRANSACTION if row.transacted else STEP
    expected = step_kind if row.kind is Do else THEN if row.kind is WaitEvent else CONDITION
    call, problem = read_function(fn, expected)
    if problem:
        raise DefinitionError(f"{row.scope}: {problem}")
    other = evolve(row, fn=call)
    return Table(table.name, [other if one is row else one for one in table.transitions])
