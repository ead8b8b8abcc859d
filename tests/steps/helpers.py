"""Helpers of the step tests: run a flow to its end and record its positions."""

from __future__ import annotations

import json
from typing import Any

from stepflow.model.flow import Call, GiveUp, Move, Task
from stepflow.model.state import POSITION
from stepflow.steps import StepFlow
from stepflow.steps.kinds.base import Node
from stepflow.steps.machine import Machine
from stepflow.steps.table import Table, compile_table


class Fail(Exception):
    """The error of the functions of these tests."""


def history(flow: StepFlow[Any], exchange: Any = None, *, limit: int = 100) -> list[str]:
    """The single string of the position after each apply until the flow is completed, starting from None."""
    state: list[str] | None = None
    seen: list[str] = []
    while not flow.is_completed(state):
        assert len(seen) < limit, f"not completed after {limit} applies: {seen}"
        state = flow.apply(state, exchange)
        assert len(state) == 1
        seen.append(state[0])
    return seen


class Core:
    """A machine whose root is any node, in the scope `test`: the layer below the chain."""

    def __init__(self, root: Node, name: str = "test") -> None:
        self.table: Table = compile_table(name, root)
        self.machine = Machine(self.table)

    def history(self, *, limit: int = 50) -> list[str]:
        """The position after each advance until the root is completed."""
        position, seen = ["start:" + self.table.name], []
        while position != [self.table.completed]:
            assert len(seen) < limit
            position = [*self.machine.advance(position, None).state]
            seen.append(position[0])
        return seen

    def destinations(self, source: str) -> list[tuple[str, str]]:
        """(position, reason) of every target of a source."""
        (found,) = [transition for transition in self.table.transitions if transition.source == source]
        return [(target.position, target.reason) for target in found.targets]


def position(move: Move) -> list[str]:
    found = json.loads(move.transition.annotations[POSITION])
    assert isinstance(found, list)
    return found


def task_of(move: Move) -> Task:
    (task,) = move.tasks
    return task


def step(move: Move, exchange: Any = None, *payload: Any) -> Move:
    """Execute one task as an engine does."""
    task = task_of(move)
    try:
        value = task.call(exchange, *payload)
    except Exception as error:
        return after_error(task, error, exchange)
    return task.after_return(value, exchange)


def after_error(task: Task, error: Exception, exchange: Any) -> Move:
    decision, found = task.after_error(error, exchange), None
    try:
        call = next(decision)
        while True:
            assert isinstance(call, Call)
            assert not call.is_async
            try:
                answer = call.fn(*call.args)
            except Exception as replacement:
                call = decision.throw(replacement)
            else:
                call = decision.send(answer)
    except StopIteration as stop:
        found = stop.value
    if isinstance(found, GiveUp):
        raise found.error
    assert isinstance(found, Move)
    return found
