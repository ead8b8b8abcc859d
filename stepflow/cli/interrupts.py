"""interrupts: SIGTERM ends a verb that advances runs as Ctrl-C does: its claims are released, and no death is counted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """While the running loop advances runs: asyncio ends its main task at Ctrl-C, and raises KeyboardInterrupt when that has ended."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
