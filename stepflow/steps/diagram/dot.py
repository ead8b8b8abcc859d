"""dot: writes the picture in Graphviz DOT."""

from __future__ import annotations

from stepflow.steps.diagram.picture import BEGIN, END, Box, Picture, one_line

_CURRENT = ', style="filled,bold", fillcolor="#ffe082", color="#e65100"'


def dot(picture: Picture) -> str:
    """Groups are clusters, conditions diamonds, waits hexagons; a retry is a dotted arrow."""
    lines = [
        f"digraph {_quoted(picture.root.title)} {{",
        f"  {BEGIN} [label={_quoted(picture.root.title)}, shape=oval];",
    ]
    if picture.root.row is not None:
        lines.append(f"  {_node(picture.root)}")
    for edge, box, depth in picture.walk():
        indent = "  " * (depth + 1)
        lines += [f"{indent}{line}" for line in (_enter(box) if edge == "enter" else _leave(box))]
    mark = _CURRENT if picture.current == END else ""
    lines.append(f'  {END} [label="completed", shape=oval{mark}];')
    for arrow in picture.arrows:
        label = f"label={_quoted(arrow.label)}" if arrow.label else ""
        options = ", ".join(filter(None, [label, "style=dotted" if arrow.error else ""]))
        lines.append(f"  {arrow.source} -> {arrow.target}{f' [{options}]' if options else ''};")
    return "\n".join([*lines, "}"]) + "\n"


def _enter(box: Box) -> list[str]:
    if box.row is not None and not box.children:
        return [_node(box)]
    group = [f"subgraph cluster_{box.key} {{", f"  label={_quoted(_caption(box))};"]
    return group if box.row is None else [*group, f"  {_node(box)}"]


def _leave(box: Box) -> list[str]:
    return [] if box.row is not None and not box.children else ["}"]


def _node(box: Box) -> str:
    return f"{box.key} [label={_quoted(_caption(box))}, shape={box.kind.shape.dot}{_CURRENT if box.current else ''}];"


def _caption(box: Box) -> str:
    return f"{box.title} ({box.detail})" if box.detail else box.title


def _quoted(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
