"""The rows of the table, in its order; three other modules make those about drivers, engines, and the short way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench import driver_rows, engine_rows, short_rows
from tests.bench.row import Fill, Row

SLEEPERS = 100_000


def _raw() -> Iterator[Row]:
    for level in ("FULL", "NORMAL"):
        for batch, runs in ((1, 500), (64, 6400)):
            label = "one step per commit" if batch == 1 else f"{batch} steps per commit"
            how = {"batch": batch, "synchronous": level.lower()}
            yield Row(
                f"raw.{batch}.{level.lower()}", "raw limit", f"sqlite3, {label}, {level}", "raw:measure", runs, how=how
            )
    label, how = "sqlite3, 64 steps per commit, FULL, with the check of the epoch", {"batch": 64, "fenced": True}
    yield Row("raw.fenced.64", "raw limit", label, "raw:measure", 6400, how=how)


def _peer(name: str, label: str, runs: int, group: str, **how: Any) -> Row:
    module = name.partition(".")[0].partition("-")[0]
    needs = ("langgraph-checkpoint-sqlite" if module == "langgraph" else module,)
    label += ", one at a time" if how["width"] == 1 else f", {how['width']} at a time"
    return Row(name, group, label, f"peers.{module}:measure", runs, how=how, needs=needs)


def _peers() -> Iterator[Row]:
    """As documented, and then with the write-ahead log that their documentation does not mention."""
    group = "peers, as documented"
    label = "DBOS, SQLite system database"
    yield _peer("dbos.1", label, 40, group, width=1, style="threads")
    yield _peer("dbos.64", label, 128, group, width=64, style="threads")
    yield _peer("burr.1", "Burr, SQLitePersister", 100, group, width=1, style="threads")
    yield _peer("burr.64", "Burr, SQLitePersister", 192, group, width=64, style="threads")
    yield _peer("burr-async.64", "Burr, AsyncSQLitePersister, shared", 512, group, width=64, style="tasks")
    label = "LangGraph functional API, SQLite"
    yield _peer("langgraph.1", label, 100, group, width=1, style="threads")
    yield _peer("langgraph.64", label, 192, group, width=64, style="tasks")
    group = "peers, on a WAL file made for them"
    label = "DBOS, SQLite system database"
    yield _peer("dbos-wal.1", label, 60, group, width=1, style="threads", wal=True)
    yield _peer("dbos-wal.64", label, 128, group, width=64, style="threads", wal=True)
    yield _peer("burr-wal.1", "Burr, SQLitePersister", 300, group, width=1, style="threads", wal=True)
    yield _peer("burr-wal.64", "Burr, SQLitePersister", 512, group, width=64, style="threads", wal=True)
    yield _peer(
        "burr-async-wal.64", "Burr, AsyncSQLitePersister, shared", 512, group, width=64, style="tasks", wal=True
    )


def _machines() -> Iterator[Row]:
    unit = "transitions/s"
    for name, label, callback in (
        ("transitions", "transitions, no callback", False),
        ("transitions-call", "transitions, one callback each", True),
    ):
        how = {"callback": callback}
        yield Row(name, "in memory", label, "inmemory:transitions", 5000, unit, how, needs=("transitions",))
    label = "python-statemachine, no callback"
    yield Row("statemachine", "in memory", label, "inmemory:statemachine", 500, unit, needs=("python-statemachine",))
    yield Row("apply", "in memory", "stepflow apply, one user call each", "inmemory:applies", 30_000, "applies/s")


def _ours() -> Iterator[Row]:
    sizes = {1: 400, 8: 2000, 64: 6400, 512: 6400}
    for style in ("async", "sync"):
        for width, runs in sizes.items():
            how = {"width": width, "style": style}
            label = f"{style} steps, {width} run{'s' * (width > 1)} at a time"
            yield Row(f"{style}.{width}", "stepflow, SQLite, FULL", label, "ours:drain", runs, how=how, store="sqlite")


def _beside() -> Iterator[Row]:
    group, how = "stepflow, SQLite, FULL", {"width": 64, "style": "async"}
    label = f"async steps, 64 at a time, beside {SLEEPERS:,} sleeping runs"
    fill = Fill("sleepers", SLEEPERS)
    yield Row("sleepers.64", group, label, "ours:drain", 6400, how=how, store="sqlite", fill=fill)
    label = "async steps, 64 at a time, beside one spinning sync step"
    yield Row("spin.64", group, label, "ours:spin", 1600, how={"width": 64}, store="sqlite")
    for style in ("async", "sync"):
        label = f"{style} steps, 64 at a time, traced and measured by OpenTelemetry"
        told = {"width": 64, "style": style, "told": True}
        yield Row(
            f"told-{style}.64", group, label, "ours:drain", 3200, how=told, needs=("opentelemetry-sdk",), store="sqlite"
        )
    label = "async steps, 64 runs at a time"
    yield Row("memory.64", "stepflow, memory", label, "ours:drain", 6400, how=how, store="memory")


def _runs() -> Iterator[Row]:
    group = "stepflow, whole runs"
    for width, runs in ((1, 300), (64, 3200)):
        label = "one client" if width == 1 else f"{width} clients"
        how = {"width": width, "style": "async"}
        yield Row(
            f"latency.{width}", group, f"start to result, {label}: p50", "ours:latency", runs, "ms", how, store="sqlite"
        )
    for width, runs in ((1, 1000), (64, 6400)):
        label = "one client" if width == 1 else f"{width} clients"
        how = {"width": width}
        yield Row(f"start.{width}", group, f"start, {label}", "ours:starts", runs, "starts/s", how, store="sqlite")


def _footprint() -> Iterator[Row]:
    group, label = "stepflow, footprint", f"memory that {SLEEPERS:,} waiting runs take"
    yield Row("waiting", group, label, "footprint:waiting", SLEEPERS, "MB", store="sqlite")
    yield Row("import", group, "import stepflow", "footprint:importing", 10, "ms", size="tries")


PARTS = (
    _raw,
    driver_rows.raw_limits,
    _peers,
    _machines,
    _ours,
    _beside,
    driver_rows.drains,
    driver_rows.queues,
    driver_rows.watching,
    driver_rows.waiters,
    driver_rows.exchanges,
    driver_rows.claims,
    driver_rows.plans,
    driver_rows.turns,
    driver_rows.several,
    driver_rows.keys,
    driver_rows.lists,
    driver_rows.prunes,
    _runs,
    short_rows.short,
    engine_rows.flow_functions,
    engine_rows.workflows,
    engine_rows.crashes,
    engine_rows.rates,
    engine_rows.loads,
    engine_rows.verbs,
    engine_rows.servers,
    engine_rows.games,
    _footprint,
    engine_rows.disks,
)
ROWS: dict[str, Row] = {row.name: row for part in PARTS for row in part()}
