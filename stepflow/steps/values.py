"""The values of a compiled chain: exits, rows, hops and guards. A machine is a table of these and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import field, frozen

from stepflow.model.retry import RetryPolicy

Check = Callable[[Any, Any], int]
"""judge(value, exchange): which exit of the row the returned value stands for. Raises BadReturn."""


@frozen
class Target:
    """One way out of a row: the event it leads to, and why."""

    event: str
    reason: str
    position: tuple[str, ...] = field(init=False)

    @position.default
    def _single(self) -> tuple[str, ...]:
        return (self.event,)


@frozen(eq=False)
class Fn:
    """A user function as the machine calls it: `call` always takes the full list of arguments.

    `wants_exchange` tells whether the user's function takes the exchange, `raw` is what the user gave.
    """

    raw: Any
    call: Callable[..., Any]
    wants_exchange: bool
    is_async: bool


@frozen(eq=False)
class RetryScope:
    """A retry group around rows: asks `handler`, or follows `policy`, when one of them raises. `outer` is asked next."""

    scope: str
    handler: Fn | None
    policy: RetryPolicy | None
    outer: RetryScope | None

    @property
    def event(self) -> str:
        """The position that a retry goes back to."""
        return f"start:{self.scope}"

    def chain(self) -> Iterator[RetryScope]:
        """This guard, then the ones around it."""
        guard: RetryScope | None = self
        while guard is not None:
            yield guard
            guard = guard.outer


@frozen(eq=False)
class CallTransition:
    """A dynamic transition: at event `source` one user function is called, and `judge` picks one of `exits`.

    `awaits` is true when the function or one of the handlers around it is async. `poll` is the exit that is a failed
    check, -1 if there is none, and `every_s` the seconds until the next check. `event` names the event whose payload,
    of type `payload`, the call needs. `only` is the event of the exit, empty if there are several: a function that returns
    nothing leads there without being judged.
    """

    source: str
    scope: str
    kind: str
    fn: Fn
    judge: Check
    exits: tuple[Target, ...]
    guard: RetryScope | None = None
    poll: int = -1
    every_s: float = 0.0
    event: str = ""
    payload: Any = None
    latch: bool = False
    timeout_s: float | None = None
    call: Callable[..., Any] = field(init=False)
    awaits: bool = field(init=False)
    only: str = field(init=False)

    @call.default
    def _call(self) -> Callable[..., Any]:
        return self.fn.call

    @awaits.default
    def _awaits(self) -> bool:
        handlers = (guard.handler for guard in self.guards())
        return self.fn.is_async or any(handler is not None and handler.is_async for handler in handlers)

    @only.default
    def _only(self) -> str:
        return self.exits[0].event if len(self.exits) == 1 else ""

    def guards(self) -> Iterator[RetryScope]:
        """The retry groups around this row, the innermost first."""
        return iter(()) if self.guard is None else self.guard.chain()


@frozen(eq=False)
class StaticTransition:
    """A static transition: from `source` the machine goes on to its only exit without calling anything."""

    source: str
    exits: tuple[Target]
    guard: RetryScope | None = None

    def guards(self) -> Iterator[RetryScope]:
        """The retry groups around this hop, the innermost first."""
        return iter(()) if self.guard is None else self.guard.chain()


Attempts = tuple[tuple[str, int], ...]
"""(scope of a retry group, number of the attempt that is going on) of each group that failed before, innermost first."""
