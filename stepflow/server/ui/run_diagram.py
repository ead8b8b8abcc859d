"""The diagram of a run: the plan of its chain with its position, or the path that it took where no plan is known here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress

from attrs import evolve
from markupsafe import Markup

from stepflow.drivers.port.journal import JournalRow
from stepflow.engine.client.explain import why
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.timeline import TimelineEntry
from stepflow.errors import UnknownState
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import FINAL, Status
from stepflow.replay.branches import MARK
from stepflow.server.ui.column_svg import DrawnArrow, DrawnBox, DrawnGroup, column_svg
from stepflow.steps import StepFlow
from stepflow.steps.diagram.picture import BEGIN, END, Box, Picture

MOST_BOXES = 40  # of a path: the last ones are shown; of a plan: those around the position
BEFORE, AFTER = "before", "after"  # keys of the boxes that stand for those which are not shown


def diagram_of(
    info: RunInfo, flow: Flow[object, object] | None, revisions: Sequence[TimelineEntry], journal: Sequence[JournalRow]
) -> tuple[str, Markup]:
    """What the picture is, in words, and the picture."""
    if isinstance(flow, StepFlow):
        with suppress(UnknownState):  # the run is at a position of another definition
            return "The plan of the chain", _plan(info, flow, revisions)
    boxes = _called(journal[-MOST_BOXES:]) if journal else _passed(revisions)
    title = "The calls that are recorded" if journal else "The way that the run took"
    if max(len(boxes), len(journal)) > MOST_BOXES:
        boxes = [DrawnBox(BEFORE, "more before", state="done"), *boxes[-MOST_BOXES:]]
    boxes.append(DrawnBox("now", str(info.status), why(info), "box", _state_now(info)))
    arrows = [DrawnArrow(a.key, b.key) for a, b in itertools.pairwise(boxes)]
    return title, column_svg(f"{title}, {len(boxes)} boxes; now it is {info.status}", boxes, arrows)


def _state_now(info: RunInfo) -> str:
    if info.status in (Status.FAILED, Status.CANCELLED):
        return "failed"
    return "done" if info.status in FINAL else "current"


def _plan(info: RunInfo, flow: StepFlow[object], revisions: Sequence[TimelineEntry]) -> Markup:
    picture = flow.picture(info.position)
    done = _done(revisions) | (_last_of(picture) if picture.current == END else set())
    boxes, groups = _boxes(picture, done, info)
    arrows = [DrawnArrow(arrow.source, arrow.target, arrow.label, arrow.error) for arrow in picture.arrows]
    here = next((box.title for box in boxes if box.state in ("current", "failed")), "its end")
    boxes, arrows, groups = _around_the_position(boxes, arrows, groups)
    return column_svg(f"Plan of {flow.name}; the run is at {here}", boxes, arrows, groups)


def _around_the_position(
    boxes: list[DrawnBox], arrows: list[DrawnArrow], groups: list[DrawnGroup]
) -> tuple[list[DrawnBox], list[DrawnArrow], list[DrawnGroup]]:
    """Of a long plan the MOST_BOXES around the position, with a box for those before and one for those behind."""
    if len(boxes) <= MOST_BOXES:
        return boxes, arrows, groups
    known = [number for number, box in enumerate(boxes) if box.state]
    here = next((number for number in known if boxes[number].state != "done"), max(known, default=0))
    first = max(0, min(here - MOST_BOXES // 2, len(boxes) - MOST_BOXES))
    end = first + MOST_BOXES
    shown = boxes[first:end]
    if first:
        shown.insert(0, DrawnBox(BEFORE, f"{first:,} more before", state=boxes[first - 1].state))
    if behind := len(boxes) - end:
        shown.append(DrawnBox(AFTER, f"{behind:,} more behind"))
    keys = {
        box.key: BEFORE if number < first else AFTER if number >= end else box.key for number, box in enumerate(boxes)
    }
    moved = [evolve(arrow, source=keys[arrow.source], target=keys[arrow.target]) for arrow in arrows]
    visible = [
        one for one in dict.fromkeys(moved) if one.source != one.target and {one.source, one.target} != {BEFORE, AFTER}
    ]
    offset = first - bool(first)
    clipped = [
        evolve(group, first=max(group.first, first) - offset, last=min(group.last, end - 1) - offset)
        for group in groups
        if group.first < end and group.last >= first
    ]
    return shown, visible, clipped


def _done(revisions: Sequence[TimelineEntry]) -> set[str]:
    """The paths of the steps that the run has behind it, and those of the groups and conditions that it has passed."""
    paths = {path for one in revisions if (path := one.where.partition(":")[2])}
    done = {one.where.partition(":")[2] for one in revisions if one.where.startswith("completed:")}
    return done | {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}


def _last_of(picture: Picture) -> set[str]:
    """The path of the step before the end, if there is only one: a run ends with the commit of that step."""
    last = {arrow.source for arrow in picture.arrows if arrow.target == END and not arrow.error}
    paths = [box.row.scope for _edge, box, _depth in picture.walk() if box.key in last and box.row is not None]
    return set(paths) if len(last) == 1 else set()


def _boxes(picture: Picture, done: set[str], info: RunInfo) -> tuple[list[DrawnBox], list[DrawnGroup]]:
    begun = bool(picture.current)
    boxes = [DrawnBox(BEGIN, picture.root.title, "", "box", "done" if begun else "")]
    groups, inside = [], list[tuple[Box, int]]()
    if picture.root.row is not None:
        boxes.append(_step(picture.root, 0, done, info))
    for edge, box, depth in picture.walk():
        if edge == "leave":
            if box.children:
                opened, first = inside.pop()
                groups.append(DrawnGroup(_caption(opened), first, len(boxes) - 1, depth + 1))
            continue
        if box.children:
            inside.append((box, len(boxes)))
        if box.row is not None:
            boxes.append(_step(box, depth + bool(box.children), done, info))
    at_end = picture.current == END
    boxes.append(DrawnBox(END, "completed", "", "box", _state_now(info) if at_end else ""))
    return boxes, groups[::-1]  # those around others first, so that they lie behind


def _step(box: Box, depth: int, done: set[str], info: RunInfo) -> DrawnBox:
    state = _state_now(info) if box.current else "done" if box.row is not None and box.row.scope in done else ""
    detail = box.detail
    if box.current and info.status not in (Status.COMPLETED, Status.FAILED, Status.CANCELLED):
        detail = f"{info.status}{detail and ', ' + detail}"
    return DrawnBox(box.key, f"{box.kind.label}{box.title}", detail, box.kind.shape.dot, state, depth)


def _caption(box: Box) -> str:
    return f"{box.title} ({box.detail})" if box.detail else box.title


def _passed(revisions: Sequence[TimelineEntry]) -> list[DrawnBox]:
    """A box for each position; several revisions at one are one box."""
    boxes: list[DrawnBox] = []
    times = 1
    for one in revisions:
        place, _colon, path = one.where.partition(":")
        title, detail = (path.rpartition("/")[2], place) if path else (one.where or "parked", "")
        if boxes and (boxes[-1].title, boxes[-1].detail.partition(", ")[0]) == (title, detail):
            times += 1
            detail = f"{detail}{detail and ', '}{times} revisions"
            boxes[-1] = DrawnBox(boxes[-1].key, title, detail, "box", "done")
        else:
            times = 1
            boxes.append(DrawnBox(f"rev{one.rev}", title, detail, "box", "done"))
    return boxes


def _called(journal: Sequence[JournalRow]) -> list[DrawnBox]:
    return [
        DrawnBox(
            f"row{row.seq}",
            row.key,
            " ".join(filter(None, (row.kind.partition(MARK)[0], row.name))),
            "box",
            "failed" if row.failed else "done",
        )
        for row in journal
    ]
