"""Workflow: a flow that is one plain function, whose durable calls are replayed; made by the decorator `workflow`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import cached_property
from types import NoneType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, overload

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.codec import Codec
from stepflow.model.definition import code_text, stored_fields
from stepflow.model.durations import seconds
from stepflow.model.flow import Flow, FlowOptions, Move
from stepflow.model.generators import generator_problem
from stepflow.model.keywords import RUN_TIMEOUT, keywords
from stepflow.model.options import read_options
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import STYLE, Transition
from stepflow.replay.async_context import AsyncContext
from stepflow.replay.context import Context
from stepflow.replay.step import hints, result_codec

In = TypeVar("In")
Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)
CANCEL_GRACE = timedelta(hours=1)
Atomic = Literal["", "rollback", "commit"]
"""What becomes of the writes of an attempt that fails; empty if an attempt is no transaction."""
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_FORMS = "fn(wf: Context) or fn(wf: Context, input: Order), with AsyncContext if it is async"


class Runs(Protocol[In_contra, Out_co]):
    """An object that is a workflow: `run` may use its clients and settings."""

    def run(self, wf: Context, input: In_contra, /) -> Out_co: ...  # noqa: A002


class AsyncRuns(Protocol[In_contra, Out_co]):
    """An object that is an async workflow."""

    def run(self, wf: AsyncContext, input: In_contra, /) -> Coroutine[Any, Any, Out_co]: ...  # noqa: A002


class RunsAlone(Protocol[Out_co]):
    """An object that is a workflow without an input."""

    def run(self, wf: Context, /) -> Out_co: ...


class AsyncRunsAlone(Protocol[Out_co]):
    """An object that is an async workflow without an input."""

    def run(self, wf: AsyncContext, /) -> Coroutine[Any, Any, Out_co]: ...


class Workflow(Flow[In_contra, Out_co]):
    """The flow that `@workflow("signup/v1")` makes of a function `fn(wf, input)`, or of an object with such a method `run`."""

    kind: ClassVar[str] = "workflow"

    def __init__(self, name: str, given: Any, options: FlowOptions, cancel_grace_s: float, atomic: Atomic) -> None:
        self.name, self.options, self.given, self.cancel_grace_s = name, options, given, cancel_grace_s
        self.atomic = atomic
        self.fn: Callable[..., Any] = _function(name, given)
        self.is_async = inspect.iscoroutinefunction(self.fn)
        self.inline = False
        self.transacted = ((name, self.is_async),) if atomic else ()
        self.input = _input(name, self.fn)
        self._first = Transition(name, {STYLE: self.kind})
        self.__doc__ = given.__doc__

    def __repr__(self) -> str:
        return f"<Workflow {self.name}>"

    def call(self, wf: Any, value: Any) -> Any:
        """Call the function with the input, if it takes one."""
        return self.fn(wf, value) if self.input else self.fn(wf)

    @cached_property
    def codec(self) -> Codec[Any]:  # type: ignore[override]  # made on first use: its module may define a type later
        """Reads and writes the input. Raises CodecError if its type cannot be stored."""
        if not self.input:
            hint = f"workflow {self.name!r} takes no input: its second parameter is that, if it has no default value"
            return Codec(NoneType, hint=hint)
        type_ = self._hints.get(self.input, Any)
        hint = f"annotate the input of workflow {self.name!r} with its type"
        return Codec(type_, hint=hint if type_ is Any else "")

    @cached_property
    def result_codec(self) -> Codec[Any]:
        """Reads and writes the result."""
        return result_codec(self.fn)

    @cached_property
    def definition(self) -> str:  # type: ignore[override]
        """SHA-256 (hex) of the name, of the function's code, and of the fields of input and result."""
        types = [*stored_fields(self._hints.get(self.input)), *stored_fields(self._hints.get("return"))]
        return hashlib.sha256(json.dumps([self.name, code_text(self.fn), *types]).encode()).hexdigest()

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return hints(self.fn)
        except DefinitionError as error:
            raise CodecError(f"workflow {self.name!r}: {error}") from error

    def refuse_types(self) -> None:
        """Raise DefinitionError, with the path, for a type inside the input or the result that cannot be stored."""
        try:
            self.codec, self.result_codec  # noqa: B018 - both are made here
        except CodecError as error:
            text = str(error)
            raise DefinitionError(text if repr(self.name) in text else f"workflow {self.name!r}: {text}") from error

    def first(self) -> Move:
        """The Move of a new run: its position is its journal."""
        return Move(self._first, ())

    def resume(self, transition: Transition) -> Move:
        """The Move to the stored transition."""
        return Move(transition, ())


