"""The raw limit of RocksDB: `rocksdict` with stepflow's options; a commit is one synced WriteBatch, behind a read of the epochs."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import rocksdict

from stepflow.drivers.rocksdb.options import open_options
from tests.bench.begun import NOW, STEPS, TEXTS, Step, commits

STATES, HISTORY, QUEUE = b"/0\0\1s", b"/0\0\1y", b"/0\0\1q"
Batch = tuple[list[bytes], list[bytes], list[tuple[bytes, bytes]]]


def _queue(run: str) -> bytes:
    return QUEUE + run.encode()


def _record(step: Step) -> bytes:
    """A State as text, about as long as a row of the driver."""
    return f"1\0{step.prev}\0{step.prev}\0{step.at}\0{step.text}\0{{}}\0{{}}\0".encode()


def _prepared(steps: list[Step]) -> Batch:
    """The rows whose epochs are read, these epochs, and the two records of every step."""
    rows: list[tuple[bytes, bytes]] = []
    for step in steps:
        run, record = step.id.encode(), _record(step)
        rows += [(STATES + run, record), (HISTORY + run + step.rev.to_bytes(8), record)]
    return [_queue(step.id) for step in steps], [b"%d" % step.epoch for step in steps], rows


def _write(db: Any, sync: Any, batch: Batch) -> None:
    keys, epochs, rows = batch
    if db.get(keys) != epochs:
        raise RuntimeError("an epoch is not as expected")
    changes = rocksdict.WriteBatch(raw_mode=True)
    for key, value in rows:
        changes.put(key, value)
    db.write(changes, sync)


def measure(folder: Path, *, store: str, place: str, runs: int, batch: int) -> dict[str, Any]:
    """Steps per second with `batch` steps in one commit."""
    begun = {f"run-{n:06}": (n + 1, n + 1) for n in range(runs)}
    work = [_prepared(steps) for steps in commits(begun, batch)]
    sync = rocksdict.WriteOptions()
    sync.sync = True
    db = rocksdict.Rdict(place, open_options(rocksdict))
    for run, (epoch, rev) in begun.items():
        db[_queue(run)] = b"%d" % epoch
        db[STATES + run.encode()] = _record(Step(run, epoch, 0, rev, TEXTS[0], NOW))
    began = perf_counter()
    for changes in work:
        _write(db, sync, changes)
    spent = perf_counter() - began
    db.close()
    again = rocksdict.Rdict(place, open_options(rocksdict))
    found = sum(key.startswith(HISTORY) for key in again.keys(from_key=HISTORY))
    again.close()
    return {"value": found / spent, "steps": found, "expected": runs * STEPS}
