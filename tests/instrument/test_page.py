"""The guide shows the table of metrics as the code has it."""

from __future__ import annotations

from stepflow.engine.instrument.metrics import METRICS
from tests.house.pages import ROOT

PAGE = ROOT / "docs" / "howto" / "observability.md"
BEGIN, END = "<!-- metrics: made from engine/instrument/metrics.py -->\n", "\nThe Prometheus names"


def table() -> str:
    """The table of metrics in Markdown."""
    lines = ["| metric, and its name in Prometheus | kind, unit | what | attributes |", "|---|---|---|---|"]
    for metric in METRICS:
        kind = {"updown": "up and down"}.get(metric.kind, metric.kind)
        names = ", ".join(f"`{name}`" for name in metric.attributes)
        what = metric.description[0].lower() + metric.description[1:].removesuffix(".")
        lines.append(f"| `{metric.name}`, `{metric.prometheus}` | {kind}, `{metric.unit}` | {what} | {names} |")
    return "\n".join(lines) + "\n"


def test_the_guide_has_the_table_of_metrics():
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert shown == f"\n{table()}", f"the table of {PAGE.name} should be:\n\n{table()}"
