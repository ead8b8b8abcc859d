"""What follows when a user function raised: the retry groups around it are asked, the innermost first.

One generator decides for plain apply, its async twin and the engine: it yields the handlers' calls and is sent results.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from attrs import frozen

from stepflow.model.flow import Call
from stepflow.steps.position import kept, strings
from stepflow.steps.return_value import BadReturn, bad_bool
from stepflow.steps.values import Attempts, CallTransition, Fn, RetryScope


@frozen
class Again:
    """A group is begun again, after `delay_s`; `attempts` are those of the new position, `attempt` this group's own."""

    guard: RetryScope
    attempts: Attempts
    attempt: int = 1
    delay_s: float = 0.0

    @property
    def position(self) -> tuple[str, ...]:
        """Where the run is then."""
        return strings(self.guard.event, self.attempts)


@frozen(eq=False)
class Gone:
    """No group wants to try again: `error` is to be raised."""

    error: Exception


def ask_guards(
    row: CallTransition, error: Exception, exchange: Any, attempts: Attempts
) -> Generator[Call, Any, Again | Gone]:
    """Ask the handlers and policies around `row`; never raises, so that any error class can be handed on."""
    if isinstance(error, BadReturn):
        return Gone(error)
    forgotten = exchange is None and row.fn.wants_exchange and isinstance(error, (AttributeError, TypeError))
    noted(error, f"in step {row.scope}" + (", which takes the exchange, but none was given" if forgotten else ""))
    for guard in row.guards():
        if guard.policy is not None:
            again = _by_policy(guard, error, attempts)
        elif guard.handler is not None:
            try:
                yes = yield _call(guard.handler, exchange, error)
            except Exception as replacement:  # noqa: BLE001 - whatever the handler raises replaces the error
                replacement.__context__ = replacement.__context__ or error
                error, again = noted(replacement, f"in the error handler of {guard.scope}"), None
            else:
                if not isinstance(yes, bool):
                    return Gone(_chained(bad_bool(guard.scope, "the error handler", yes), error))
                again = Again(guard, kept(attempts, guard.outer)) if yes else None
        if again is not None:
            return again
    return Gone(error)


def _by_policy(guard: RetryScope, error: Exception, attempts: Attempts) -> Again | None:
    policy, number = guard.policy, dict(attempts).get(guard.scope, 1)
    if policy is None or not policy.allows(number, error):
        return None
    around = kept(attempts, guard.outer)
    return Again(guard, ((guard.scope, number + 1), *around), number + 1, policy.delay_s(number, guard.scope))


def _call(handler: Fn, exchange: Any, error: Exception) -> Call:
    return Call(handler.raw, (exchange, error) if handler.wants_exchange else (error,), handler.is_async)


def _chained(error: BadReturn, cause: Exception) -> BadReturn:
    error.__cause__ = cause
    return error


def noted(error: Exception, note: str) -> Exception:
    """The error with the note added, unless it has it already (one object may be raised many times)."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error
