"""check: finds steps of a compiled chain that need an engine, cannot be reached, or never lead to the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from stepflow.steps.table import Table


@frozen
class Finding:
    """One finding: `kind` is "engine-only", "unreachable" or "dead-end", `path` the step's scope."""

    kind: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text} ({self.kind})"


def check(table: Table) -> list[Finding]:
    """Engine-only steps, then unreachable ones, then dead ends; each in order of definition."""
    successors: dict[str, list[str]] = {table.completed: []}
    predecessors: dict[str, list[str]] = {}
    for t in table.transitions:
        targets = [e.position for e in t.targets] + [group.start for group in t.retry_scopes()]
        successors[t.source] = targets
        for target in targets:
            predecessors.setdefault(target, []).append(t.source)
    reached, ending = _reachable(table.start, successors), _reachable(table.completed, predecessors)
    findings = list(_engine_only(table))
    findings += [
        Finding("unreachable", r.scope, "no position leads here") for r in table.rows if r.source not in reached
    ]
    findings += [
        Finding("dead-end", r.scope, "the end cannot be reached from here")
        for r in table.rows
        if r.source not in ending
    ]
    return findings


def _engine_only(table: Table) -> Iterable[Finding]:
    for row in table.rows:
        if row.event:
            yield Finding(
                "engine-only", row.scope, f"waits for the event {row.event!r}: plain apply raises NeedsEngine"
            )
        elif row.transacted:
            yield Finding("engine-only", row.scope, "needs a transaction of a store: plain apply raises NeedsEngine")
        elif (limit_s := row.limit_s if row.timeout_s is None else row.timeout_s) is not None:
            yield Finding("engine-only", row.scope, f"timeout={limit_s:g} s: plain apply never times out")


def _reachable(start: str, links: Mapping[str, Iterable[str]]) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        for position in links.get(todo.pop(), ()):
            if position not in found:
                found.add(position)
                todo.append(position)
    return found