class WorkflowDecorator:
    """What `workflow(NAME)` returns: call it with the function, or with the object that has a method `run`."""

    def __init__(self, name: str, options: FlowOptions, cancel_grace_s: float, atomic: Atomic) -> None:
        self._name, self._options, self._cancel_grace_s, self._atomic = name, options, cancel_grace_s, atomic

    @overload
    def __call__(self, fn: Callable[[AsyncContext], Coroutine[Any, Any, Out]], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, fn: Callable[[AsyncContext, In], Coroutine[Any, Any, Out]], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, fn: Callable[[Context], Out], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, fn: Callable[[Context, In], Out], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, fn: AsyncRunsAlone[Out], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, fn: AsyncRuns[In, Out], /) -> Workflow[In, Out]: ...
    @overload
    def __call__(self, fn: RunsAlone[Out], /) -> Workflow[None, Out]: ...
    @overload
    def __call__(self, fn: Runs[In, Out], /) -> Workflow[In, Out]: ...
    def __call__(self, fn: Any, /) -> Workflow[Any, Any]:
        """Make the workflow."""
        return Workflow(self._name, fn, self._options, self._cancel_grace_s, self._atomic)


@keywords(timeout=RUN_TIMEOUT, deadline=RUN_TIMEOUT)
def workflow(
    name: str,
    *,
    concurrency: int | None = None,
    retry: RetryPolicy | None = None,
    hung_after: float | timedelta | None = None,
    max_crashes: int = 3,
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    run_timeout: float | timedelta | None = None,
    cancel_grace: float | timedelta = CANCEL_GRACE,
    atomic: bool = False,
    on_failure: Literal["rollback", "commit"] = "rollback",
) -> WorkflowDecorator:
    """Make a flow of a function `fn(wf, input) -> output`, or of an object with such a method `run`; sync or async.

    The function is called again from the top after each sleep, wait, retry or crash, and what its calls `wf.execute(...)`
    and so on did before is read from the journal. So it must take the same way each time: I/O, clocks and random values belong into
    steps. A run whose function raises fails, unless `retry` lets it be called again later. The other options are those
    of `compile` of a chain; `upgrade` converts a stored input of an older version. After a cancel the function may make calls for
    `cancel_grace` (seconds or timedelta), to undo what it did; so it may when its `run_timeout` is over.

    With `atomic` each attempt runs in one transaction of the store, SQLite or PostgreSQL, whose connection is `wf.tx`: what it writes
    there, and what its calls returned, is committed when it ends, sleeps or waits, and not before each next call. If the
    function raises, all of that is rolled back, or kept with `on_failure="commit"`.
    """
    if not isinstance(name, str) or not name:
        raise DefinitionError('workflow(): give the flow\'s name, a non-empty text, e.g. @workflow("signup/v1")')
    options, problems = read_options(name, concurrency, retry, hung_after, max_crashes, upgrade, run_timeout)
    grace_s, problem = seconds("cancel_grace", cancel_grace, zero=True)
    if problem:
        problems.append(f"{name}: {problem}")
    if not isinstance(atomic, bool):
        problems.append(f"{name}: atomic={atomic!r:.80}: give True or False")
    if on_failure not in ("rollback", "commit") or (on_failure == "commit" and not atomic):
        problems.append(f'{name}: on_failure={on_failure!r:.80}: give "rollback", or with atomic=True "commit"')
    if problems:
        raise DefinitionError(problems)
    return WorkflowDecorator(name, options, grace_s, on_failure if atomic else "")


def _function(name: str, given: Any) -> Callable[..., Any]:
    """The function to be called: `given` itself, or the method `run` of an object."""
    if isinstance(given, type):
        raise DefinitionError(
            f"{name}: {given.__qualname__} is a class: give an object of it, workflow({name!r})({given.__qualname__}(...))"
        )
    found = given if inspect.isroutine(given) or isinstance(given, functools.partial) else getattr(given, "run", given)
    if not callable(found):
        raise DefinitionError(f"{name}: {given!r:.200} is no function and has no method `run`: decorate {_FORMS}")
    if problem := generator_problem(found):
        raise DefinitionError(f"{name}: {problem}")
    return found


def _input(name: str, fn: Callable[..., Any]) -> str:
    """The name of the parameter that receives the input; empty if there is none."""
    parameters = list(inspect.signature(fn).parameters.values())
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    needed = [p for p in positional if p.default is p.empty]
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if not positional or len(needed) > 2 or keywords:
        raise DefinitionError(f"{name}: the workflow takes ({', '.join(map(str, parameters))}): it must be {_FORMS}")
    return positional[1].name if len(needed) == 2 else ""
