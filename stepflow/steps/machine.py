"""Machine: advances a position by one user call; it answers where that leads and why."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from stepflow.errors import NeedsEngine, StepflowError
from stepflow.model.flow import Call
from stepflow.steps.position import Position, kept, read_position, strings
from stepflow.steps.retry_decision import Again, Gone, ask_guards
from stepflow.steps.table import Table
from stepflow.steps.values import Attempts, CallTransition, Target

R = TypeVar("R")


class NeedsAwait(StepflowError):
    """The step, or an error handler around it, is async: only `aapply` or an engine can call it."""


class Answer(NamedTuple):
    """Where the position leads, and why: the reasons are those of `transitions`."""

    position: tuple[str, ...]
    reason: str


class Machine:
    """The compiled table of one chain, free of state: share it between threads and use it for any number of positions."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.callable = {
            e: row for e, row in table.next.items() if row is not None and not row.awaits and not row.event
        }
        """The rows that plain apply can call at once, by every event at which they are due."""

    def advance(self, state: list[str] | None, exchange: Any) -> Target | Answer:
        """Call the user function that is due at `state` and answer; the argument is left alone.

        Raises what the function raised unless a retry group wants to go on, UnknownState, NeedsEngine or NeedsAwait.
        """
        position = read_position(self.table, state)
        if position.row is None:
            return self.table.done
        row = self._callable(position.row, is_async=False)
        try:
            value = row.call(exchange)
        except Exception as error:  # noqa: BLE001 - raised again unless a retry group takes it
            return self.recovered(row, error, exchange, position.attempts)
        return self._carry(row.exits[row.judge(value, exchange)], position.attempts)

    async def aadvance(self, state: list[str] | None, exchange: Any) -> Target | Answer:
        """The async twin of `advance`: takes sync and async functions."""
        position = read_position(self.table, state)
        if position.row is None:
            return self.table.done
        row = self._callable(position.row, is_async=True)
        try:
            value = row.call(exchange)
            if row.fn.is_async:
                value = await value
        except Exception as error:  # noqa: BLE001 - raised again unless a retry group takes it
            return self._answer(await adrive(ask_guards(row, error, exchange, position.attempts)))
        return self._carry(row.exits[row.judge(value, exchange)], position.attempts)

    def recovered(self, row: CallTransition, error: Exception, exchange: Any, attempts: Attempts) -> Answer:
        """Where the retry groups around `row` go on after `error`; raises what is left of it."""
        return self._answer(drive(ask_guards(row, error, exchange, attempts)))

    def _callable(self, row: CallTransition, *, is_async: bool) -> CallTransition:
        if row.event:
            raise NeedsEngine(
                f"{row.scope} waits for the event {row.event!r}, and plain apply has no events: start the flow on an "
                "Engine, or use wait_for with a condition of your own"
            )
        if row.awaits and not is_async:
            who = "is async" if row.fn.is_async else "is inside of a retry group whose handler is async"
            raise NeedsAwait(f"{row.scope} {who}: use `await flow.aapply(state, exchange)`")
        return row

    def _carry(self, found: Target, attempts: Attempts) -> Target | Answer:
        """The exit, with the attempts of those groups that it does not leave."""
        following = self.table.next[found.event]
        attempts = kept(attempts, following.guard) if following else ()
        return Answer(strings(found.event, attempts), found.reason) if attempts else found

    def _answer(self, decided: Again | Gone) -> Answer:
        if isinstance(decided, Gone):
            raise decided.error
        return Answer(decided.position, "retry")

    def wait_s(self, position: Position) -> float:
        """Seconds that a caller of apply should let pass at this position: after a failed check or a failed attempt."""
        row = position.row
        if row is not None and row.poll >= 0 and position.event == row.source:
            return row.every_s
        for guard in row.guards() if row is not None else ():
            number = dict(position.attempts).get(guard.scope, 1)
            if guard.policy is not None and number > 1 and position.event == guard.event:
                return guard.policy.delay_s(number - 1, guard.scope)
        return 0.0


def drive(deciding: Generator[Call, Any, R]) -> R:
    """Make the calls that the generator asks for; its return value."""
    try:
        call = next(deciding)
        while True:
            try:
                result = call.fn(*call.args)
            except Exception as error:  # noqa: BLE001 - the generator decides about it
                call = deciding.throw(error)
            else:
                call = deciding.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def adrive(deciding: Generator[Call, Any, R]) -> R:
    """Make the calls that the generator asks for, awaiting the async ones; its return value."""
    try:
        call = next(deciding)
        while True:
            try:
                result = call.fn(*call.args)
                if call.is_async:
                    result = await result
            except Exception as error:  # noqa: BLE001 - the generator decides about it
                call = deciding.throw(error)
            else:
                call = deciding.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
