"""HiddenLoop: under virtual time a sync step runs on the event loop, and must not notice that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import ContextVar, Token
from typing import Any, TypeVar

from stepflow.errors import StepflowError

T = TypeVar("T")

Found = tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]
_hidden: ContextVar[Found | None] = ContextVar("stepflow_hidden_loop", default=None)
_thread: ContextVar[int] = ContextVar(
    "stepflow_hidden_thread", default=0
)  # other threads may have a copy of the context


class _Inline(threading.local):
    """Whether this thread is in `run_inline`; no context, as callbacks and tasks that begin there would keep it."""

    runs = False


_inline = _Inline()


def runs_inline() -> bool:
    """Whether `run_inline` runs the calling coroutine, so that it may wait for nothing."""
    return _inline.runs


def hidden_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that is hidden from the calling code, if it runs in this thread."""
    found = _hidden.get()
    return found[0] if found is not None and _thread.get() == threading.get_ident() else None


class HiddenLoop:
    """Let the calling code look like a thread without an event loop, so that a sync step may call asyncio.run there, too."""

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        found = loop, asyncio.current_task(loop)
        self._token: Token[Found | None] = _hidden.set(found)
        _thread.set(threading.get_ident())
        _leave(*found)

    def __exit__(self, *_error: object) -> None:
        if (found := _hidden.get()) is not None:
            _enter(*found)
        _hidden.reset(self._token)


class ShownLoop:
    """Inside of a HiddenLoop: let the engine's own work find its loop."""

    def __enter__(self) -> None:
        self._found = None if hidden_loop() is None else _hidden.get()
        self._inner = asyncio._get_running_loop()  # noqa: SLF001
        if self._found is not None:
            _enter(*self._found)

    def __exit__(self, *_error: object) -> None:
        if self._found is not None:
            _leave(*self._found)
            asyncio._set_running_loop(self._inner)  # noqa: SLF001


def run_inline(work: Coroutine[Any, Any, T], refusal: str) -> T:
    """Run a coroutine to its end in the calling thread; StepflowError with `refusal` if it has to wait for something."""
    before, _inline.runs = _inline.runs, True
    try:
        with ShownLoop():
            work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        _inline.runs = before
    work.close()
    raise StepflowError(refusal)


# asyncio has no other way: its low-level hooks for event loops and for other implementations of tasks.


def _leave(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        asyncio._leave_task(loop, task)  # noqa: SLF001
    asyncio._set_running_loop(None)  # noqa: SLF001


def _enter(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
    asyncio._set_running_loop(loop)  # noqa: SLF001
    if task is not None:
        asyncio._enter_task(loop, task)  # noqa: SLF001
