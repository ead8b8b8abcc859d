"""Scope and Node: where a step stands while the chain is compiled, and what each kind of step must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from attrs import evolve, field, frozen

from stepflow.model.durations import seconds
from stepflow.steps.signature import Signature, read_function
from stepflow.steps.values import CallTransition, Fn, RetryScope, StaticTransition, Target


@frozen(eq=False)
class Scope:
    """The scope in which a node is expanded, the retry group around it, and the list that collects all mistakes."""

    scope: str
    guard: RetryScope | None = None
    problems: list[str] = field(factory=list)
    start: str = field(init=False)
    completed: str = field(init=False)

    @start.default
    def _start(self) -> str:
        return f"start:{self.scope}"

    @completed.default
    def _completed(self) -> str:
        return f"completed:{self.scope}"

    def child(self, name: str) -> Scope:
        """The place `<this scope>/<name>`."""
        return Scope(f"{self.scope}/{name}", self.guard, self.problems)

    def guarded(self, guard: RetryScope) -> Scope:
        """The same place inside of a retry group."""
        return evolve(self, guard=guard)

    def problem(self, text: str) -> None:
        """Note a mistake of the definition at this place."""
        self.problems.append(f"{self.scope}: {text}")

    def hop(self, source: str, target: str) -> StaticTransition:
        """A static transition at this place."""
        return StaticTransition(source, (Target(target, "static"),), self.guard)

    def function(self, given: Any, shape: Signature) -> Fn:
        """The user's function, ready to be called; a mistake is noted and gives a function that is never called."""
        fn, problem = read_function(given, shape)
        if problem:
            self.problem(problem)
        return fn

    def seconds(self, name: str, given: float | timedelta | None, *, zero: bool = False) -> float | None:
        """A duration in seconds, None if none was given; a mistake is noted."""
        if given is None:
            return None
        value, problem = seconds(name, given, zero=zero)
        if problem:
            self.problem(problem)
        return value


@frozen(eq=False)
class Expand:
    """Asks the compiler to expand `node` at `place`, exactly here in the order of transitions."""

    node: Node
    place: Scope


class Node(ABC):
    """One kind of step, independent of the place where it is used, so that a fragment can be used many times.

    `suffix` is what the chain appends to the user's name to make the scope's name.
    """

    suffix: ClassVar[str] = ""

    @abstractmethod
    def expand(self, at: Scope) -> Iterator[CallTransition | StaticTransition | Expand]:
        """The transitions of this node at that place, in order; mistakes are noted in the place."""
