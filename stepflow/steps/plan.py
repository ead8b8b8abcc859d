"""ChainPlan: the tasks and moves of a table, the form that an engine uses to advance runs; computed once per flow."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from itertools import takewhile
from typing import Any

from attrs import evolve

from stepflow.errors import UnknownState
from stepflow.model.flow import Call, GiveUp, Move, Passes, Task
from stepflow.model.json_schema import schemas_text
from stepflow.model.state import NEXT_ATTEMPT, PAYLOADS, POSITION, STATUS, WAITING, Transition
from stepflow.model.step_names import loops_around
from stepflow.steps.kinds.loop_until import LoopUntil
from stepflow.steps.position import attempts_in, read_position, to_json, to_strings
from stepflow.steps.retry_decision import decide_retry
from stepflow.steps.table import Table
from stepflow.steps.values import Attempts, CallTransition


class StepTask(Task):
    """A row of the table for an engine, with the attempts of its position."""

    __slots__ = (
        "_attempts",
        "_check",
        "_moves",
        "_plan",
        "_row",
        "at_most_once",
        "call",
        "event",
        "is_async",
        "latch",
        "limit_s",
        "payload",
        "plain",
        "polls",
        "step",
        "timeout_s",
        "transacted",
    )

    def __init__(self, row: CallTransition, attempts: Attempts, plan: ChainPlan) -> None:
        self._row, self._attempts, self._plan = row, attempts, plan
        self._check = row.check
        self.step = row.scope.removeprefix(plan.prefix)
        self.is_async, self.call = row.fn.is_async, row.call
        self.event, self.payload, self.latch = row.event, row.payload, row.latch
        self.timeout_s, self.limit_s, self.polls = row.timeout_s, row.limit_s, row.poll >= 0
        self.transacted = row.transacted
        self.at_most_once = row.at_most_once
        self.plain = not (row.event or row.transacted or row.at_most_once)
        self._moves: list[Move | None] = [None] * len(row.targets)  # made when the first run takes them

    def after_return(self, value: Any, exchange: Any) -> Move:
        """The Move to the target that the value selects; raises BadReturn."""
        index = 0 if value is None and self._row.only else self._check(value, exchange)
        move = self._moves[index]
        if move is None:
            move = self._moves[index] = self._plan.move_to_target(self._row, index, self._attempts)
        return move

    def after_error(
        self, error: Exception, exchange: Any, restore: Callable[[], Any] | None = None
    ) -> Generator[Call, Any, Move | GiveUp]:
        """Ask the retry groups around the step, the innermost first."""
        decision = yield from decide_retry(self._row, error, exchange, self._attempts, restore)
        if isinstance(decision, GiveUp):
            return decision
        start = decision.group.start
        waiting = "delay" if decision.delay_s else ""
        next_row = self._plan.table.row_at(start)
        passes = Passes(len(loops_around(decision.group.scope))) if loops_of(self._row) else None
        move = self._plan.move(
            start, next_row, decision.attempts, delay_s=decision.delay_s, waiting=waiting, passes=passes
        )
        return evolve(move, uncounted=True) if decision.group.policy is None else move


class ChainPlan:
    """All tasks of a table, and the moves between them, each made on its first use: a chain may have a thousand steps."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.prefix = f"{table.name}/"
        self._tasks: dict[str, StepTask] = {}  # by source, those without attempts
        # moves by stored position, without attempts: never more than the table has positions
        self._moves_read: dict[str | None, Move] = {}
        self._end = Transition("", {POSITION: to_json((table.completed,)), STATUS: "completed"})
        self.first = self.move(table.start, table.row_at(table.start), ())

    def move_to_target(self, row: CallTransition, index: int, attempts: Attempts) -> Move:
        """The Move to target number `index`; the table has resolved the static transitions that follow."""
        position = row.targets[index].position
        if index == row.poll:
            passes = passes_between(row, row)
            return self.move(position, row, attempts, delay_s=row.every_s, waiting="poll", stays=True, passes=passes)
        following = self.table.row_at(position)
        return self.move(position, following, attempts, passes=passes_between(row, following))

    def move(
        self,
        position: str,
        row: CallTransition | None,
        attempts: Attempts,
        *,
        delay_s: float = 0.0,
        waiting: str = "",
        stays: bool = False,
        passes: Passes | None = None,
    ) -> Move:
        """The Move to `position`, where `row` is due (None: the end of the flow)."""
        if row is None:
            return Move(self._end, ())
        attempts = attempts_in(row.retry_scope, attempts)
        annotations = {POSITION: to_json(to_strings(position, attempts))}
        if row.event:
            waiting = f"event:{row.event}"
            if schemas := schemas_text({row.event: row.payload.type}):
                annotations[PAYLOADS] = schemas
        elif row.poll >= 0:
            waiting = waiting or "poll"
        if waiting:
            annotations[WAITING] = waiting
        number = _number(row, attempts)
        if attempts and number == 1:  # the attempts in the position are those of a group around the innermost one
            annotations[NEXT_ATTEMPT] = "1"
        transition = Transition(self.table.name, annotations)
        return Move(transition, (self._task(row, attempts),), delay_s, stays, number, passes=passes)

    def at(self, transition: Transition) -> Move:
        """The Move that leads to a stored transition, without its delay. Raises UnknownState."""
        move = self._moves_read.get(transition.annotations.get(POSITION)) or self._read(transition)
        return move if move.transition is transition else Move(transition, move.tasks, attempt=move.attempt)

    def _read(self, transition: Transition) -> Move:
        stored = transition.annotations.get(POSITION)
        try:
            state = None if stored is None else json.loads(stored)
        except ValueError as error:
            raise UnknownState(
                f"annotation {POSITION} of {self.table.name} holds {stored!r:.200}, not a JSON list"
            ) from error
        position = read_position(self.table, state)
        tasks = () if position.row is None else (self._task(position.row, position.attempts),)
        number = 1 if position.row is None else _number(position.row, position.attempts)
        move = Move(transition, tasks, attempt=number)
        if stored == to_json((position.name,)):
            self._moves_read[stored] = move
        return move

    def _task(self, row: CallTransition, attempts: Attempts) -> StepTask:
        if attempts:
            return StepTask(row, attempts, self)
        return self._tasks.get(row.source) or self._tasks.setdefault(row.source, StepTask(row, (), self))


def loops_of(row: CallTransition | None) -> list[str]:
    """The paths of the loops around a step, the outermost first; the condition of a loop belongs to its passes."""
    if row is None:
        return []
    return loops_around(row.scope) + ([row.scope] if row.kind is LoopUntil else [])


def passes_between(row: CallTransition, following: CallTransition | None) -> Passes | None:
    """What becomes of the passes of loops when this row leads to the other one."""
    before, after = loops_of(row), loops_of(following)
    if not before and not after:
        return None
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    return Passes(common, begins=row.kind is LoopUntil and common == len(before))


def _number(row: CallTransition, attempts: Attempts) -> int:
    """The number of the next attempt of the innermost group with a policy around the row, 1 if there is none."""
    for group in row.retry_scopes():
        if group.policy is not None:
            return dict(attempts).get(group.scope, 1)
    return 1
