"""Lock files beside the database: turns between processes, and proof that an owner died.

Only `flock` on files of our own: the database file is never opened or locked here, because closing it would drop the
locks that SQLite itself holds on it in this process.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from stepflow.drivers.sqlite.errors import translated
from stepflow.errors import Unavailable

_C = ctypes.PyDLL(None, use_errno=True)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.000_05, 0.002


class WouldBlock(Exception):
    """Somebody else writes just now, and the caller does not wait."""


def patiently(attempt: Callable[[], bool], timeout_s: float) -> bool:
    """Make attempts until one succeeds; False when none did within the time. The first one is made at once."""
    pause, waited = FIRST_PAUSE_S, 0.0
    while not attempt():
        if waited >= timeout_s:
            return False
        time.sleep(pause)
        waited += pause
        pause = min(pause * 2, LONGEST_PAUSE_S)
    return True


class LockFile:
    """One lock file, opened at once and locked on demand; a forked child lets go of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with translated(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(this()))

    def try_lock(self) -> bool:
        """Take the lock if nobody has it."""
        try:
            _flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}; keep the store on a file system with locks") from error
        return True

    def lock(self, timeout_s: float) -> bool:
        """Wait for the lock; False when it did not become free. A stopped process may hold it for ever."""
        return patiently(self.try_lock, timeout_s)

    def unlock(self) -> None:
        """Give the lock back."""
        _flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; its lock is free when no other process inherited it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _flock(fd: int, how: int) -> None:
    """`fcntl.flock` for calls that never block: it keeps the interpreter lock.

    Beside a step that computes, every release of that lock costs a switch interval, thousands of times what this takes.
    """
    if _C.flock(fd, how):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _forget(lock: LockFile | None) -> None:
    if lock is not None:
        lock.close()


class WriterLock:
    """Writers of several processes take turns, first come first served: who has the gate is next."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self._gate, self._turn = LockFile(folder / "gate"), LockFile(folder / "turn")
        self._timeout_s = timeout_s

    def take(self, *, wait: bool = True) -> None:
        """Take the turn. Raises Unavailable when another process does not end its own; without `wait` WouldBlock, at once."""
        self._take(self._gate, wait)
        try:
            self._take(self._turn, wait)
        finally:
            self._gate.unlock()

    def give(self) -> None:
        """End the turn."""
        self._turn.unlock()

    def _take(self, lock: LockFile, wait: bool) -> None:
        if lock.try_lock():
            return
        if not wait:
            raise WouldBlock
        if not lock.lock(self._timeout_s):
            raise Unavailable(
                f"{lock.path}: another process holds this lock for more than {self._timeout_s:g} s and is perhaps "
                "stopped; nothing was written: continue or end that process, then try again"
            )

    def close(self) -> None:
        """Close the files; they stay on disk for the other processes."""
        self._gate.close()
        self._turn.close()


def owner_path(folder: Path, owner: str) -> Path:
    """Where the lock file of an owner is."""
    return folder / f"{quote(owner, safe='')}.lock"


def look(folder: Path, owner: str) -> Literal["free", "held", "unknown"]:
    """Whether somebody holds the lock of this owner; `unknown` when there is no such file."""
    try:
        fd = os.open(owner_path(folder, owner), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "unknown"
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    finally:
        os.close(fd)
    return "free"


def clear(folder: Path, owner: str) -> None:
    """Delete the lock file of an owner that is gone."""
    with suppress(OSError):
        owner_path(folder, owner).unlink()
