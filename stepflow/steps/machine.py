"""Machine: advances a position by one user call; returns the next position and the reason."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from stepflow.errors import NeedsEngine, StepflowError
from stepflow.model.flow import Call, GiveUp
from stepflow.steps.position import Position, attempts_in, read_position, to_strings
from stepflow.steps.retry_decision import Restart, decide_retry
from stepflow.steps.table import Table
from stepflow.steps.values import Attempts, CallTransition, Target

R = TypeVar("R")


class NeedsAwait(StepflowError):
    """The step, or an error handler around it, is async: only `aapply` or an engine can call it."""


class Advanced(NamedTuple):
    """The list of strings that apply returns, and the reason, one of those in `transitions`."""

    state: tuple[str, ...]
    reason: str


class Machine:
    """The compiled table of one chain; it has no state of its own, so threads may share it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.called: dict[str, CallTransition] = {}
        """The rows that `advance` has called, by the positions without attempts at which they were due."""

    def advance(self, state: list[str] | None, exchange: Any) -> Target | Advanced:
        """Call the user function that is due at `state` and return the next position; `state` is not changed.

        Raises the error of the function unless a retry group retries, UnknownState, NeedsEngine or NeedsAwait.
        """
        position = read_position(self.table, state)
        if position.row is None:
            return self.table.done
        row = self._callable(position.row, is_async=False)
        if not position.attempts:
            self.called[position.name] = row
        try:
            value = row.call(exchange)
        except Exception as error:  # noqa: BLE001 - raised again unless a retry group retries
            return self.after_error(row, error, exchange, position.attempts)
        return self._advanced(row.targets[row.check(value, exchange)], position.attempts)

    async def aadvance(self, state: list[str] | None, exchange: Any) -> Target | Advanced:
        """`advance` for sync and async functions."""
        position = read_position(self.table, state)
        if position.row is None:
            return self.table.done
        row = self._callable(position.row, is_async=True)
        try:
            value = row.call(exchange)
            if row.fn.is_async:
                value = await value
        except Exception as error:  # noqa: BLE001 - raised again unless a retry group retries
            return self._decided(await adrive(decide_retry(row, error, exchange, position.attempts)))
        return self._advanced(row.targets[row.check(value, exchange)], position.attempts)

    def after_error(self, row: CallTransition, error: Exception, exchange: Any, attempts: Attempts) -> Advanced:
        """The position at which a retry group around `row` starts again; raises the error if none does."""
        return self._decided(drive(decide_retry(row, error, exchange, attempts)))

    def _callable(self, row: CallTransition, *, is_async: bool) -> CallTransition:
        if row.event:
            raise NeedsEngine(
                f"{row.scope} waits for the event {row.event!r}, and plain apply has no events: start the flow on an "
                "Engine, or use wait_for with a condition of your own"
            )
        if row.transacted:
            raise NeedsEngine(f"{row.scope} needs a transaction of a store: start the flow on an Engine")
        if row.awaits and not is_async:
            reason = "is async" if row.fn.is_async else "is inside a retry group whose handler is async"
            raise NeedsAwait(f"{row.scope} {reason}: use `await flow.aapply(state, exchange)`")
        return row

    def _advanced(self, target: Target, attempts: Attempts) -> Target | Advanced:
        """The target, with the attempts of those groups that it does not leave."""
        if not attempts:
            return target
        next_row = self.table.row_at(target.position)
        attempts = attempts_in(next_row.retry_scope, attempts) if next_row else ()
        return Advanced(to_strings(target.position, attempts), target.reason) if attempts else target

    def _decided(self, decision: Restart | GiveUp) -> Advanced:
        if isinstance(decision, GiveUp):
            raise decision.error
        return Advanced(decision.state, "retry")

    def wait_s(self, position: Position) -> float:
        """Seconds that a caller of apply should wait at this position: the poll interval or the back-off, else 0."""
        row = position.row
        if row is not None and row.poll >= 0 and position.name == row.source:
            return row.every_s
        for group in row.retry_scopes() if row is not None else ():
            number = dict(position.attempts).get(group.scope, 1)
            if group.policy is not None and number > 1 and position.name == group.start:
                return group.policy.delay_s(number - 1, group.scope)
        return 0.0


def drive(deciding: Generator[Call, Any, R]) -> R:
    """Make the calls that the generator yields; returns the generator's return value."""
    try:
        call = next(deciding)
        while True:
            try:
                result = call.fn(*call.args)
            except Exception as error:  # noqa: BLE001 - the generator decides what to do with it
                call = deciding.throw(error)
            else:
                call = deciding.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def adrive(deciding: Generator[Call, Any, R]) -> R:
    """`drive` that awaits the async calls."""
    try:
        call = next(deciding)
        while True:
            try:
                result = call.fn(*call.args)
                if call.is_async:
                    result = await result
            except Exception as error:  # noqa: BLE001 - the generator decides what to do with it
                call = deciding.throw(error)
            else:
                call = deciding.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
