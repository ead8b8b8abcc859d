"""column_svg: draws boxes below each other and the arrows between them as SVG.

An arrow to the next box is a straight line; one that skips boxes runs on the right side, one that goes back on the left side.
Colours come from the style sheet, by the classes of the elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen
from markupsafe import Markup

WIDTH, HEIGHT, GAP, INSET = 250, 40, 26, 12  # of a box; between two; of a group's border per level
LANE = 18  # between arrows beside the boxes
HEAD = 22  # of a group, for its title
TOP = 6
LETTERS = 34  # of a title that fits into a box


@frozen
class DrawnBox:
    """A box; `state` is `""`, `done`, `current` or `failed`, `shape` that of `steps.values`. `depth` counts the groups around it."""

    key: str
    title: str
    detail: str = ""
    shape: str = "box"
    state: str = ""
    depth: int = 0


@frozen
class DrawnGroup:
    """A border around the boxes `first` to `last` (numbers), with a title."""

    title: str
    first: int
    last: int
    depth: int


@frozen
class DrawnArrow:
    """From box to box (keys); `back` marks the arrow of a retry."""

    source: str
    target: str
    label: str = ""
    retry: bool = False


@frozen
class Lane:
    """An arrow beside the boxes: the numbers of its boxes, and its place, 0 next to the boxes."""

    arrow: DrawnArrow
    source: int
    target: int
    place: int


def column_svg(
    label: str, boxes: Sequence[DrawnBox], arrows: Sequence[DrawnArrow], groups: Sequence[DrawnGroup] = ()
) -> Markup:
    """The picture; `label` says in words what it shows."""
    numbers = {box.key: number for number, box in enumerate(boxes)}
    ends = [(arrow, numbers[arrow.source], numbers[arrow.target]) for arrow in arrows]
    right = _lanes([end for end in ends if end[2] > end[1] + 1])
    left = _lanes([end for end in ends if end[2] <= end[1]])
    x = TOP + LANE * (1 + max((lane.place for lane in left), default=-1)) + (LANE if left else 0)
    tops = _tops(boxes, groups)
    width = x + WIDTH + LANE * (1 + max((lane.place for lane in right), default=-1)) + 10
    width += 8 * max((len(_short(lane.arrow.label, 14)) for lane in right if lane.arrow.label), default=0)
    parts = [
        Markup('<svg class="plan" role="img" aria-label="{0}" width="{1}" height="{2}" viewBox="0 0 {1} {2}">').format(
            label, width, tops[-1] + HEIGHT + TOP + 16
        ),
        Markup(
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        ),
        Markup('<path d="M0 0L8 4L0 8z"/></marker></defs>'),
        *(_border(group, x, tops) for group in groups),
        *(_straight(arrow, x, tops[source], tops[target]) for arrow, source, target in ends if target == source + 1),
        *(_beside(lane, x + WIDTH, 1, boxes, tops) for lane in right),
        *(_beside(lane, x, -1, boxes, tops) for lane in left),
        *(_title(group, x, tops) for group in groups),
        *(_box(box, x, top) for box, top in zip(boxes, tops, strict=True)),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _lanes(ends: Sequence[tuple[DrawnArrow, int, int]]) -> list[Lane]:
    """A place for each arrow beside the boxes, short ones inside: no two of one place pass the same box."""
    taken: list[list[tuple[int, int]]] = []
    found = []
    for arrow, source, target in sorted(ends, key=lambda end: abs(end[2] - end[1])):
        low, high = min(source, target), max(source, target)
        place = next((n for n, spans in enumerate(taken) if all(high < a or b < low for a, b in spans)), len(taken))
        taken[place:] = taken[place:] or [[]]
        taken[place].append((low, high))
        found.append(Lane(arrow, source, target, place))
    return found


def _tops(boxes: Sequence[DrawnBox], groups: Sequence[DrawnGroup]) -> list[int]:
    heads = [sum(HEAD for group in groups if group.first == number) for number in range(len(boxes))]
    feet = [sum(INSET for group in groups if group.last == number) for number in range(len(boxes))]
    tops, y = [], TOP
    for head, foot in zip(heads, feet, strict=True):
        y += head
        tops.append(y)
        y += HEIGHT + GAP + foot
    return tops


def _border(group: DrawnGroup, x: int, tops: Sequence[int]) -> Markup:
    inset = (group.depth - 1) * INSET
    top, bottom = tops[group.first] - HEAD + 4, tops[group.last] + HEIGHT + INSET - 4
    border = Markup('<rect class="group" x="{0}" y="{1}" width="{2}" height="{3}" rx="6"/>')
    return border.format(x + inset, top, WIDTH - 2 * inset, bottom - top)


def _title(group: DrawnGroup, x: int, tops: Sequence[int]) -> Markup:
    """Over the arrow that leads into the group."""
    text = Markup('<text class="quiet" x="{0}" y="{1}">{2}</text>')
    return text.format(x + (group.depth - 1) * INSET + 8, tops[group.first] - HEAD + 17, _short(group.title))


def _box(box: DrawnBox, x: int, top: int) -> Markup:
    inset = min(box.depth, 5) * INSET
    left, right, bottom = x + inset, x + WIDTH - inset, top + HEIGHT
    slant = {"diamond": 14, "hexagon": 10, "parallelogram": 10}.get(box.shape, 0)
    if box.shape == "parallelogram":
        points = [(left + slant, top), (right, top), (right - slant, bottom), (left, bottom)]
    else:
        middle = top + HEIGHT // 2
        points = [(left + slant, top), (right - slant, top), (right, middle)]
        points += [(right - slant, bottom), (left + slant, bottom), (left, middle)]
    text = Markup("").join(_texts(box, (left + right) // 2, top))
    outline = " ".join(f"{px},{py}" for px, py in points)
    shown = Markup('<g class="step {0}"><title>{1}</title><polygon points="{2}"/>{3}</g>')
    return shown.format(box.state, f"{box.title} {box.detail}".strip(), outline, text)


def _texts(box: DrawnBox, x: int, top: int) -> Iterator[Markup]:
    room = LETTERS - 3 * min(box.depth, 5)
    line = Markup('<text{3} text-anchor="middle" x="{0}" y="{1}">{2}</text>')
    if not box.detail:
        yield line.format(x, top + 25, _short(box.title, room), "")
        return
    yield line.format(x, top + 18, _short(box.title, room), "")
    yield line.format(x, top + 33, _short(box.detail, room + 4), Markup(' class="quiet"'))


def _straight(arrow: DrawnArrow, x: int, top: int, target: int) -> Markup:
    middle = x + WIDTH // 2
    line = Markup('<path class="arrow" marker-end="url(#head)" d="M{0} {1}V{2}"/>').format(middle, top + HEIGHT, target)
    if not arrow.label:
        return line
    text = Markup('<text class="quiet" x="{0}" y="{1}">{2}</text>')
    return line + text.format(middle + 6, top + HEIGHT + 17, _short(arrow.label, 14))


def _beside(lane: Lane, edge: int, way: int, boxes: Sequence[DrawnBox], tops: Sequence[int]) -> Markup:
    begin = edge - way * min(boxes[lane.source].depth, 5) * INSET
    end = edge - way * min(boxes[lane.target].depth, 5) * INSET
    out = edge + way * LANE * (lane.place + 1)
    start, stop = tops[lane.source] + HEIGHT // 2 + 6, tops[lane.target] + HEIGHT // 2 - 6
    kind = "arrow retry" if lane.arrow.retry else "arrow"
    line = Markup('<path class="{0}" marker-end="url(#head)" d="M{1} {2}H{3}V{4}H{5}"/>').format(
        kind, begin, start, out, stop, end
    )
    if not lane.arrow.label or way < 0:
        return Markup("<g><title>{0}</title>{1}</g>").format(lane.arrow.label, line) if lane.arrow.label else line
    text = Markup('<text class="quiet" x="{0}" y="{1}">{2}</text>')
    return line + text.format(out + 4, start + 13, _short(lane.arrow.label, 14))


def _short(text: str, room: int = LETTERS) -> str:
    text = " ".join(text.split())
    return text if len(text) <= room else f"{text[: room - 1]}…"
