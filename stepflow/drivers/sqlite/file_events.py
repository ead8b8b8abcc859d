"""FileEvents: waits until the operating system reports a write to a file (inotify of Linux, see inotify(7))."""

from __future__ import annotations

import ctypes
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock

from stepflow.drivers.port.process_fork import on_fork

IN_MODIFY = 0x2
BUFFER = 4096  # bytes of one read: enough for many events, as equal ones that follow each other are one


class FileEvents:
    """The writes to one file by any process. Where the system reports none, `wait` only waits.

    Systems other than Linux have no such report, and Linux may refuse it (fs.inotify.max_user_instances): `works` is False
    until the first report.
    """

    def __init__(self, path: Path) -> None:
        self.works = False
        self._lock, self._waiting, self._closed = Lock(), 0, False
        self._woken, self._wake = os.pipe()
        self._fd = _watch(path)
        on_fork(self)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a report; True when one came since the last call. Also ends with `close`."""
        with self._lock:
            if self._closed:
                return False
            self._waiting += 1
        try:
            poll = select.poll()  # one for each thread: it allows no second call at the same time
            for fd in (self._woken, self._fd):
                if fd >= 0:
                    poll.register(fd, select.POLLIN)
            ready = [fd for fd, _events in poll.poll(max(timeout_s, 0.0) * 1000)]
            if self._fd not in ready:
                return False
            with suppress(BlockingIOError):  # another thread has read it
                os.read(self._fd, BUFFER)
            self.works = True
            return True
        finally:
            with self._lock:
                self._waiting -= 1
                self._free()

    def close(self) -> None:
        """Wake all waiting threads; the last one closes the descriptors."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.write(self._wake, b".")
            self._free()

    def after_fork(self) -> None:
        """Close the child's copies: an event that the child reads would be missing in the parent."""
        self._closed, self._waiting = True, 0
        self._free()

    def _free(self) -> None:
        if self._closed and not self._waiting:
            for fd in (self._fd, self._woken, self._wake):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._woken = self._wake = -1


def _watch(path: Path) -> int:
    """A descriptor that reports writes to this file; -1 where there is none."""
    if not sys.platform.startswith("linux"):
        return -1
    libc = ctypes.CDLL(None)
    try:
        fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(path), IN_MODIFY) < 0:
            os.close(fd)
            fd = -1
    except AttributeError:  # a C library without inotify
        fd = -1
    return fd
