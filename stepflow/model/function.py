"""FlowFunction: a flow that is one function, which reads a State and returns the command that moves it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar

from stepflow.errors import DefinitionError
from stepflow.model.codec import Codec
from stepflow.model.flow import Flow, FlowOptions, Move
from stepflow.model.generators import generator_problem
from stepflow.model.keywords import NO_RUN_TIMEOUT, keywords
from stepflow.model.options import read_options
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import Transition

HUNG_AFTER_S = 120.0


class FlowFunction(Flow[None, None]):
    """The flow that `@flow("mutex.v1")` makes of `fn(ctx)` or `fn(ctx, engine)`; call it like the function itself."""

    kind: ClassVar[str] = "function"

    def __init__(self, name: str, fn: Callable[..., Any], options: FlowOptions) -> None:
        self.name, self.fn, self.options = name, fn, options
        self.wants_engine = _wants_engine(name, fn)
        self.is_async = inspect.iscoroutinefunction(fn)
        self.inline = not self.is_async
        self.codec: Codec[None] = Codec(type(None))
        self.definition = sha256(f"function:{name}".encode()).hexdigest()
        self.__doc__ = fn.__doc__

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args)

    def __repr__(self) -> str:
        return f"<FlowFunction {self.name}>"

    def first(self) -> Move:
        """The Move of a new run: to this flow, without a delay."""
        return Move(Transition(self.name), ())

    def resume(self, transition: Transition) -> Move:
        """The Move to the stored transition: a flow function has no position of its own."""
        return Move(transition, ())


@keywords(timeout=NO_RUN_TIMEOUT, deadline=NO_RUN_TIMEOUT, run_timeout=NO_RUN_TIMEOUT)
def flow(
    name: str,
    *,
    concurrency: int | None = None,
    retry: RetryPolicy | None = None,
    hung_after: float | timedelta | None = HUNG_AFTER_S,
    max_crashes: int = 3,
) -> Callable[[Callable[..., Any]], FlowFunction]:
    """Make a flow of a function `fn(ctx)` or `fn(ctx, engine)`, sync or async, that returns a command.

    A function that raises or returns None is retried by the `retry` policy (default: 3 attempts, the first delay is 1
    second), then its State is `failed`. A call without a commit for `hung_after` seconds loses its claim.
    """
    if not isinstance(name, str) or not name:
        raise DefinitionError('flow(): give the flow\'s name, a non-empty text, e.g. @flow("mutex.v1")')
    if retry is None:
        retry = RetryPolicy()
    options, problems = read_options(name, concurrency, retry, hung_after, max_crashes)
    if problems:
        raise DefinitionError(problems)
    return lambda fn: FlowFunction(name, fn, options)


def _wants_engine(name: str, fn: Callable[..., Any]) -> bool:
    if not callable(fn):
        raise DefinitionError(f"{name}: {fn!r} is not callable: decorate a function fn(ctx) or fn(ctx, engine)")
    if problem := generator_problem(fn):
        raise DefinitionError(f"{name}: {problem}, and return the command")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        p for p in inspect.signature(fn).parameters.values() if p.kind in kinds and p.default is inspect.Parameter.empty
    ]
    if len(required) not in (1, 2):
        raise DefinitionError(f"{name}: {len(required)} required parameters: it must be fn(ctx) or fn(ctx, engine)")
    return len(required) == 2
