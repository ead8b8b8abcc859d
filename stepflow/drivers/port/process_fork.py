"""What a forked child process does with the open files and sockets of its parent: one handler per process for all."""

from __future__ import annotations

import logging
import os
from typing import Protocol
from weakref import WeakSet

log = logging.getLogger("stepflow")


class Inherited(Protocol):
    """Holds something that belongs to the process that made it."""

    def after_fork(self) -> None:
        """In the child: drop it without a trace in the parent."""


_live: WeakSet[Inherited] = WeakSet()  # an object that is no longer used leaves by itself


def on_fork(holder: Inherited) -> None:
    """Call `holder.after_fork()` in every child process that is forked while the object lives."""
    _live.add(holder)


def _after_fork() -> None:
    for holder in list(_live):
        try:
            holder.after_fork()
        except Exception:
            log.exception("after a fork, %r could not be dropped", holder)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
