"""check: what an author should know about a compiled chain before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from stepflow.steps.table import Table


@frozen
class Finding:
    """One thing to look at: `kind` is "engine-only", "unreachable" or "dead-end", `path` the step's scope."""

    kind: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text} ({self.kind})"


def check(table: Table) -> list[Finding]:
    """Engine-only steps, then what no position leads to, then where no position leads to the end; in order of definition."""
    ahead: dict[str, list[str]] = {table.completed: []}
    back: dict[str, list[str]] = {}
    for t in table.transitions:
        targets = [e.event for e in t.exits] + [g.event for g in t.guards()]
        ahead[t.source] = targets
        for target in targets:
            back.setdefault(target, []).append(t.source)
    reached, ending = _closure([table.start], ahead), _closure([table.completed], back)
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
        elif row.timeout_s is not None:
            yield Finding("engine-only", row.scope, f"timeout={row.timeout_s:g} s: plain apply never times out")


def _closure(seeds: Iterable[str], links: Mapping[str, Iterable[str]]) -> set[str]:
    found, todo = set(seeds), list(seeds)
    while todo:
        for event in links.get(todo.pop(), ()):
            if event not in found:
                found.add(event)
                todo.append(event)
    return found
