"""Node and Scope: what each kind of step must implement, and the place in the chain for which it is compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from attrs import evolve, field, frozen

from stepflow.model.durations import seconds
from stepflow.steps.signature import Signature, read_function
from stepflow.steps.values import CallTransition, Fn, Kind, RetryScope, StaticTransition, Target


@frozen(eq=False)
class Scope:
    """A place in the chain: its path, e.g. "order/pay", the retry group around it, and the list that collects all mistakes."""

    path: str
    retry_scope: RetryScope | None = None
    problems: list[str] = field(factory=list)
    start: str = field(init=False)
    completed: str = field(init=False)

    @start.default
    def _start(self) -> str:
        return f"start:{self.path}"

    @completed.default
    def _completed(self) -> str:
        return f"completed:{self.path}"

    def child(self, name: str) -> Scope:
        """The scope `<this path>/<name>`."""
        return Scope(f"{self.path}/{name}", self.retry_scope, self.problems)

    def within(self, group: RetryScope) -> Scope:
        """The same path inside a retry group."""
        return evolve(self, retry_scope=group)

    def problem(self, text: str) -> None:
        """Record a mistake of the definition at this path."""
        self.problems.append(f"{self.path}: {text}")

    def static(self, source: str, target: str) -> StaticTransition:
        """A static transition in this scope."""
        return StaticTransition(source, (Target(target, "static"),), self.retry_scope)

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
    def expand(self, at: Scope) -> Iterator[CallTransition | StaticTransition | Expand]:
        """The transitions of this node in that scope, in order; mistakes are recorded in the scope."""
