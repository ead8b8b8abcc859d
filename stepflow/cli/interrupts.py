"""interrupts: SIGTERM ends a verb that goes on as Ctrl-C does, from its first moment on: its claims are released, and no death is counted."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from stepflow.cli.exit_codes import DONE, INTERRUPTED

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop  # this module is the first to be imported, and must not take long

FOREVER = ("host", "serve", "worker")  # a signal is their usual end
_received: list[int] = []


def catch_sigterm(args: Sequence[str]) -> None:
    """From now on SIGTERM raises KeyboardInterrupt, in the verbs that a supervisor stops. Called before all else."""
    if args[:1] and args[0] in ("run", *FOREVER):
        signal.signal(signal.SIGTERM, _interrupt)


def raise_if_stopped() -> None:
    """Raises KeyboardInterrupt if SIGTERM came: Python drops what a handler raises in a callback of an import or of the collector."""
    if _received:
        raise KeyboardInterrupt


def interrupted(args: Sequence[str]) -> int:
    """The exit code of a verb that a signal ended."""
    return DONE if args[:1] and args[0] in FOREVER and "--until-idle" not in args else INTERRUPTED


@contextmanager
def sigterm_as_interrupt(loop: AbstractEventLoop) -> Iterator[None]:
    """While the running loop advances runs: asyncio ends its main task at Ctrl-C, and raises KeyboardInterrupt when that has ended."""
    raise_if_stopped()
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
