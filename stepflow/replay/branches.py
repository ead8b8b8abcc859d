"""branches: the calls of a gather go on side by side, each with the part of the journal that it wrote.

A row that a branch wrote has the path of the branch behind its kind, e.g. `step@1.0`: the first call of the first gather of the workflow.
The workflow itself is the branch with the empty path, and its rows have no mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import Factory, define

MARK = "@"


@define(eq=False)
class Branch:
    """The rows that one branch has not read yet, and how it ended; of the present branch `left`, `suspension` and `cancelled` are those of the Journal."""

    path: str = ""
    parent: Branch | None = None
    left: dict[str, Any] = Factory(dict)
    suspension: Any = None
    cancelled: bool = False
    gathers: int = 0  # that it has begun
    error: BaseException | None = None
    value: Any = None

    def calls(self, count: int, later: dict[str, dict[str, Any]]) -> list[Branch]:
        """The branches of its next gather, each with its rows out of `later`."""
        self.gathers += 1
        paths = [f"{self.prefix()}{number}" for number in range(count)]
        return [Branch(path, self, later.pop(path, {}), cancelled=self.cancelled) for path in paths]

    def prefix(self) -> str:
        """What the paths of the branches of its last gather begin with."""
        return f"{self.path}/{self.gathers}." if self.path else f"{self.gathers}."

    def is_around(self, other: Branch | None) -> bool:
        """Whether the other branch is this one, or began in a gather of it."""
        while other is not None and other is not self:
            other = other.parent
        return other is self

    def unread(self, later: dict[str, dict[str, Any]]) -> Iterator[Any]:
        """The rows that must be read before this branch does something new: its own, and those behind each gather around it."""
        branch: Branch | None = self
        beside = ""  # begins the paths of the branches that go on side by side
        while branch is not None:
            yield from branch.left.values()
            inside = f"{branch.path}/" if branch.path else ""
            for path, rows in later.items():
                if path.startswith(inside) and not (beside and path.startswith(beside)):
                    yield from rows.values()
            branch = branch.parent
            beside = "" if branch is None else branch.prefix()


def marked(kind: str, path: str) -> str:
    """The kind of a row as it is stored."""
    return f"{kind}{MARK}{path}" if path else kind


def sort_out(rows: dict[str, Any], plain: Callable[[Any, str], Any]) -> dict[str, dict[str, Any]]:
    """Take the rows of branches away, by path and key; `plain(row, kind)` is a row without the mark."""
    found: dict[str, dict[str, Any]] = {}
    for key, row in [(key, row) for key, row in rows.items() if MARK in row.kind]:
        kind, _, path = row.kind.partition(MARK)
        found.setdefault(path, {})[key] = plain(row, kind)
        del rows[key]
    return found
