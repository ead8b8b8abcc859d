"""lock_owner: records which process has a directory open, so that a refused process can name it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from stepflow.errors import StoreError, Unavailable

NOTE = "stepflow-holder.txt"


def note(path: Path) -> None:
    """Record that this process has the directory open; only the lock itself counts, so a failure is ignored."""
    with suppress(OSError):
        (path / NOTE).write_text(f"{os.getpid()} {socket.gethostname()}\n")


def explained(error: StoreError, path: Path) -> StoreError:
    """The error; for a held lock, an error that names the process and the remedy."""
    if not isinstance(error, Unavailable) or "lock" not in str(error):
        return error
    try:
        pid, host = (path / NOTE).read_text().split()
    except (OSError, ValueError):
        return error
    return Unavailable(
        f"{path} is open in process {pid} on {host}, and RocksDB allows one process at a time: stop that one first, "
        "do the work inside it, read with ?mode=ro, or use sqlite:// or postgresql:// to share a store"
    )
