"""Diagrams: draws the picture of a chain as Mermaid, Graphviz DOT or text."""

from __future__ import annotations

from typing import Literal

from stepflow.steps.diagram.dot import dot
from stepflow.steps.diagram.mermaid import mermaid
from stepflow.steps.diagram.picture import Picture
from stepflow.steps.diagram.text import text
from stepflow.steps.position import Position
from stepflow.steps.table import Table

__all__ = ["Format", "diagram"]

Format = Literal["mermaid", "dot", "text"]
_DRAW = {"mermaid": mermaid, "dot": dot, "text": text}


def diagram(table: Table, format: Format, position: Position | None) -> str:  # noqa: A002
    """Draw the chain; raises ValueError for another format."""
    if format not in _DRAW:
        raise ValueError(f"format={format!r}: give one of {', '.join(map(repr, _DRAW))}")
    return _DRAW[format](Picture.of(table, position))
