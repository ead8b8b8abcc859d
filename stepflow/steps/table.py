"""Table: all transitions of a chain by their source position, with the static transitions resolved in advance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from stepflow.errors import DefinitionError, NotFound, StepflowError
from stepflow.model.step_names import StepNames, is_body
from stepflow.model.suggest import suggest
from stepflow.steps.kinds.base import Expand, Node, Placed, Scope
from stepflow.steps.kinds.sequence import name_problem
from stepflow.steps.values import CallTransition, StaticTransition, Target

Item = CallTransition | Placed | StaticTransition


def compile_table(name: str, root: Node) -> Table:
    """Expand `root` in the scope `name`; raises one DefinitionError with all mistakes."""
    scope = Scope.root(name)
    if problem := name_problem(name):
        scope.problem(problem)
    items = list(_expand(root, scope))
    if scope.problems:
        raise DefinitionError(dict.fromkeys(scope.problems))
    return Table(name, items)


def _expand(root: Node, scope: Scope) -> Iterator[Item]:
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
    """`items` in order of definition: the transitions, as far as they are made, and the steps whose transitions are not.

    `steps` are those that call a function, made or not, as they were when the table was made.
    Raises DefinitionError if two transitions share a source, one has no successor, or static transitions form a cycle.
    """

    def __init__(self, name: str, items: Iterable[Item]) -> None:
        self.name = name
        self.start, self.completed = f"start:{name}", f"completed:{name}"
        every = list(items)
        self._items = {item.source: item for item in every}
        if len(self._items) < len(every):
            shared = [source for source, number in Counter(item.source for item in every).items() if number > 1]
            raise DefinitionError([f"{name}: duplicate transition source {source}" for source in shared])
        self.done = Target(self.completed, "completed")
        self.steps: list[CallTransition | Placed] = [item for item in every if not isinstance(item, StaticTransition)]
        # The source of the row that is due at each known position; empty at the end.
        due_at = self._due = {item.source: item.source for item in self.steps}
        due_at[self.completed] = ""
        for item in reversed(every):  # most lead to the item behind them
            if isinstance(item, StaticTransition) and (due := due_at.get(item.target)) is not None:
                due_at[item.source] = due
        for source in self._items if len(due_at) <= len(self._items) else ():  # else all are there, and the end
            if source not in due_at:
                self._resolve(source)

    def _resolve(self, position: str) -> None:
        path: dict[str, None] = {}
        while position not in self._due:
            transition = self._items.get(position)
            if not isinstance(transition, StaticTransition) or position in path:
                fault = "is part of a cycle of static transitions" if position in path else "has no transition"
                raise DefinitionError(f"{self.name}: {position} {fault}")
            path[position] = None
            position = transition.target
        for passed in path:
            self._due[passed] = self._due[position]

    @property
    def items(self) -> Iterable[Item]:
        """Everything in order of definition, without making the transitions that are not made."""
        return self._items.values()

    @property
    def positions(self) -> Collection[str]:
        """All known positions."""
        return self._due.keys()

    def row_at(self, position: str) -> CallTransition | None:
        """The row that is due at a known position; None at the end."""
        source = self._due[position]
        return self._row(source) if source else None

    def _row(self, source: str) -> CallTransition:
        item = self._items[source]
        if isinstance(item, Placed):
            item = self._items[source] = item.row()
        assert isinstance(item, CallTransition)
        return item

    @cached_property
    def _named(self) -> tuple[StepNames, dict[str, str]]:
        """What its steps and groups may be called, and the source of each of them by its path below the flow."""
        steps = (
            (step.scope if isinstance(step, CallTransition) else step.scope.path, step.source) for step in self.steps
        )
        begun = (
            (one.partition(":")[2], one)
            for one in self._items
            if one.startswith("start:") and one != self.start and not is_body(one)
        )
        sources = {path.removeprefix(f"{self.name}/"): source for path, source in (*begun, *steps)}
        return StepNames(self.name, sources), sources

    def path_of(self, name: str) -> str:
        """The path, below the flow, of the step that is meant by this name; of a group that of its first step.

        Raises NotFound if there is none, StepflowError if there are several.
        """
        names, sources = self._named
        found = names.found(name)
        if not found:
            near = suggest(name, names.known())
            hint = f"; the most similar one is {near!r}" if near else ""
            raise NotFound(f"chain {self.name!r} has no step {name!r:.200}{hint}")
        if len(found) > 1:
            raise StepflowError(
                f"step {name!r:.200} of chain {self.name!r} can be several: {', '.join(map(repr, found))}: give the path of one"
            )
        row = self.row_at(sources[found[0]])
        return found[0] if row is None else row.scope.removeprefix(f"{self.name}/")

    @cached_property
    def rows(self) -> tuple[CallTransition, ...]:
        """All transitions that call a function, in order of definition."""
        return tuple(t for t in self.transitions if isinstance(t, CallTransition))

    @cached_property
    def transitions(self) -> tuple[CallTransition | StaticTransition, ...]:
        """All transitions in order of definition."""
        return tuple(
            self._row(item.source) if isinstance(item, Placed) else item for item in list(self._items.values())
        )
