"""Flow, Task and Move: the protocol by which the engine advances the flows of every authoring style."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar, final

from attrs import define, field, frozen

from stepflow.model.codec import Codec
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import PASSES, Transition

I_contra = TypeVar("I_contra", contravariant=True)  # a flow for Base also takes a Derived
O_co = TypeVar("O_co", covariant=True)
MOST_PASSES = 256  # transitions with numbers of passes that a move keeps


@frozen
class FlowOptions:
    """How an engine treats the runs of a flow.

    `concurrency` limits the runs that one worker advances at the same time, `retry` is the policy for a run whose step
    raised, `hung_after_s` releases a claim without a commit for that many seconds, `max_crashes` is the number of processes
    that may die on a run before it fails, `upgrade` converts a stored exchange (`dict`) of an older version. `run_timeout_us` is the
    time limit of a whole run that is started without one; 0: none.
    """

    concurrency: int | None = None
    retry: RetryPolicy | None = None
    hung_after_s: float | None = None
    max_crashes: int = 3
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    run_timeout_us: int = 0


@final
@define
class Call:
    """One user function to be called, e.g. an error handler; `is_async` tells whether the result must be awaited,
    `limit_s` after how many seconds it fails with TimedOut.

    The receiver reads it before it resumes the generator that yielded it; the generator may then reuse the object.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    is_async: bool = False
    limit_s: float | None = None


@frozen(eq=False)
class GiveUp:
    """No retry group retries: the run fails with `error`, or its own policy retries it."""

    error: Exception


class Task(ABC):
    """The next user call of a run, found by its position; immutable and shared by all runs of the flow.

    `step` is the path below the flow's name (`"database/dump"`); `event` names the event whose payload the call needs
    (empty: none), `payload` restores it, `latch` and `timeout_s` belong to that wait; `is_async` tells whether `call`
    returns an awaitable, `polls` whether it is a condition that is called again.
    """

    __slots__ = ()

    step: str
    is_async: bool
    polls: bool
    event: str
    payload: Codec[Any] | None
    timeout_s: float | None
    limit_s: float | None  # of one call, in seconds
    transacted: bool  # whether it is call(exchange, connection), in a transaction of the store
    at_most_once: bool  # a call that was interrupted must not be repeated
    plain: bool  # whether it only is call(exchange): without an event or a transaction, and not at most once
    latch: bool
    call: Callable[..., Any]  # call(exchange), or call(exchange, payload) when `event` is set

    @abstractmethod
    def after_return(self, value: Any, exchange: Any) -> Move:
        """The Move that follows from the value that the call returned. Raises BadReturn when the value is not allowed."""

    @abstractmethod
    def after_error(
        self, error: Exception, exchange: Any, restore: Callable[[], Any] | None = None
    ) -> Generator[Call, Any, Move | GiveUp]:
        """Ask the retry groups: yields the calls of handlers, returns the Move of the first group that retries, else GiveUp.

        `exchange` is as the failed step left it. `restore()` makes and returns the exchange of the last commit: each handler
        gets one, and a Move leads on with the newest one. Without it handlers get `exchange`.
        """


@frozen(eq=False)
class Passes:
    """What a move within loops, or into or out of them, does to the numbers of their passes.

    So many of the loops around the last step, the outermost first, go on around the next one; `begins`: the innermost of these begins anew.
    """

    loops: int
    begins: bool = False
    _made: dict[str, tuple[str, Transition]] = field(init=False, factory=dict, repr=False)  # many runs share them

    def noted(self, transition: Transition, before: Transition) -> tuple[str, Transition]:
        """The numbers after the move to this transition from the one before, and the transition with them."""
        numbers = before.annotations.get(PASSES, "")
        made = self._made.get(numbers)
        if made is None:
            text = self.after(numbers)
            made = text, Transition(transition.to, {**transition.annotations, PASSES: text}) if text else transition
            if len(self._made) >= MOST_PASSES:
                self._made.clear()
            self._made[numbers] = made
        return made

    def after(self, numbers: str) -> str:
        """The numbers after the move, of those before it: `"0.2"`, empty if all are zero."""
        found = [int(number) for number in numbers.split(".")[: self.loops]] if numbers else []
        if self.begins:
            found += [0] * (self.loops - len(found))
            found[-1] += 1
        while found and not found[-1]:
            del found[-1]
        return ".".join(map(str, found))


