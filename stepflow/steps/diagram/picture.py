"""Picture: the boxes and arrows of a chain, before they are drawn in a format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import Factory, define, frozen

from stepflow.model.durations import spoken
from stepflow.steps.position import Position
from stepflow.steps.table import Table
from stepflow.steps.values import CallTransition, RetryScope, StaticTransition

_SUFFIX = {
    "wait_for": "WaitFor",
    "wait_event": "WaitEvent",
    "case": "Case",
    "loop_until": "LoopUntil",
    "retry": "Retry",
}


@define(eq=False)
class Box:
    """A scope: `kind` is that of the step, "steps" or "retry" for groups, "flow" for the root.

    `key` is a short name, unique in the picture. A case or loop_until has both a row (its condition) and children.
    """

    key: str
    title: str
    kind: str
    detail: str
    row: CallTransition | None
    current: bool = False
    children: list[Box] = Factory(list)


@frozen
class Arrow:
    """From the box `source` to `target` (keys); `error` marks the way back of a retry group."""

    source: str
    target: str
    label: str = ""
    error: bool = False


@frozen(eq=False)
class Picture:
    """All of it: `current` is the key of the box that is due, `END` at the end, "" if no position was given."""

    root: Box
    arrows: tuple[Arrow, ...]
    current: str = ""

    @classmethod
    def of(cls, table: Table, position: Position | None) -> Picture:
        """The picture of a table, with the position highlighted if there is one."""
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
        """Every box below the root in order, entered and left, with its depth from 0."""
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
    guards = {guard.scope: guard for row in table.rows for guard in row.guards()}
    boxes: dict[str, Box] = {table.name: Box("flow", table.name, "flow", "", rows.get(table.name))}
    for transition in table.transitions:
        if isinstance(transition, StaticTransition) and not transition.source.startswith("start:"):
            continue
        scope = transition.scope if isinstance(transition, CallTransition) else transition.source.removeprefix("start:")
        if scope in boxes:
            continue
        parent, _, name = scope.rpartition("/")
        owner = boxes[parent]
        if name == "steps" and parent in rows:
            boxes[scope] = owner  # the inner level of a case or loop_until is no box of its own
            continue
        boxes[scope] = _box(f"s{len(boxes)}", name, rows.get(scope), guards.get(scope))
        owner.children.append(boxes[scope])
    return boxes


def _box(key: str, name: str, row: CallTransition | None, guard: RetryScope | None) -> Box:
    kind = row.kind if row is not None else "retry" if guard is not None else "steps"
    return Box(key, name.removesuffix(_SUFFIX.get(kind, "")), kind, _detail(row, guard), row)


def _detail(row: CallTransition | None, guard: RetryScope | None) -> str:
    if row is None:
        if guard is None:
            return ""
        if guard.policy is None:
            return "while its handler says yes"
        most = guard.policy.max_attempts
        return f"at most {most} attempt{'' if most == 1 else 's'}"
    limit = "" if row.timeout_s is None else f", at most {spoken(row.timeout_s)}"
    if row.event:
        return f"event {row.event}{limit}"
    if row.poll >= 0:
        return f"every {spoken(row.every_s)}{limit}"
    return ""


def _arrows(table: Table, boxes: dict[str, Box]) -> Iterator[Arrow]:
    def key(row: CallTransition | None) -> str:
        return END if row is None else boxes[row.scope].key

    yield Arrow(BEGIN, key(table.next[table.start]))
    last: dict[RetryScope, CallTransition] = {}
    for row in table.rows:
        for way in row.exits:
            yield Arrow(key(row), key(table.next[way.event]), _label(way.reason))
        for guard in row.guards():
            last[guard] = row
    for guard, row in last.items():
        yield Arrow(key(row), key(table.next[guard.event]), f"retry {boxes[guard.scope].title}", error=True)


def one_line(text: str) -> str:
    """A user's text as it may be shown: on one line, without control characters."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def _label(reason: str) -> str:
    return "" if reason == "completed" else reason.rpartition(" condition is ")[2]
