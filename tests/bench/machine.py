"""Describes the machine and the versions that the figures belong to."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tests.bench.probe import version_of


def _cpu() -> str:
    """Model and clock rate, as far as Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{facts.get('model name', platform.machine())}, {facts.get('cpu MHz', '?')} MHz"


def filesystem(path: Path) -> str:
    """The type of the file system that `path` is on."""
    best, kind = "", "unknown"
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return kind
    for mount in mounts:
        _, point, found, *_ = mount.split(" ")
        if path.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def describe(folder: Path, distributions: Iterable[str]) -> dict[str, str]:
    """What to print above the table, in order."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "CPU": f"{_cpu()}, {cores} cores usable",
        "load before": ", ".join(f"{n:.2f}" for n in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        "file system": f"{filesystem(folder)} ({folder.parent})",
        **{name: version_of(name) or "not installed" for name in distributions},
    }
