"""introspect: the transitions of a chain as public values, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from attrs import frozen

from stepflow.steps.kinds.base import Placed
from stepflow.steps.table import Table
from stepflow.steps.values import DONE, CallTransition, StaticTransition


class Destination(NamedTuple):
    """A position that a transition may lead to, and why."""

    position: str
    reason: str


@frozen
class Edge:
    """One transition: from the position `source` to one of `destinations`; `exclusive` if it calls a user function."""

    source: str
    destinations: tuple[Destination, ...]
    exclusive: bool


def edges(table: Table) -> tuple[Edge, ...]:
    """All transitions in the order of definition; a transition in a retry group also leads to its start ("retry")."""
    return tuple(
        Edge(
            t.source,
            tuple(Destination(target.position, target.reason) for target in t.targets)
            + tuple(Destination(group.start, "retry") for group in t.retry_scopes()),
            isinstance(t, CallTransition),
        )
        for t in table.transitions
    )


def fingerprint(table: Table) -> str:
    """SHA-256 (hex) over all transitions, with their order, the groups around them and the events they wait for."""
    return hashlib.sha256("".join(_lines(table)).encode("utf-8", "surrogatepass")).hexdigest()


def _lines(table: Table) -> Iterator[str]:
    """What identifies each transition: its source, the group around it, its event, and its targets with their reasons."""
    for t in table.items:
        group = "" if (within := t.retry_scope) is None else within.scope
        if isinstance(t, StaticTransition):
            yield f"{t.source!r}\n{group!r}\n''\n{t.target!r}\n'static'\0"
        elif isinstance(t, Placed):
            yield f"{t.source!r}\n{group!r}\n''\n{t.scope.completed!r}\n{DONE!r}\0"
        else:
            targets = "\n".join([f"{target.position!r}\n{target.reason!r}" for target in t.targets])
            yield f"{t.source!r}\n{group!r}\n{t.event!r}\n{targets}\0"
