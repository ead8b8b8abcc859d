"""Waits for a log message instead of sleeping."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Ear(logging.Handler):
    def __init__(self, text: str, then: Callable[[], None]) -> None:
        super().__init__()
        self._text, self._then = text, then

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self._then()


@contextmanager
def heard(text: str, then: Callable[[], None] | None = None) -> Iterator[threading.Event]:
    """An event that is set, or `then` is called, as soon as stepflow logs `text`."""
    event, logger = threading.Event(), logging.getLogger("stepflow")
    ear, level = _Ear(text, then or event.set), logger.level
    logger.addHandler(ear)
    logger.setLevel(logging.INFO)
    try:
        yield event
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
