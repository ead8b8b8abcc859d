"""Table: all transitions of a chain by their source position, with the static transitions resolved in advance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stepflow.errors import DefinitionError
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.kinds.sequence import name_problem
from stepflow.steps.values import CallTransition, StaticTransition, Target


def compile_table(name: str, root: Node) -> Table:
    """Expand `root` in the scope `name`; raises one DefinitionError with all mistakes."""
    scope = Scope(name)
    if problem := name_problem(name):
        scope.problem(problem)
    transitions = list(_expand(root, scope))
    if scope.problems:
        raise DefinitionError(dict.fromkeys(scope.problems))
    return Table(name, transitions)


def _expand(root: Node, scope: Scope) -> Iterator[CallTransition | StaticTransition]:
    """The transitions in order. Uses a stack of its own: a chain may be nested deeper than Python's recursion limit."""
    stack = [root.expand(scope)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, Expand):
                stack.append(item.node.expand(item.scope))
                break
            yield item
        else:
            stack.pop()


class Table:
    """`transitions` in order of definition; `next` maps each known position to the row that is due there (None: the end).

    Raises DefinitionError if two transitions share a source, one has no successor, or static transitions form a cycle.
    """

    def __init__(self, name: str, transitions: Iterable[CallTransition | StaticTransition]) -> None:
        self.name = name
        self.start, self.completed = f"start:{name}", f"completed:{name}"
        self.transitions = tuple(transitions)
        self.rows = tuple(t for t in self.transitions if isinstance(t, CallTransition))
        self.by_source: dict[str, CallTransition | StaticTransition] = {}
        problems = []
        for transition in self.transitions:
            if transition.source in self.by_source:
                problems.append(f"{name}: duplicate transition source {transition.source}")
            self.by_source[transition.source] = transition
        if problems:
            raise DefinitionError(problems)
        self.done = Target(self.completed, "completed")
        self.next: dict[str, CallTransition | None] = {self.completed: None}
        for source in self.by_source:
            self._resolve(source)

    def _resolve(self, position: str) -> None:
        path: dict[str, None] = {}
        while position not in self.next:
            transition = self.by_source.get(position)
            if transition is None or position in path:
                fault = "is part of a cycle of static transitions" if position in path else "has no transition"
                raise DefinitionError(f"{self.name}: {position} {fault}")
            if isinstance(transition, CallTransition):
                self.next[position] = transition
                break
            path[position] = None
            position = transition.targets[0].position
        for passed in path:
            self.next[passed] = self.next[position]
