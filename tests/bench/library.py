"""Library: how the probes of `short` drive a workflow library, ours or a peer, each in the way that its documentation shows."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

STEPS = 10
POLL_S = 0.005  # between two looks for a result, where a library has no way to wait for it


def nothing() -> None:
    """What a step does."""


class Library(ABC):
    """An open library at a place: the path of a file that need not exist, or the URI of a database.

    Its runs have ten steps that do nothing. A long run has `long` such steps, waits for an event, and calls `arrived` in
    the step behind it.
    """

    WORKERS: ClassVar[int] = 1
    """How many threads `serve` many clients."""

    def __init__(self, place: str, long: int = 0, arrived: Callable[[], Any] = nothing) -> None:
        self.place, self.long, self.arrived = place, long, arrived

    def set_up(self) -> None:  # noqa: B027 - nothing to do for most
        """Make the tables, where opening does not make them."""

    @abstractmethod
    def start(self, n: int) -> Any:
        """Start a run; its handle."""

    @abstractmethod
    def work(self) -> None:
        """Advance in this thread the one run that is due."""

    @abstractmethod
    def result(self, handle: Any) -> None:
        """Wait until the run has ended."""

    @abstractmethod
    def serve(self, stop: threading.Event) -> None:
        """Advance in this thread whatever comes, until `stop` is set."""

    @abstractmethod
    def start_long(self, n: int) -> Any:
        """Start a long run; its handle."""

    @abstractmethod
    def go_on(self, handle: Any) -> None:
        """Send the event that a long run waits for."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def steps(self) -> int:
        """The steps that a new connection finds; a wait for an event is one."""

    @abstractmethod
    def starts(self) -> int:
        """The runs that a new connection finds."""


def named(name: str) -> type[Library]:
    """The class with that name, `module:class` below `tests.bench`."""
    module, _, kind = name.partition(":")
    found: type[Library] = getattr(import_module(f"tests.bench.{module}"), kind)
    return found


def postgres_number(place: str, query: str) -> int:
    """One number that a new connection to the database finds."""
    import psycopg

    with psycopg.connect(place) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
