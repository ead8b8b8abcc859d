"""Introspection: the transitions of a chain as values, and their hash."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from attrs import frozen

from stepflow.steps.table import Table
from stepflow.steps.values import CallTransition


class Destination(NamedTuple):
    """An event that a transition may lead to, and why."""

    event: str
    reason: str


@frozen
class Edge:
    """One transition: from the event `source` to one of `destinations`; `exclusive` if it calls a user function."""

    source: str
    destinations: tuple[Destination, ...]
    exclusive: bool


def edges(table: Table) -> tuple[Edge, ...]:
    """All transitions in the order of definition; whatever is inside of a retry group also leads to its start ("retry")."""
    return tuple(
        Edge(
            t.source,
            tuple(Destination(e.event, e.reason) for e in t.exits)
            + tuple(Destination(g.event, "retry") for g in t.guards()),
            isinstance(t, CallTransition),
        )
        for t in table.transitions
    )


def fingerprint(table: Table) -> str:
    """SHA-256 (hex) over all transitions, with their order, the groups around them and the events they wait for."""
    digest = hashlib.sha256()
    for t in table.transitions:
        group = t.guard.scope if t.guard is not None else ""
        event = t.event if isinstance(t, CallTransition) else ""
        parts = [t.source, group, event, *(text for e in t.exits for text in (e.event, e.reason))]
        digest.update("\n".join(map(repr, parts)).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
