"""LogSpace: zeros behind the end of SQLite's log, so that most commits do not make that file longer.

A commit that makes it longer lets the file system write the new size, too, before the commit is durable: on ext4 that is a
second write to the disk. SQLite itself starts the log again from its beginning when it has LIMIT bytes, and writes over it from then on.
What follows the last commit in the log is nothing to SQLite unless its checksum and salts are right; zeros never are.
"""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 256 * 1024  # bytes; the length of a log whose end was filled up with zeros is a multiple of it
LIMIT = 4 * 1024 * 1024  # bytes, of the 1,000 pages after which SQLite copies the log into the file


class LogSpace:
    """The end of the log `path`."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def fill(self) -> None:
        """Append zeros if the last commit made the log longer. Only for who holds SQLite's write lock: no other writes to the log.

        If the file was replaced after it was checked, this is the log of another one, whose writers do not wait for that lock: an
        append writes over nothing, wherever the end is by then. A disk that has no room for them keeps no commit back.
        """
        try:
            size = os.stat(self._path).st_size  # noqa: PTH116 - faster, and called for every transaction
            if size % CHUNK and size < LIMIT:
                fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                try:
                    os.write(fd, bytes(CHUNK - size % CHUNK))
                finally:
                    os.close(fd)
        except OSError:  # there is no log yet, or no room
            return
