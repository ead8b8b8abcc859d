"""Decides what follows when a user function raised: asks the retry groups around it, the innermost first.

One generator decides for plain apply, for aapply and for the engine: it yields the calls of handlers and is sent their results.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from attrs import frozen

from stepflow.model.error_text import add_note_once, set_context
from stepflow.model.flow import Call, GiveUp
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


def decide_retry(
    row: CallTransition,
    error: Exception,
    exchange: Any,
    attempts: Attempts,
    restore: Callable[[], Any] | None = None,
) -> Generator[Call, Any, Restart | GiveUp]:
    """Ask the handlers and policies around `row`; raises only what `restore` raises, so that errors of any class can be returned.

    `exchange` is as the failed step left it. Handlers get that of the last commit from `restore`; plain apply has none, and
    gives them what the step left.
    """
    if issubclass(type(error), BadReturn):
        return GiveUp(error)
    missing = exchange is None and row.fn.wants_exchange and issubclass(type(error), (AttributeError, TypeError))
    add_note_once(error, f"in step {row.scope}" + (", which takes the exchange, but none was given" if missing else ""))
    for group in row.retry_scopes():
        if group.policy is not None:
            restart = _by_policy(group, error, attempts)
            if restart is not None and restore is not None:
                restore()
        elif group.handler is not None:
            if restore is not None:
                exchange = restore()
            try:
                retry = yield _call(group.handler, exchange, error)
            except Exception as replacement:  # noqa: BLE001 - an error of the handler replaces the step's error
                set_context(replacement, error)
                add_note_once(replacement, f"in the error handler of {group.scope}")
                error, restart = replacement, None
            else:
                if type(retry) is not bool:
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
