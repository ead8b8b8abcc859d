"""Steps: the immutable chain that a flow is written in; every method returns a new chain with one more step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.keywords import RUN_TIMEOUT, keywords
from stepflow.model.options import read_options
from stepflow.model.retry import RetryPolicy
from stepflow.steps.chain import Chain
from stepflow.steps.exchange import UnstorableExchange, type_problem
from stepflow.steps.flow import StepFlow
from stepflow.steps.invalid import Invalid
from stepflow.steps.kinds.base import Node
from stepflow.steps.kinds.case import Case
from stepflow.steps.kinds.do import Do
from stepflow.steps.kinds.loop_until import LoopUntil
from stepflow.steps.kinds.retry import Retry
from stepflow.steps.kinds.sequence import Child, Sequence
from stepflow.steps.kinds.wait_event import WaitEvent
from stepflow.steps.kinds.wait_for import WaitFor
from stepflow.steps.table import compile_table

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)
P = TypeVar("P")
Duration = float | timedelta
BoolResult = bool | Awaitable[bool]
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


if TYPE_CHECKING:
    from types import UnionType
    from typing import _SpecialForm

    TypeForm = UnionType | _SpecialForm  # `str | None`, Literal["yes", "no"]: mypy does not take them for a type[P]


class Steps(Generic[E_contra]):
    """A chain of steps over an exchange of type `E`: `Steps(E)` begins a fragment, `named(name, E)` a flow.

    A chain never changes: every method returns a new one, so a fragment can be used in many places and extended in many
    ways. Nothing is checked before `compile`, which reports all mistakes together.

    Functions may be sync or async. They may take the exchange or not: the number of *required
    positional* parameters decides, so `lambda i=i: send(i)` is a step without exchange, and `*args` takes everything. They
    change the exchange in place; a condition must return a bool. What a step returns is ignored, but another object of the
    exchange's type (it would be lost), an awaitable or a generator (nothing of it has run) fails the step.
    """

    __slots__ = ("_chain",)

    @overload
    def __init__(self: Steps[Any]) -> None: ...
    @overload
    def __init__(self, exchange: type[E_contra]) -> None: ...
    def __init__(self, exchange: Any = None) -> None:
        self._chain = Chain("steps", exchange)

    def __repr__(self) -> str:
        return f"<Steps {self._chain.name}: {len(self._chain.children())} children>"

    @property
    def chain(self) -> Chain:
        """The chain so far: name, exchange type and children."""
        return self._chain

    @classmethod
    def of(cls, chain: Chain) -> Steps[E_contra]:
        """The Steps of an existing chain."""
        steps = cls.__new__(cls)
        steps._chain = chain  # noqa: SLF001 - its own class
        return steps

    @overload
    def do(
        self,
        name: str,
        fn: Callable[[E_contra], object] | Callable[[], object],
        *,
        timeout: Duration | None = None,
        transaction: Literal[False] = False,
        at_most_once: bool = False,
    ) -> Steps[E_contra]: ...
    @overload
    def do(
        self,
        name: str,
        fn: Callable[[E_contra, Any], object] | Callable[[Any], object],
        *,
        timeout: Duration | None = None,
        transaction: Literal[True],
    ) -> Steps[E_contra]: ...
    @keywords(
        retry='wrap the step, .retry("payment", RetryPolicy(max_attempts=3), Steps().do("charge", charge)), or give retry= to compile()'
    )
    def do(
        self,
        name: str,
        fn: Callable[..., object],
        *,
        timeout: Duration | None = None,
        transaction: bool = False,
        at_most_once: bool = False,
    ) -> Steps[E_contra]:
        """Call `fn(exchange)` once. Scope `<parent>/<name>`.

        `timeout` (seconds or timedelta) limits each attempt: one that has not ended by then fails with TimedOut, which retries
        handle like any error. An async function is cancelled. A sync one goes on in its thread: its result is refused, and a
        retry may overlap it. Plain `apply` never times out.
        With `transaction=True` it is `fn(exchange, connection)`: what it writes through the connection, to tables in the store of the
        run, is committed together with the position, or not at all. A `sqlite3.Connection`, or psycopg's; on SQLite `timeout` is 5 s then.

        With `at_most_once` a call that was interrupted (by a death, a stop, its time limit or the loss of its claim) is not made
        again: the run is blocked until `run.resolve` or `run.resolve_failed` says how it ended. A call that raised has failed as
        usual: a retry makes another one. A cancel lets the call end.
        """
        return self._append(name, Do(fn, timeout, transaction, at_most_once))

    @keywords()
    def wait_for(
        self,
        name: str,
        condition: Callable[[E_contra], BoolResult] | Callable[[], BoolResult],
        every: Duration = 1.0,
        timeout: Duration | None = None,
    ) -> Steps[E_contra]:
        """Call `condition(exchange) -> bool` every `every` seconds until it is True. Scope `<parent>/<name>WaitFor`.

        `timeout` (seconds or timedelta, counted from the arrival at this step) raises TimedOut here; a retry group around it
        handles that like any error. Plain `apply` checks once per call and never times out; `wait_s` returns the interval.
        """
        return self._append(name, WaitFor(condition, every, timeout))

    @overload
    def wait_event(
        self,
        name: str,
        event: str,
        type: type[P],
        then: Callable[[E_contra, P], object] | Callable[[P], object],
        timeout: Duration | None = None,
        *,
        latch: bool = False,
    ) -> Steps[E_contra]: ...
    @overload
    def wait_event(
        self,
        name: str,
        event: str,
        type: TypeForm,
        then: Callable[[E_contra, Any], object] | Callable[[Any], object],
        timeout: Duration | None = None,
        *,
        latch: bool = False,
    ) -> Steps[E_contra]: ...
    @keywords()
    def wait_event(
        self,
        name: str,
        event: str,
        type: Any,  # noqa: A002 - the payload's type, as pinned
        then: Callable[..., object],
        timeout: Duration | None = None,
        *,
        latch: bool = False,
    ) -> Steps[E_contra]:
        """Wait until `event` is published to the run, then call `then(exchange, payload)`. Scope `<parent>/<name>WaitEvent`.

        Each event is taken once, in the order of publishing; with `latch` only the newest one is kept. `timeout` raises
        TimedOut here. Needs an engine: plain `apply` raises NeedsEngine.
        """
        return self._append(name, WaitEvent(event, type, then, timeout, latch))

    def steps(self, name: str, inner: Steps[E_contra]) -> Steps[E_contra]:
        """Run `inner` as a group. Scope `<parent>/<name>`; the children are directly below."""
        return self._append(name, _node(inner))

    def case(
        self, name: str, condition: Callable[[E_contra], BoolResult] | Callable[[], BoolResult], inner: Steps[E_contra]
    ) -> Steps[E_contra]:
        """Run `inner` if `condition(exchange)` is True. Scope `<parent>/<name>Case`, children below `…Case/steps`."""
        return self._append(name, Case(condition, _node(inner)))

    def retry(
        self,
        name: str,
        on_error: Callable[[E_contra, Exception], BoolResult] | Callable[[Exception], BoolResult] | RetryPolicy,
        inner: Steps[E_contra],
    ) -> Steps[E_contra]:
        """Run `inner`; run it again when a step in it raised and `on_error(exchange, error)` returns True.

        With a RetryPolicy the attempts are counted in the position. If the group does not retry, the retry group around it
        is asked, and `apply` raises the error if none does; an error raised by the handler replaces it. In an engine the
        handler gets the exchange of the last commit, and only its changes are saved; plain `apply` cannot restore it. Scope
        `<parent>/<name>Retry`, children directly below.
        """
        return self._append(name, Retry(on_error, _node(inner)))

    def loop_until(
        self, name: str, condition: Callable[[E_contra], BoolResult] | Callable[[], BoolResult], inner: Steps[E_contra]
    ) -> Steps[E_contra]:
        """Run `inner`, at least once, until `condition(exchange)` is True.

        Scope `<parent>/<name>LoopUntil`, children below `…LoopUntil/steps`.
        """
        return self._append(name, LoopUntil(condition, _node(inner)))

    @keywords(timeout=RUN_TIMEOUT, deadline=RUN_TIMEOUT)
    def compile(
        self,
        concurrency: int | None = None,
        retry: RetryPolicy | None = None,
        hung_after: Duration | None = None,
        max_crashes: int = 3,
        upgrade: Upgrade | None = None,
        run_timeout: Duration | None = None,
    ) -> StepFlow[E_contra]:
        """The runnable flow. Raises one DefinitionError that lists every mistake with its path.

        `concurrency` limits the runs that one worker advances at a time, `retry` is the policy for a run whose step raised,
        `hung_after` (seconds or timedelta) releases a claim that made no commit for that long, `max_crashes` is the number
        of processes that may die on a run before it fails, `upgrade(raw) -> raw` converts a stored exchange of an older
        version before it is restored. A run that has not ended `run_timeout` (seconds or timedelta) after it was due first fails
        with TimedOut, wherever it is; `start` can give it another one.
        """
        chain = self._chain
        options, problems = read_options(chain.name, concurrency, retry, hung_after, max_crashes, upgrade, run_timeout)
        if problem := type_problem(chain.exchange):
            problems.append(f"{chain.name}: {problem}, as in named({chain.name!r}, Order)")
        try:
            table = compile_table(chain.name, _node(self))
        except DefinitionError as error:
            raise DefinitionError([*error.problems, *problems]) from None
        if problems:
            raise DefinitionError(problems)
        flow: StepFlow[E_contra] = StepFlow(table, chain.exchange, options)
        try:
            flow.refuse_exchange()
        except CodecError as error:
            raise UnstorableExchange(f"{chain.name}: {error}") from error
        return flow

    def _append(self, name: str, node: Node) -> Steps[E_contra]:
        return self.of(self._chain.append(Child(name, node)))


@overload
def named(name: str) -> Steps[Any]: ...
@overload
def named(name: str, exchange: type[E]) -> Steps[E]: ...
@overload
def named(name: str, exchange: TypeForm) -> Steps[Any]: ...
def named(name: str, exchange: Any = None) -> Steps[Any]:
    """Begin a flow: `name` is the first part of all positions, e.g. "deploy.v1"; it may contain "/" but no ":".

    `exchange` is the type of the object that the steps receive. Without it the flow uses the type that all annotated
    functions share, else plain JSON values.
    """
    return Steps.of(Chain(name, exchange))


def _node(inner: Any) -> Node:
    return Sequence(inner.chain.children()) if isinstance(inner, Steps) else Invalid(inner)
