"""text: writes the picture as an indented list, for terminals and logs; `>` marks the step that is due."""

from __future__ import annotations

from stepflow.steps.diagram.picture import END, Picture, one_line


def text(picture: Picture) -> str:
    """One line per box, two spaces per level."""
    lines = [f"  {one_line(picture.root.title)}"]
    for edge, box, depth in picture.walk():
        if edge == "enter":
            detail = f"  ({one_line(box.detail)})" if box.detail else ""
            mark = "> " if box.current else "  "
            lines.append(f"{mark}{'  ' * (depth + 1)}{box.kind.label}{one_line(box.title)}{detail}")
    lines.append("> completed" if picture.current == END else "  completed")
    return "\n".join(lines) + "\n"
