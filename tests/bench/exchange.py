"""A large exchange that changes little: bytes stored per step, and the CPU time of a step beside that of encoding it."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

from attrs import define, field

from stepflow import Engine, Steps, named
from stepflow.drivers.port.deltas import UNKNOWN, parts_of, stored_form
from stepflow.model.codec import Codec
from tests.bench.target import target

ROWS, ROW = 1000, 1000  # about 1 MB


@define
class Document:
    """Grows by one row in the middle per step."""

    steps: int = 0
    rows: list[str] = field(factory=list)
    last: int = 0


def _row(source: random.Random) -> str:
    return "".join(source.choices("abcdefghijklmnop ", k=ROW))


def document() -> Document:
    """One of 1 MB."""
    source = random.Random(1)
    return Document(rows=[_row(source) for _ in range(ROWS)])


def grow(doc: Document) -> None:
    """One step."""
    doc.steps += 1
    doc.rows.insert(len(doc.rows) // 2, _row(random.Random(doc.steps)))
    doc.last = doc.steps * 7


def _size(store: str, place: str) -> int:
    if store == "sqlite":
        import sqlite3

        with closing(sqlite3.connect(place)) as file:
            return int(file.execute("SELECT sum(length(exchange)) FROM stepflow_history WHERE prev > 0").fetchone()[0])
    import psycopg

    with psycopg.connect(place) as connection:
        row = connection.execute("select sum(octet_length(exchange)) from stepflow.history where prev > 0").fetchone()
        return int(row[0]) if row else 0


def measure(folder: Path, *, store: str, place: str, steps: int) -> dict[str, Any]:
    """Bytes of exchanges in the history per step of one run, without that of its start."""
    at = target(store, place)
    flow = (
        named("grow", Document).loop_until("loop", lambda doc: doc.steps >= steps, Steps().do("grow", grow)).compile()
    )
    with Engine(at.driver) as engine:
        engine.register(flow)
        engine.start(flow, document(), id="run-1")
        engine.run_until_idle()
        done = engine.get(flow, "run-1").result().steps
    return {"value": _size(store, place) / steps, "steps": done, "expected": steps}


def cpu(folder: Path, *, steps: int, deltas: bool) -> dict[str, Any]:
    """Milliseconds of CPU per step for the encoding of the exchange, and with `deltas` for its stored form: the median."""
    codec, doc, spans = Codec(Document), document(), list[float]()
    old = codec.encode(doc)
    parts, rev = parts_of(1, old), 1
    for _ in range(steps):
        grow(doc)
        began = thread_time()
        new = codec.encode(doc)
        stored = stored_form(old, new, parts) if deltas else new
        spans.append(thread_time() - began)
        rev, old = rev + 1, new
        parts = parts_of(rev, stored) if deltas else UNKNOWN
    return {"value": median(spans) * 1000, "steps": len(spans), "expected": steps}
