"""Turns samples and verdicts into one table for people and one document for programs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.bench.bars import Verdict
from tests.bench.probe import Sampler
from tests.bench.row import Row
from tests.bench.rows import ROWS

EXTRAS = {
    "offered": "{:,.1f} runs/s offered",
    "p99_ms": "p99 {:.2f} ms",
    "p999_ms": "p99.9 {:.2f} ms",
    "calls_per_s": "{:,.0f} calls/s",
    "cpu_share": "{:.0%} of a processor",
    "updates_per_s": "{:,.0f} updates/s",
    "best_s": "best {:.2f} s",
    "worst_s": "worst {:.2f} s",
    "ms_per_run": "{:.2f} ms per run",
    "log_bytes": "{:,.0f} bytes went through the log",
    "horizon_ms": "look ahead {:.2f} ms",
    "steps_per_s": "{:,.0f} steps/s with starts",
    "file_mb": "{:,.0f} MB on disk",
    "bare_ms": "bare interpreter {:.0f} ms",
    "with_import_ms": "with import {:.0f} ms",
    "engine_ms": "with the engine loaded + {:.0f} ms",
}


def number(value: float) -> str:
    """Three digits, or all of a large number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _median(samples: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.median(float(s[key]) for s in samples)


def _line(row: Row, sampler: Sampler) -> tuple[str, str, str, str]:
    samples = sampler.samples.get(row.name)
    if not samples:
        return row.label, "-", row.unit, sampler.failed[row.name].strip().splitlines()[-1]
    values = [float(s["value"]) for s in samples]
    notes = [text.format(_median(samples, key)) for key, text in EXTRAS.items() if key in samples[0]]
    if len(values) > 1:
        notes.insert(0, f"{number(min(values))} … {number(max(values))}, {len(values)} samples")
    return row.label, number(statistics.median(values)), row.unit, "; ".join(notes)


def table(names: Sequence[str], sampler: Sampler) -> Iterator[str]:
    """The lines of the table, in Markdown: medians over all samples of a row."""
    yield "| what | median | unit | range, remarks |"
    yield "|---|---:|---|---|"
    group = ""
    for row in (ROWS[name] for name in names):
        if row.group != group:
            group = row.group
            yield f"| **{group}** | | | |"
        yield "| " + " | ".join(_line(row, sampler)) + " |"


def verdicts(title: str, found: Sequence[Verdict]) -> Iterator[str]:
    """The lines of the bars, in Markdown."""
    yield f"| {title} | measured | needed | against | pairs | |"
    yield "|---|---:|---:|---|---|---|"
    words = {True: "pass", False: "FAIL", None: "not measured"}
    for v in found:
        sign = "<=" if v.bar.at_most else ">="
        figure = "-" if v.figure is None else number(v.figure)
        pairs = ", ".join(map(number, v.pairs))
        yield f"| {v.bar.text} | {figure} | {sign} {number(v.bar.factor)} | {v.against} | {pairs} | {words[v.passed]} |"


def document(
    machine: Mapping[str, str], names: Sequence[str], sampler: Sampler, found: Sequence[Verdict]
) -> dict[str, Any]:
    """Everything, for `--json`."""
    rows = {
        name: {
            "label": ROWS[name].label,
            "unit": ROWS[name].unit,
            "median": _median(sampler.samples[name], "value") if name in sampler.samples else None,
            "samples": sampler.samples.get(name, []),
            "problem": sampler.failed.get(name, ""),
        }
        for name in names
    }
    bars = [
        {
            "text": v.bar.text,
            "row": v.bar.row,
            "against": v.against,
            "needed": v.bar.factor,
            "at_most": v.bar.at_most,
            "measured": v.figure,
            "pairs": v.pairs,
            "passed": v.passed,
        }
        for v in found
    ]
    return {"machine": dict(machine), "rows": rows, "bars": bars}
