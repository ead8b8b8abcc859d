"""Table: all transitions of a chain by their source event, with every static hop resolved ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stepflow.errors import DefinitionError
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.kinds.sequence import name_problem
from stepflow.steps.values import CallTransition, StaticTransition, Target


def compile_table(name: str, root: Node) -> Table:
    """Expand `root` in the scope `name`; raises one DefinitionError with all mistakes."""
    place = Scope(name)
    if problem := name_problem(name):
        place.problem(problem)
    transitions = list(_expand(root, place))
    if place.problems:
        raise DefinitionError(dict.fromkeys(place.problems))
    return Table(name, transitions)


def _expand(root: Node, place: Scope) -> Iterator[CallTransition | StaticTransition]:
    """The transitions in order. Own stack: a chain may be nested deeper than Python may recurse."""
    stack = [root.expand(place)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, Expand):
                stack.append(item.node.expand(item.place))
                break
            yield item
        else:
            stack.pop()


class Table:
    """`transitions` in order of definition; `next` gives for each known event the row that is due there, None at the end.

    Raises DefinitionError if two transitions share a source, one leads nowhere, or static hops go in a circle.
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

    def _resolve(self, event: str) -> None:
        path: dict[str, None] = {}
        while event not in self.next:
            transition = self.by_source.get(event)
            if transition is None or event in path:
                fault = "is a circle of static hops" if event in path else "leads nowhere"
                raise DefinitionError(f"{self.name}: {event} {fault}")
            if isinstance(transition, CallTransition):
                self.next[event] = transition
                break
            path[event] = None
            event = transition.exits[0].event
        for passed in path:
            self.next[passed] = self.next[event]