@frozen
class Move:
    """The result of a task: the next transition, and the tasks at its position (none: the run has ended). A step flow has one.

    `delay_s` is the time in seconds before they may start. `stays` is true for a poll whose condition is not met yet:
    if the exchange did not change either, there is nothing to commit. `attempt` is the number of the next attempt of the
    innermost retry group with a policy around the task, from 1. `uncounted` is true for a retry by a
    handler: nothing limits their number, so the event of the step that failed is used up, or the next try would get it again.
    `passes` is None if the steps before and after it are in no loop.
    """

    transition: Transition
    tasks: tuple[Task, ...]
    delay_s: float = 0.0
    stays: bool = False
    attempt: int = 1
    uncounted: bool = False
    passes: Passes | None = None
    immediate: bool = field(init=False)  # whether the tasks may start at once and have no time limit

    @immediate.default
    def _immediate(self) -> bool:
        if not self.tasks or self.stays or self.delay_s:
            return False
        return all(task.timeout_s is None for task in self.tasks)


class Flow(ABC, Generic[I_contra, O_co]):
    """A definition that an engine can advance, with the types of its input and of its result; it carries its own name.

    In a chain both are the exchange.
    """

    name: str
    codec: Codec[I_contra]  # of the input
    options: FlowOptions
    definition: str  # hash: workers with the same value have the same positions and the same exchange
    inline: (
        bool  # True when no step is async or has a time limit: its runs are advanced in threads, without the event loop
    )
    kind: ClassVar[str] = "flow"
    waits: ClassVar[bool] = False  # whether its runs may wait at a position, for an event or a condition
    transacted: tuple[
        tuple[str, bool], ...
    ] = ()  # its functions that need a transaction of the store: where, whether async
    events: frozenset[str] = frozenset()  # the names of the events that its runs wait for

    if not TYPE_CHECKING:  # a type checker refuses the call

        def __call__(self, *_args: Any, **_given: Any) -> NoReturn:
            raise TypeError(
                f"{self!r} is a flow, which is not called: engine.start(flow, input) starts a run of it, in a workflow wf.start_child(key, flow,"
                " input); a test starts it in an Engine('memory://', clock=VirtualClock()) and calls run_until_idle()"
            )

    @property
    def available(self) -> bool:
        """Whether a worker that has registered it may claim runs of it now."""
        return True

    @property
    def result_codec(self) -> Codec[O_co]:
        """Restores the result, the exchange of the last revision."""
        return self.codec  # type: ignore[return-value]  # a style whose result has another type has another codec

    def refuse_types(self) -> None:
        """Raise DefinitionError if the input or the result has a type that cannot be stored; `register` calls it.

        A style that checks them when the flow is made has nothing to do.
        """

    @abstractmethod
    def first(self) -> Move:
        """The first Move of a new run."""

    @abstractmethod
    def resume(self, transition: Transition) -> Move:
        """The Move that leads to a stored transition (the same object is in the Move); raises UnknownState."""

    def step_path(self, name: str) -> str:
        """What a task calls the step of this name, as users may say it."""
        return name

    def waits_at(self, transition: Transition) -> bool:  # noqa: ARG002
        """Whether a run that waits at this transition waits there as this definition says."""
        return True

    def payload_type(self, event: str) -> Any:  # noqa: ARG002
        """The type of the payload that a wait of this flow takes with an event of this name; Any if the definition does not tell."""
        return Any

    def event_problem(self, name: str, payload: str) -> str:  # noqa: ARG002
        """Why no wait of this flow takes an event of this name with this payload (JSON text); empty if one does."""
        return ""
