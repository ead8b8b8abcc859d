"""Who has a directory open: a note beside RocksDB's lock, so that a refused process can say whom to stop."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from stepflow.errors import StoreError, Unavailable

NOTE = "stepflow-holder.txt"


def note(path: Path) -> None:
    """Write down that this process has it open; only the lock itself counts, so a failure does not matter."""
    with suppress(OSError):
        (path / NOTE).write_text(f"{os.getpid()} {socket.gethostname()}\n")


def explained(error: StoreError, path: Path) -> StoreError:
    """The error, or for a held lock one that names the holder and what to do."""
    if not isinstance(error, Unavailable) or "lock" not in str(error):
        return error
    try:
        pid, host = (path / NOTE).read_text().split()
    except (OSError, ValueError):
        return error
    return Unavailable(
        f"{path} is open in process {pid} on {host}, and RocksDB allows one process at a time: stop that one first, "
        "do the work inside of it, look with ?mode=ro, or use sqlite:// or postgresql:// to share a store"
    )
