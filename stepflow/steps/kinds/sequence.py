"""steps: run children one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepflow.steps.kinds.base import Expand, Node, Placed, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.values import CallTransition, StaticTransition

_RENAME = "names in a group must be unique; the suffix counts, e.g. wait_for('x') has the name 'xWaitFor'"


@frozen(eq=False)
class Child:
    """A node with the name that the user gave it."""

    name: Any
    node: Node


@frozen(eq=False)
class Sequence(Node):
    """Runs its children in order; without children it completes at once."""

    verb = "steps"

    children: tuple[Child, ...] = ()

    def expand(self, at: Scope) -> Iterator[CallTransition | Placed | StaticTransition | Expand]:
        seen: set[str] = set()
        source, group = at.start, at.retry_scope
        for child in self.children:
            name, node = child.name, child.node
            inner = at.child(f"{name}{node.suffix}")
            if not (type(name) is str and name.isidentifier()):  # most are
                _check_name(name, at, inner)
            if inner.path in seen:
                inner.problem(f"this name is used twice: {_RENAME}")
            seen.add(inner.path)
            yield StaticTransition(source, inner.start, group)
            yield node.place(inner)
            source = inner.completed
        yield StaticTransition(source, at.completed, group)


def _check_name(name: Any, parent: Scope, scope: Scope) -> None:
    if isinstance(name, str) and not name.strip():
        parent.problem(f"a step has the name {name!r}: give it a non-empty name")
    elif problem := name_problem(name) or ("/" in name and f"name {name!r} has a '/': only the root name may have one"):
        scope.problem(problem)


def name_problem(name: Any) -> str:
    """What is wrong with a name, empty if nothing is."""
    if not isinstance(name, str):
        return f"name {name!r} is not a text: give the name first, e.g. 'order.v1'"
    if not name.strip():
        return f"name {name!r} is empty: give a name such as 'order.v1'"
    if ":" in name:
        return f"name {name!r} has a ':': positions use it, choose another character"
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"name {name!r} has half of a surrogate pair: it cannot be stored as UTF-8"
    return ""
