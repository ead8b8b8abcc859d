"""disk_space: tells whether there is room left for a store of files."""

from __future__ import annotations

import shutil
from pathlib import Path

from stepflow.drivers.port.queries import Condition

# Less may be gone at once: by a write-ahead log, or by the files that a compaction writes before it deletes others.
LEAST_FREE_BYTES = 256 << 20


def disk_space(folder: Path) -> Condition:
    """Whether enough is free in the file system of a folder; a quota of the user is not known."""
    free = shutil.disk_usage(folder).free
    least = f"{LEAST_FREE_BYTES >> 20} MB"
    if free >= LEAST_FREE_BYTES:
        return Condition("disk space", True, f"more than {least} free")
    text = f"{free >> 20} MB free, less than {least}: when the disk is full, nothing is written and no run goes on; make room, or prune"
    return Condition("disk space", False, text)
