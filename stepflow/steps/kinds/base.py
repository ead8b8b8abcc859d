"""Node and Scope: what each kind of step must implement, and the place in the chain for which it is compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any

from attrs import evolve

from stepflow.model.durations import seconds
from stepflow.steps.quick import frozen
from stepflow.steps.signature import Signature, read_function
from stepflow.steps.values import CallTransition, Fn, Kind, RetryScope, StaticTransition, awaits_handlers


@frozen(eq=False)
class Scope:
    """A place in the chain: its path, e.g. "order/pay", the retry group around it, and the list that collects all mistakes."""

    path: str
    start: str
    completed: str
    problems: list[str]
    retry_scope: RetryScope | None = None

    @classmethod
    def root(cls, name: str) -> Scope:
        """The scope of a whole chain, without problems so far."""
        return cls(name, f"start:{name}", f"completed:{name}", [])

    def child(self, name: str) -> Scope:
        """The scope `<this path>/<name>`."""
        path = f"{self.path}/{name}"
        return Scope(path, f"start:{path}", f"completed:{path}", self.problems, self.retry_scope)

    def within(self, group: RetryScope) -> Scope:
        """The same path inside a retry group."""
        return evolve(self, retry_scope=group)

    def problem(self, text: str) -> None:
        """Record a mistake of the definition at this path."""
        self.problems.append(f"{self.path}: {text}")

    def static(self, source: str, target: str) -> StaticTransition:
        """A static transition in this scope."""
        return StaticTransition(source, target, self.retry_scope)

    def function(self, given: Any, expected: Signature) -> Fn:
        """The user's function, ready to be called; a mistake is recorded and returns a function that is never called."""
        fn, problem = read_function(given, expected)
        if problem:
            self.problem(problem)
        return fn

    def seconds(self, name: str, given: float | timedelta | None, *, zero: bool = False) -> float | None:
        """A duration in seconds, None if none was given; a mistake is recorded."""
        if given is None:
            return None
        value, problem = seconds(name, given, zero=zero)
        if problem:
            self.problem(problem)
        return value


@frozen(eq=False)
class Expand:
    """Asks the compiler to expand `node` in `scope` at this point of the order of transitions."""

    node: Node
    scope: Scope


class Node(Kind, ABC):
    """One kind of step, independent of the place where it is used, so that a fragment can be used many times.

    A new kind is one file in this folder, with the class attributes of Kind, and its method in `steps/builder.py`.
    """

    @abstractmethod
    def expand(self, at: Scope) -> Iterator[CallTransition | Placed | StaticTransition | Expand]:
        """The transitions of this node in that scope, in order; mistakes are recorded in the scope."""

    def place(self, at: Scope) -> CallTransition | Placed | Expand:
        """What stands for this node in that scope, among the transitions of a sequence."""
        return Expand(self, at)


class Leaf(Node):
    """A kind of step without children: one transition that calls a function."""

    @abstractmethod
    def row(self, at: Scope) -> CallTransition:
        """The transition of this step in that scope; mistakes are recorded in the scope."""

    def place(self, at: Scope) -> CallTransition | Placed:
        """The same, or how to make it when a run comes there, if nothing can be wrong with it."""
        return self.row(at)

    def expand(self, at: Scope) -> Iterator[CallTransition | Placed]:
        yield self.place(at)


@frozen(eq=False)
class Placed:
    """A step that only calls the plain function `fn`: a chain has a thousand of them, of which a process may call two.

    `source` and `retry_scope` are those of its row; `wants_exchange` tells whether the function takes the exchange.
    """

    leaf: Leaf
    scope: Scope
    fn: FunctionType
    wants_exchange: bool
    source: str
    retry_scope: RetryScope | None

    @property
    def awaits(self) -> bool:
        """As of its row."""
        return bool(self.fn.__code__.co_flags & CO_COROUTINE) or awaits_handlers(self.retry_scope)

    def row(self) -> CallTransition:
        """Its transition."""
        return self.leaf.row(self.scope)
