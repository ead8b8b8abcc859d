"""Flow, Task and Move: the one small protocol through which the engine advances every authoring style."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, ClassVar, Generic, TypeVar, final

from attrs import define, field, frozen

from stepflow.model.codec import Codec
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import Transition

E_contra = TypeVar("E_contra", contravariant=True)  # a flow for Base also takes a Derived


@frozen
class FlowOptions:
    """How an engine treats the runs of a flow.

    `concurrency` limits the runs that one worker advances at the same time, `retry` is the policy for a run whose step
    raised, `hung_after_s` frees a claim without a commit for that many seconds, `max_crashes` is how many processes a run
    may take down before it is failed, `upgrade` maps a stored exchange (`dict`) of an older version before it is restored.
    """

    concurrency: int | None = None
    retry: RetryPolicy | None = None
    hung_after_s: float | None = None
    max_crashes: int = 3
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@final
@define
class Call:
    """One user function to be called, e.g. an error handler; `is_async` tells whether the result must be awaited.

    It is taken up by whoever gets it before its maker goes on, who may then use it again.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    is_async: bool = False


class Task(ABC):
    """The next user call of a run, found by its position; immutable and shared by all runs of the flow.

    `step` is the path below the flow's name (`"database/dump"`); `event` names the event whose payload the call needs
    (empty: none), `payload` restores it, `latch` and `timeout_s` belong to that wait; `is_async` tells whether `call`
    returns an awaitable.
    """

    __slots__ = ()

    step: str
    is_async: bool
    event: str
    payload: Codec[Any] | None
    timeout_s: float | None
    latch: bool
    call: Callable[..., Any]  # call(exchange), or call(exchange, payload) when `event` is set

    @abstractmethod
    def settle(self, value: Any, exchange: Any) -> Move:
        """What follows from the value that the call returned. Raises when the value is not acceptable."""

    @abstractmethod
    def recover(self, error: Exception, exchange: Any) -> Generator[Call, Any, Move]:
        """Ask the error handlers: yields their calls, returns the Move of the first that says yes, else raises."""


@frozen
class Move:
    """What a finished task leads to: the next transition, and the task that begins there (None: the run has ended).

    `delay_s` is the time before that task may begin. `stays` is true for a poll whose condition is not met yet: if the
    exchange did not change either, there is nothing to commit. `attempt` is which try of the task's retry group comes
    next, from 1.
    """

    transition: Transition
    task: Task | None
    delay_s: float = 0.0
    stays: bool = False
    attempt: int = 1
    goes_on: bool = field(init=False)  # whether the task may begin at once and has all the time that it wants

    @goes_on.default
    def _goes_on(self) -> bool:
        return self.task is not None and not self.stays and not self.delay_s and self.task.timeout_s is None


class Flow(ABC, Generic[E_contra]):
    """A definition that an engine can advance, with exchange type `E_contra`; it carries its own name."""

    name: str
    codec: Codec[E_contra]  # of the exchange
    options: FlowOptions
    definition: str  # hash: two workers with the same one know the same positions and the same exchange
    inline: bool  # True when no step is async: its runs are advanced in threads, without the event loop
    kind: ClassVar[str] = "flow"

    @abstractmethod
    def first(self) -> Move:
        """Where a new run begins."""

    @abstractmethod
    def resume(self, transition: Transition) -> Move:
        """The Move that a stored transition stands for (its `transition` is returned unchanged); raises UnknownState."""
