"""Tells whether the process of another owner is gone: only where it ran on this machine, and the system can tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

PROC = Path("/proc")
ENDED = "ZX"  # states of a process that has ended and was not waited for yet


def identity() -> str:
    """This process: the machine's boot, its table of processes, number and start; empty where the system has no /proc.

    A number alone is not enough: it is used again, and containers with one host name have tables of their own.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        table = str((PROC / "self/ns/pid").readlink())
        _state, started = _stat(os.getpid())
    except (OSError, ValueError):
        return ""
    return f"{boot} {table} {os.getpid()} {started}"


def fate(theirs: str, mine: str) -> Literal["alive", "gone", "unknown"]:
    """What became of the process with the identity `theirs`, as seen by the one with the identity `mine`."""
    try:
        boot, table, pid, started = theirs.split(" ")
        if not mine or mine.split(" ")[:2] != [boot, table]:
            return "unknown"
        state, found = _stat(int(pid))
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    except (OSError, ValueError):
        return "unknown"
    return "gone" if state in ENDED or found != started else "alive"


def _stat(pid: int) -> tuple[str, str]:
    """State and start of a process; its name may hold spaces and brackets."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
