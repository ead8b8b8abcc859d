"""The values of a compiled chain: kinds, targets, transitions and retry scopes. A machine is a table of these, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from attrs import field

from stepflow.model.retry import RetryPolicy
from stepflow.steps.quick import frozen

Check = Callable[[Any, Any], int]
"""check(value, exchange): the index of the target that the returned value selects. Raises BadReturn."""

Attempts = tuple[tuple[str, int], ...]
"""(scope of a retry group, number of its current attempt) of each group that failed before, innermost first."""


@frozen
class Shape:
    """How diagrams draw the box of a step: the shape in Graphviz, and the brackets around the label in Mermaid."""

    dot: str
    mermaid: tuple[str, str]


BOX = Shape("box", ("[", "]"))
DIAMOND = Shape("diamond", ("{", "}"))
HEXAGON = Shape("hexagon", ("{{", "}}"))
PARALLELOGRAM = Shape("parallelogram", ("[/", "/]"))


DONE = "completed"  # why a step that only calls a function is left


class Kind:
    """What positions and diagrams need to know about a kind of step; each class in `steps/kinds` sets its own values.

    `verb` is the method of Steps, `suffix` is what the chain appends to the user's name to make the scope's name, `label`
    precedes the name in a text diagram, `shape` draws the step that calls a function (groups have no box of their own).
    """

    verb: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    label: ClassVar[str] = ""
    shape: ClassVar[Shape] = BOX


@frozen
class Target:
    """One way out of a transition: the position that it leads to, and why."""

    position: str
    reason: str

    @property
    def state(self) -> tuple[str, ...]:
        """The list that apply returns for it."""
        return (self.position,)


@frozen(eq=False)
class Fn:
    """A user function as the machine calls it: `call` always takes the full list of arguments.

    `wants_exchange` tells whether the user's function takes the exchange, `raw` is the function that the user gave.
    """

    raw: Any
    call: Callable[..., Any]
    wants_exchange: bool
    is_async: bool


@frozen(eq=False)
class RetryScope:
    """A retry group: when a step inside raises, it asks `handler` or follows `policy`; if it declines, `outer` is asked."""

    scope: str
    kind: type[Kind]
    handler: Fn | None
    policy: RetryPolicy | None
    outer: RetryScope | None

    @property
    def start(self) -> str:
        """The position that a retry returns to."""
        return f"start:{self.scope}"

    def outwards(self) -> Iterator[RetryScope]:
        """This group, then the groups around it."""
        group: RetryScope | None = self
        while group is not None:
            yield group
            group = group.outer


def awaits_handlers(group: RetryScope | None) -> bool:
    """Whether one of the handlers of this group, and of those around it, is async."""
    while group is not None:
        if group.handler is not None and group.handler.is_async:
            return True
        group = group.outer
    return False


@frozen(eq=False)
class CallTransition:
    """A dynamic transition: at position `source` the machine calls one user function, and `check` selects one of `targets`.

    `poll` is the index of the target of a condition that is not met yet, -1 if there is none, and `every_s` the seconds until
    the next call. `event` names the event whose payload, of type `payload`, the call needs. `limit_s` is the time limit of one
    call, `at_most_once` forbids to repeat one that was interrupted. A `transacted` function gets a connection, too. `only` is
    the position of the target, empty if there are several: a function that returns None leads there without a check.
    """

    source: str
    scope: str
    kind: type[Kind]
    fn: Fn
    check: Check
    targets: tuple[Target, ...]
    retry_scope: RetryScope | None = None
    poll: int = -1
    every_s: float = 0.0
    event: str = ""
    payload: Any = None
    latch: bool = False
    timeout_s: float | None = None
    limit_s: float | None = None
    transacted: bool = False
    at_most_once: bool = False
    call: Callable[..., Any] = field(init=False)
    only: str = field(init=False)

    @call.default
    def _call(self) -> Callable[..., Any]:
        return self.fn.call

    @only.default
    def _only(self) -> str:
        return self.targets[0].position if len(self.targets) == 1 else ""

    @property
    def awaits(self) -> bool:
        """Whether the function or one of the handlers around it is async."""
        return self.fn.is_async or awaits_handlers(self.retry_scope)

    def retry_scopes(self) -> Iterator[RetryScope]:
        """The retry groups around this step, the innermost first."""
        return iter(()) if self.retry_scope is None else self.retry_scope.outwards()


@frozen(eq=False)
class StaticTransition:
    """A static transition: from `source` the machine moves to the position `target` without a call."""

    source: str
    target: str
    retry_scope: RetryScope | None = None

    @property
    def targets(self) -> tuple[Target]:
        """The only way out."""
        return (Target(self.target, "static"),)

    def retry_scopes(self) -> Iterator[RetryScope]:
        """The retry groups around this transition, the innermost first."""
        return iter(()) if self.retry_scope is None else self.retry_scope.outwards()
