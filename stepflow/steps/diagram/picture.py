"""Picture: the boxes and arrows of a chain, before they are drawn in a format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import Factory, define, frozen

from stepflow.model.durations import duration_text
from stepflow.model.safe_text import showable
from stepflow.steps.position import Position
from stepflow.steps.table import Table
from stepflow.steps.values import CallTransition, Kind, RetryScope, StaticTransition


@define(eq=False)
class Box:
    """A scope: `kind` is the kind of its step or retry group; other groups and the root have the base class.

    `key` is a short name, unique in the picture. A case or loop_until has both a row (its condition) and children.
    """

    key: str
    title: str
    kind: type[Kind]
    detail: str
    row: CallTransition | None
    current: bool = False
    children: list[Box] = Factory(list)


@frozen
class Arrow:
    """From the box `source` to `target` (keys); `error` marks the arrow on which a retry group starts again."""

    source: str
    target: str
    label: str = ""
    error: bool = False


@frozen(eq=False)
class Picture:
    """All boxes and arrows: `current` is the key of the box that is due, `END` at the end, "" if no position was given."""

    root: Box
    arrows: tuple[Arrow, ...]
    current: str = ""

    @classmethod
    def of(cls, table: Table, position: Position | None) -> Picture:
        """The picture of a table, with the position highlighted if one is given."""
        boxes = _boxes(table)
        current = ""
        if position is not None:
            current = END if position.row is None else boxes[position.row.scope].key
            for scope, number in position.attempts:
                boxes[scope].detail += f", attempt {number}"
        for box in boxes.values():
            box.current = box.key == current
        return cls(boxes[table.name], tuple(_arrows(table, boxes)), current)

    def walk(self) -> Iterator[tuple[Literal["enter", "leave"], Box, int]]:
        """Every box below the root, depth first: once when entered and once when left, with its depth from 0."""
        stack = [iter(self.root.children)]
        inside: list[Box] = []
        while stack:
            box = next(stack[-1], None)
            if box is not None:
                yield "enter", box, len(inside)
                inside.append(box)
                stack.append(iter(box.children))
            else:
                stack.pop()
                if inside:
                    box = inside.pop()
                    yield "leave", box, len(inside)


BEGIN, END = "begin", "finish"


def _boxes(table: Table) -> dict[str, Box]:
    rows = {row.scope: row for row in table.rows}
    groups = {group.scope: group for row in table.rows for group in row.retry_scopes()}
    root = rows.get(table.name)
    boxes = {table.name: Box("flow", table.name, Kind if root is None else root.kind, "", root)}
    for transition in table.transitions:
        if isinstance(transition, StaticTransition) and not transition.source.startswith("start:"):
            continue
        scope = transition.scope if isinstance(transition, CallTransition) else transition.source.removeprefix("start:")
        if scope in boxes:
            continue
        parent, _, name = scope.rpartition("/")
        owner = boxes[parent]
        if name == "steps" and parent in rows:
            boxes[scope] = owner  # the inner scope of a case or loop_until has no box of its own
            continue
        boxes[scope] = _box(f"s{len(boxes)}", name, rows.get(scope), groups.get(scope))
        owner.children.append(boxes[scope])
    return boxes


def _box(key: str, name: str, row: CallTransition | None, group: RetryScope | None) -> Box:
    step = row or group
    kind = Kind if step is None else step.kind
    return Box(key, name.removesuffix(kind.suffix), kind, _detail(row, group), row)


def _detail(row: CallTransition | None, group: RetryScope | None) -> str:
    if row is None:
        if group is None:
            return ""
        if group.policy is None:
            return "while its handler returns True"
        attempts = group.policy.max_attempts
        return f"at most {attempts} attempt{'' if attempts == 1 else 's'}"
    limit = "" if row.timeout_s is None else f", at most {duration_text(row.timeout_s)}"
    if row.event:
        return f"event {row.event}{limit}"
    if row.poll >= 0:
        return f"every {duration_text(row.every_s)}{limit}"
    return "" if row.limit_s is None else f"at most {duration_text(row.limit_s)}"


def _arrows(table: Table, boxes: dict[str, Box]) -> Iterator[Arrow]:
    def key(row: CallTransition | None) -> str:
        return END if row is None else boxes[row.scope].key

    yield Arrow(BEGIN, key(table.row_at(table.start)))
    last: dict[RetryScope, CallTransition] = {}
    for row in table.rows:
        for target in row.targets:
            yield Arrow(key(row), key(table.row_at(target.position)), _label(target.reason))
        for group in row.retry_scopes():
            last[group] = row
    for group, row in last.items():
        yield Arrow(key(row), key(table.row_at(group.start)), f"retry {boxes[group.scope].title}", error=True)


def one_line(text: str) -> str:
    """A user's text on one line, without control characters."""
    return showable(" ".join(text.split()))


def _label(reason: str) -> str:
    return "" if reason == "completed" else reason.rpartition(" condition is ")[2]
