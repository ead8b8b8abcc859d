"""Tasks and moves: the same table in the form in which an engine advances runs, computed once per flow."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from stepflow.errors import UnknownState
from stepflow.model.flow import Call, Move, Task
from stepflow.model.state import POSITION, STATUS, WAITING, Transition
from stepflow.steps.position import kept, read_position, strings, to_json
from stepflow.steps.retry_decision import Gone, ask_guards
from stepflow.steps.table import Table
from stepflow.steps.values import Attempts, CallTransition


class StepTask(Task):
    """A row of the table for an engine, at a position with these attempts; `moves` are those of the row's exits."""

    __slots__ = (
        "_attempts",
        "_judge",
        "_plan",
        "_row",
        "call",
        "event",
        "is_async",
        "latch",
        "moves",
        "payload",
        "step",
        "timeout_s",
    )

    def __init__(self, row: CallTransition, attempts: Attempts, plan: Plan) -> None:
        self._row, self._attempts, self._plan = row, attempts, plan
        self._judge = row.judge
        self.step = row.scope.removeprefix(plan.prefix)
        self.is_async, self.call = row.fn.is_async, row.call
        self.event, self.payload, self.latch = row.event, row.payload, row.latch
        self.timeout_s = row.timeout_s
        self.moves: tuple[Move, ...] = ()

    def settle(self, value: Any, exchange: Any) -> Move:
        """The Move of the exit that the value stands for; raises BadReturn."""
        found = 0 if value is None and self._row.only else self._judge(value, exchange)
        return self.moves[found] if self.moves else self._plan.after(self._row, found, self._attempts)

    def recover(self, error: Exception, exchange: Any) -> Generator[Call, Any, Move]:
        """Ask the retry groups around the step, the innermost first; raises the error that is left over."""
        decided = yield from ask_guards(self._row, error, exchange, self._attempts)
        if isinstance(decided, Gone):
            raise decided.error
        following = self._plan.table.next[decided.guard.event]
        return self._plan.move(
            decided.guard.event,
            following,
            decided.attempts,
            delay_s=decided.delay_s,
            waiting="delay" if decided.delay_s else "",
        )


class Plan:
    """All tasks of a table, and the moves between them."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.prefix = f"{table.name}/"
        self._tasks = {row.source: StepTask(row, (), self) for row in table.rows}
        self._known: dict[
            str | None, Move
        ] = {}  # of positions without attempts, hence never more than the table has events
        self._end = Transition("", {POSITION: to_json((table.completed,)), STATUS: "completed"})
        for row in table.rows:
            self._tasks[row.source].moves = tuple(self.after(row, n, ()) for n in range(len(row.exits)))
        self.first = self.move(table.start, table.next[table.start], ())

    def after(self, row: CallTransition, found: int, attempts: Attempts) -> Move:
        """The Move of exit number `found`; static hops to the end of the flow are already taken."""
        event = row.exits[found].event
        if found == row.poll:
            return self.move(event, row, attempts, delay_s=row.every_s, waiting="poll", stays=True)
        return self.move(event, self.table.next[event], attempts)

    def move(
        self,
        event: str,
        following: CallTransition | None,
        attempts: Attempts,
        *,
        delay_s: float = 0.0,
        waiting: str = "",
        stays: bool = False,
    ) -> Move:
        """The Move to `event`, where `following` is due."""
        if following is None:
            return Move(self._end, None)
        attempts = kept(attempts, following.guard)
        annotations = {POSITION: to_json(strings(event, attempts))}
        if following.event:
            waiting = f"event:{following.event}"
        elif following.poll >= 0:
            waiting = waiting or "poll"
        if waiting:
            annotations[WAITING] = waiting
        transition = Transition(self.table.name, annotations)
        return Move(transition, self._task(following, attempts), delay_s, stays, _number(attempts))

    def at(self, transition: Transition) -> Move:
        """The Move that a stored transition stands for: its delay is over. Raises UnknownState."""
        known = self._known.get(transition.annotations.get(POSITION)) or self._read(transition)
        return known if known.transition is transition else Move(transition, known.task, attempt=known.attempt)

    def _read(self, transition: Transition) -> Move:
        stored = transition.annotations.get(POSITION)
        try:
            state = None if stored is None else json.loads(stored)
        except ValueError as error:
            raise UnknownState(
                f"annotation {POSITION} of {self.table.name} holds {stored!r:.200}, not a JSON list"
            ) from error
        position = read_position(self.table, state)
        task = None if position.row is None else self._task(position.row, position.attempts)
        move = Move(transition, task, attempt=_number(position.attempts))
        if stored == to_json((position.event,)):
            self._known[stored] = move
        return move

    def _task(self, row: CallTransition, attempts: Attempts) -> StepTask:
        return StepTask(row, attempts, self) if attempts else self._tasks[row.source]


def _number(attempts: Attempts) -> int:
    """The attempt of the innermost group that failed before."""
    return attempts[0][1] if attempts else 1
