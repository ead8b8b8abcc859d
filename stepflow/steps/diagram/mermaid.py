"""mermaid: writes the picture as a Mermaid flowchart."""

from __future__ import annotations

from stepflow.steps.diagram.picture import BEGIN, END, Box, Picture, one_line


def mermaid(picture: Picture) -> str:
    """Groups are subgraphs, conditions diamonds, waits hexagons; a retry is a dotted arrow."""
    lines = ["flowchart TD", f"  {BEGIN}({_quoted(picture.root.title)})"]
    if picture.root.row is not None:
        lines.append(f"  {_node(picture.root)}")
    for edge, box, depth in picture.walk():
        indent = "  " * (depth + 1)
        lines += [f"{indent}{line}" for line in (_enter(box) if edge == "enter" else _leave(box))]
    lines.append(f'  {END}("completed")')
    for arrow in picture.arrows:
        line = "-.->" if arrow.error else "-->"
        label = f"|{_quoted(arrow.label)}|" if arrow.label else ""
        lines.append(f"  {arrow.source} {line}{label} {arrow.target}")
    if picture.current:
        lines += [
            "  classDef current fill:#ffe082,stroke:#e65100,stroke-width:3px",
            f"  class {picture.current} current",
        ]
    return "\n".join(lines) + "\n"


def _enter(box: Box) -> list[str]:
    if box.row is not None and not box.children:
        return [_node(box)]
    group = f"subgraph g{box.key}[{_quoted(_caption(box))}]"
    return [group] if box.row is None else [group, f"  {_node(box)}"]


def _leave(box: Box) -> list[str]:
    return [] if box.row is not None and not box.children else ["end"]


def _node(box: Box) -> str:
    left, right = box.kind.shape.mermaid
    return f"{box.key}{left}{_quoted(_caption(box))}{right}"


def _caption(box: Box) -> str:
    return f"{box.title} ({box.detail})" if box.detail else box.title


def _quoted(given: str) -> str:
    text = one_line(given)
    for character, escape in {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;"}.items():
        text = text.replace(character, escape)
    return f'"{text}"'
