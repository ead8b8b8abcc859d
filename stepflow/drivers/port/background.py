"""The guard of every background thread and task: it logs a failure with its traceback, backs off, goes on and counts.

It lives beside the port because drivers and the engine both run threads, and drivers import nothing above this package.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from threading import Thread

from attrs import frozen

from stepflow.errors import StepflowError, StoreError, Unavailable
from stepflow.model.error_text import kind_of, loggable, message_of

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
LOG_EVERY = 100  # of failures in a row, the first one and every hundredth are logged
JOIN_S = 10.0  # for a thread that was told to end
log = logging.getLogger("stepflow")


@frozen
class TaskHealth:
    """The health of one background thread or task.

    `failures` counts the turns that failed since the engine was opened, `failing` those in a row until now (0: the last
    turn succeeded), `last_error` is the type and text of the newest failure, empty if there was none.
    """

    name: str
    failures: int = 0
    failing: int = 0
    last_error: str = ""


class Guard:
    """Keeps one background thread or task alive. The pause after a failure doubles up to `longest_s` seconds."""

    def __init__(self, name: str, longest_s: float = LONGEST_PAUSE_S) -> None:
        self._longest_s = longest_s
        self.health = TaskHealth(name)

    def failed(self, error: BaseException) -> float:
        """Count and log a failure; returns the seconds to wait before the next turn."""
        seen = self.health
        failing = seen.failing + 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(failing - 1, 16), self._longest_s)
        self.health = TaskHealth(seen.name, seen.failures + 1, failing, _text(error))
        if failing % LOG_EVERY == 1:
            level = logging.WARNING if isinstance(error, StoreError) else logging.ERROR
            text = "%s failed (%d in a row), next try in %g s: %s"
            trace = None if isinstance(error, Unavailable) else loggable(error)  # its message says all
            log.log(level, text, seen.name, failing, pause_s, message_of(error), exc_info=trace)
        return pause_s

    def note(self, error: BaseException) -> None:
        """Count and log a failure after which the next turn needs no pause."""
        seen = self.health
        self.health = TaskHealth(seen.name, seen.failures + 1, seen.failing, _text(error))
        log.error("%s failed and goes on: %s", seen.name, message_of(error), exc_info=loggable(error))

    def succeeded(self) -> None:
        """A turn succeeded."""
        seen = self.health
        if seen.failing:
            self.health = TaskHealth(seen.name, seen.failures, 0, seen.last_error)
            log.info("%s works again after %d failure(s)", seen.name, seen.failing)

    def run(self, turn: Callable[[], bool], wait: Callable[[float], object]) -> None:
        """The body of a thread: call `turn` until it returns False; after a failure `wait(pause_s)`, then go on."""
        while True:
            try:
                if not turn():
                    return
            except BaseException as error:  # noqa: BLE001 - nothing may end the thread; logged
                wait(self.failed(error))
            else:
                self.succeeded()

    async def run_task(self, turn: Callable[[], Awaitable[bool]], sleep: Callable[[float], Awaitable[object]]) -> None:
        """The body of a task: the same; what is no Exception, such as CancelledError, ends it.

        So does a cancellation that the turn lost: one that its clean-up replaced by an error, or that it caught.
        """
        cancels = _cancels()
        while True:
            try:
                if not await turn():
                    return
            except Exception as error:  # nothing else may end the task; logged
                pause_s = self.failed(error)
                if _cancels() > cancels:
                    raise asyncio.CancelledError from error
                await sleep(pause_s)
            else:
                self.succeeded()
                if _cancels() > cancels:
                    raise asyncio.CancelledError


def _cancels() -> int:
    """How often this task was asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _text(error: BaseException) -> str:
    return f"{kind_of(error)}: {message_of(error)}"


def start_thread(run: Callable[[], object], name: str, what: str) -> Thread:
    """A daemon thread that runs; StepflowError if the system starts none for `what`."""
    thread = Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise refused_thread(what, error) from error
    return thread


def refused_thread(what: str, error: BaseException) -> StepflowError:
    """What is raised if the system starts no thread for `what`."""
    return StepflowError(
        f"the system starts no thread for {what} ({error}): raise its limit of threads (ulimit -u, pids of the container) or of"
        " memory, or call again when other threads have ended; what is stored stays as it is"
    )


def join(thread: Thread, timeout_s: float = JOIN_S) -> bool:
    """Wait for a thread's end, at most `timeout_s` seconds; False (and an error in the log) if it still runs then."""
    thread.join(timeout_s)
    if thread.is_alive():
        log.error("thread %s did not end within %g s: it is left behind, its last call hangs", thread.name, timeout_s)
    return not thread.is_alive()
