"""introspect: the transitions of a chain as public values, and their hash."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from attrs import frozen

from stepflow.steps.table import Table
from stepflow.steps.values import CallTransition


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
    digest = hashlib.sha256()
    for t in table.transitions:
        group = t.retry_scope.scope if t.retry_scope is not None else ""
        event = t.event if isinstance(t, CallTransition) else ""
        parts = [t.source, group, event, *(text for target in t.targets for text in (target.position, target.reason))]
        digest.update("\n".join(map(repr, parts)).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
