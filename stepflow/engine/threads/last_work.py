"""LastWork: what the work of a pool of threads leaves to be done, and MayBlock: what its thread tells the pool meanwhile."""

from __future__ import annotations

from typing import Protocol


class MayBlock(Protocol):
    """Told by a thread of a pool around what may block: meanwhile another one does what is ready."""

    def begin_blocking(self) -> None:
        """The calling thread may block from now on."""

    def end_blocking(self) -> None:
        """It runs this package's code again, and does what is ready soon."""


class InOtherThread:
    """What blocks in a thread of no pool keeps no work of a pool waiting."""

    def begin_blocking(self) -> None:
        """Nothing waits for this thread."""

    def end_blocking(self) -> None:
        """The same."""


IN_OTHER_THREAD = InOtherThread()


class LastWork(Protocol):
    """What the work of a pool leaves to be done: its thread does it once nothing else is ready, or another thread that comes.

    A thread that begins what may block while some waits lets another thread come; if none can be started, `hand_over` is called.
    """

    @property
    def waits(self) -> bool:
        """Whether there is some."""

    def do(self, thread: MayBlock) -> None:
        """Do it in the calling thread, behind another thread that does such work; never raises."""

    def hand_over(self) -> None:
        """Let a thread of another pool do it."""


class _NoLastWork:
    waits = False

    def do(self, thread: MayBlock) -> None:
        """There is none."""

    def hand_over(self) -> None:
        """There is none."""


NONE = _NoLastWork()
