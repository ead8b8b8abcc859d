"""FileIdentity: notices that the file behind a path was removed or replaced while it was open.

An open file that was unlinked takes writes as before, and they are lost at its last close: no error tells of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from stepflow.errors import StoreReplaced


class FileIdentity:
    """The device and inode of `path` when this was made; `name` is what messages call the store."""

    def __init__(self, path: Path, name: Path | None = None) -> None:
        self._path, self._name = str(path), name or path
        found = os.stat(path)  # noqa: PTH116 - faster, and called before every write
        self._identity = found.st_dev, found.st_ino

    def check(self) -> None:
        """Raise StoreReplaced unless the path leads to the same file; what is written from now on would be lost."""
        try:
            found = os.stat(self._path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            what = "was removed"
        except OSError:  # the store's own calls will fail and tell why
            return
        else:
            if (found.st_dev, found.st_ino) == self._identity:
                return
            what = "was replaced by another one"
        raise StoreReplaced(
            f"{self._name} {what} while it was open: nothing more is written to it; "
            "restart the process that has it open (a server, a worker), or close this engine and open a new one"
        )
