"""locks: lock files beside the database: they order the writers of several processes and prove that an owner died.

This module uses `flock` on its own files only: it never opens the database file, because closing it would release the
locks that SQLite holds on it in this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from stepflow.drivers.port.process_fork import on_fork
from stepflow.drivers.sqlite.errors import translated
from stepflow.errors import Unavailable

LOCKS_OF_SYSTEM = Path("/proc/locks")
RESERVED_BYTE, WRITE_BYTE = (
    0x40000001,
    120,
)  # locked by a writer: in the file without a write-ahead log, in its -shm with one
AT_ONCE = LOCK_EX | LOCK_NB
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.000_05, 0.002


def seconds() -> float:
    """A clock that measures how long a lock was waited for."""
    return time.monotonic()


class WouldBlock(Exception):
    """Another writer is active, and the caller does not wait."""


def repeat_until(attempt: Callable[[], bool], timeout_s: float) -> bool:
    """Repeat `attempt` until it succeeds; False after `timeout_s`. The first attempt is made at once."""
    pause, waited = FIRST_PAUSE_S, 0.0
    while not attempt():
        if waited >= timeout_s:
            return False
        time.sleep(pause)
        waited += pause
        pause = min(pause * 2, LONGEST_PAUSE_S)
    return True


def held_here(path: Path) -> bool:
    """Whether a connection of this process holds SQLite's write lock on a database; False where the system does not tell."""
    bytes_of: dict[int, int] = {}
    for file, byte in ((path, RESERVED_BYTE), (path.with_name(f"{path.name}-shm"), WRITE_BYTE)):
        with suppress(OSError):
            bytes_of[file.stat().st_ino] = byte
    try:
        lines = LOCKS_OF_SYSTEM.read_text().splitlines()
    except OSError:
        return False
    me = str(os.getpid())
    for fields in map(str.split, lines):  # as `1: POSIX ADVISORY WRITE 927 fe:00:3443 120 120`
        if len(fields) == 8 and fields[1] == "POSIX" and fields[3:5] == ["WRITE", me]:
            byte = bytes_of.get(int(fields[5].rpartition(":")[2]), -1)
            if int(fields[6]) <= byte and (fields[7] == "EOF" or byte <= int(fields[7])):
                return True
    return False


class LockFile:
    """One lock file, opened at once and locked on demand; a forked child closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with translated(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        on_fork(self)

    def after_fork(self) -> None:
        """The lock stays with the parent."""
        self.close()

    def try_lock(self) -> bool:
        """Acquire the lock if it is free."""
        try:
            flock(self._fd, AT_ONCE)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}; keep the store on a file system with locks") from error
        return True

    def lock(self, timeout_s: float) -> bool:
        """Wait for the lock; False after `timeout_s`. A stopped process may hold it for any time."""
        return repeat_until(self.try_lock, timeout_s)

    def unlock(self) -> None:
        """Release the lock."""
        flock(self._fd, LOCK_UN)

    def close(self) -> None:
        """Close the file; its lock is free when no other process inherited it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class WriterLock:
    """Orders the writers of several processes, first come first served: the one that holds the gate is next."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self._gate, self._turn = LockFile(folder / "gate"), LockFile(folder / "turn")
        self._timeout_s = timeout_s

    def take(self, *, wait: bool = True) -> bool:
        """Acquire the turn; tells whether it was free.

        Raises Unavailable when another process does not end its turn; without `wait` WouldBlock, at once.
        """
        gate, turn = self._gate, self._turn
        first = gate.try_lock() or self._waited(gate, wait)
        try:
            return (turn.try_lock() or self._waited(turn, wait)) and first
        finally:
            gate.unlock()

    def give(self) -> None:
        """End the turn."""
        self._turn.unlock()

    def _waited(self, lock: LockFile, wait: bool) -> bool:
        """Wait for a lock that was not free; always False."""
        if not wait:
            raise WouldBlock
        if not lock.lock(self._timeout_s):
            raise Unavailable(
                f"{lock.path}: another process has held this lock for more than {self._timeout_s:g} s and may be "
                "stopped; nothing was written: continue or end that process, then try again"
            )
        return False

    def close(self) -> None:
        """Close the files; they stay on disk for the other processes."""
        self._gate.close()
        self._turn.close()


def owner_path(folder: Path, owner: str) -> Path:
    """The path of an owner's lock file."""
    return folder / f"{quote(owner, safe='')}.lock"


def look(folder: Path, owner: str) -> Literal["free", "held", "unknown"]:
    """Whether the lock of this owner is held; `unknown` when there is no such file."""
    try:
        fd = os.open(owner_path(folder, owner), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "unknown"
    try:
        flock(fd, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return "held"
    finally:
        os.close(fd)
    return "free"


def clear(folder: Path, owner: str) -> None:
    """Delete the lock file of an owner that has ended."""
    with suppress(OSError):
        owner_path(folder, owner).unlink()
