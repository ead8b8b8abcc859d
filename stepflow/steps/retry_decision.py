"""Decides what follows when a user function raised: asks the retry groups around it, the innermost first.

One generator decides for plain apply, for aapply and for the engine: it yields the calls of handlers and is sent their results.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from attrs import frozen

from stepflow.model.flow import Call
from stepflow.steps.position import attempts_in, to_strings
from stepflow.steps.return_value import BadReturn, bad_bool
from stepflow.steps.values import Attempts, CallTransition, Fn, RetryScope


@frozen
class Restart:
    """A group starts again after `delay_s`; `attempts` belong to the new position, `attempt` is the number of this group's."""

    group: RetryScope
    attempts: Attempts
    attempt: int = 1
    delay_s: float = 0.0

    @property
    def state(self) -> tuple[str, ...]:
        """The list of strings that apply returns for the new position."""
        return to_strings(self.group.start, self.attempts)


@frozen(eq=False)
class GiveUp:
    """No group retries: the caller raises `error`."""

    error: Exception


def decide_retry(
    row: CallTransition, error: Exception, exchange: Any, attempts: Attempts
) -> Generator[Call, Any, Restart | GiveUp]:
    """Ask the handlers and policies around `row`; never raises, so that errors of any class can be returned."""
    if isinstance(error, BadReturn):
        return GiveUp(error)
    missing = exchange is None and row.fn.wants_exchange and isinstance(error, (AttributeError, TypeError))
    add_note_once(error, f"in step {row.scope}" + (", which takes the exchange, but none was given" if missing else ""))
    for group in row.retry_scopes():
        if group.policy is not None:
            restart = _by_policy(group, error, attempts)
        elif group.handler is not None:
            try:
                retry = yield _call(group.handler, exchange, error)
            except Exception as replacement:  # noqa: BLE001 - an error of the handler replaces the step's error
                replacement.__context__ = replacement.__context__ or error
                error, restart = add_note_once(replacement, f"in the error handler of {group.scope}"), None
            else:
                if not isinstance(retry, bool):
                    return GiveUp(_with_cause(bad_bool(group.scope, "the error handler", retry), error))
                restart = Restart(group, attempts_in(group.outer, attempts)) if retry else None
        if restart is not None:
            return restart
    return GiveUp(error)


def _by_policy(group: RetryScope, error: Exception, attempts: Attempts) -> Restart | None:
    policy, number = group.policy, dict(attempts).get(group.scope, 1)
    if policy is None or not policy.allows(number, error):
        return None
    outer = attempts_in(group.outer, attempts)
    return Restart(group, ((group.scope, number + 1), *outer), number + 1, policy.delay_s(number, group.scope))


def _call(handler: Fn, exchange: Any, error: Exception) -> Call:
    return Call(handler.raw, (exchange, error) if handler.wants_exchange else (error,), handler.is_async)


def _with_cause(error: BadReturn, cause: Exception) -> BadReturn:
    error.__cause__ = cause
    return error


def add_note_once(error: Exception, note: str) -> Exception:
    """The error, with the note added unless it has this note already (one object may be raised many times)."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error
