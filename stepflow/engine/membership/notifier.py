"""Notifier: tells the parts of one engine what changed.

A part that has news calls a method of the one Notifier of its engine; a part that acts on news subscribes to it. So no part
knows which other parts there are. All methods belong to the event loop, except `clock_moved`, `heartbeat` and
`beat_overdue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stepflow.drivers.port.commit import HeartbeatReply
from stepflow.engine.membership.change_listener import ChangeListener
from stepflow.engine.threads.futures import running_loop


class Notifier:
    """News of runs, of the store, of due times and of cancel requests; `listener` hears of other processes' changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: ChangeListener | None = None) -> None:
        self._loop, self._listener = loop, listener
        self.watched = False  # whether a subscriber wants to know of every batch of commits
        self.listens_while(lambda: self.watched)
        self._run: list[Callable[[str], None]] = []
        self._store: list[Callable[[], None]] = []
        self._due: list[Callable[[int], None]] = []
        self._cancel: list[Callable[[str], None]] = []
        self._wait: list[Callable[[str, int], None]] = []
        self._overdue: list[Callable[[], None]] = []
        self._reclaimed: list[Callable[[], None]] = []
        self._commit: list[Callable[[], None]] = []

    def on_run(self, subscriber: Callable[[str], None]) -> None:
        """Call `subscriber` with the id of every run to which this engine did something."""
        self._run.append(subscriber)

    def on_store(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` when another process or engine changed the store, once a part asked to `listen`."""
        self._store.append(subscriber)

    def on_due(self, subscriber: Callable[[int], None]) -> None:
        """Call `subscriber` with every time (microseconds UTC; 0: now) at which something may be due."""
        self._due.append(subscriber)

    def on_cancel(self, subscriber: Callable[[str], None]) -> None:
        """Call `subscriber` with the id of every run held here whose cancel was requested."""
        self._cancel.append(subscriber)

    def on_wait(self, subscriber: Callable[[str, int], None]) -> None:
        """Call `subscriber` with a run's id and 1 when a step of it begins to wait for another run, with -1 when that is over."""
        self._wait.append(subscriber)

    @contextmanager
    def step_waits(self, run_id: str) -> Iterator[None]:
        """Meanwhile a step of this run waits for another run."""
        for subscriber in self._wait:
            subscriber(run_id, 1)
        try:
            yield
        finally:
            for subscriber in self._wait:
                subscriber(run_id, -1)

    def on_overdue(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` when this engine has not been able to beat for long: others may take over soon."""
        self._overdue.append(subscriber)

    def on_reclaimed(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` when others took this engine for dead: what it held is lost."""
        self._reclaimed.append(subscriber)

    def on_commit(self, subscriber: Callable[[], None]) -> None:
        """Call `subscriber` whenever something may have been committed, here or elsewhere; subscribing twice is once."""
        if subscriber not in self._commit:
            self._commit.append(subscriber)
            self.watched = True
        self.listen()

    def listens_while(self, need: Callable[[], bool]) -> None:
        """Hear of other processes' changes while `need` returns true, which other threads ask; `listen` tells that it does from now on."""
        if self._listener is not None:
            self._listener.needs(need)

    def listen(self) -> None:
        """Hear of other processes' changes from now on, while a part needs it."""
        if self._listener is not None:
            self._listener.start(self.store_changed)

    def run_changed(self, run_id: str) -> None:
        """Something happened to this run. Of the commit itself the Committer tells."""
        for subscriber in self._run:
            subscriber(run_id)

    def store_changed(self) -> None:
        """Another process or engine changed the store; which runs it changed is not known."""
        self._call(self._store)
        self.committed()
        self.schedule_at(0)

    def committed(self) -> None:
        """A batch of commits of this engine is durable."""
        for subscriber in self._commit:
            subscriber()

    def transaction_committed(self, posted: bool) -> None:
        """A transaction of a user's function is durable, with calls through its connection if something was `posted`."""
        if self.watched:
            self.committed()
        if posted:
            self.schedule_at(0)

    def schedule_at(self, due: int) -> None:
        """Something may be due at `due` (microseconds UTC; 0: now)."""
        for subscriber in self._due:
            subscriber(due)

    def cancel_requested(self, run_id: str) -> None:
        """The run, which this engine holds, shall end as cancelled."""
        for subscriber in self._cancel:
            subscriber(run_id)

    def clock_moved(self) -> None:
        """The virtual clock was moved; from any thread."""
        self._on_loop(self.schedule_at, 0)

    def due_now(self) -> None:
        """Something is due; from any thread."""
        self._on_loop(self.schedule_at, 0)

    def heartbeat(self, reply: HeartbeatReply, released: bool) -> None:
        """What a heartbeat learned: cancel requests, and whether runs of dead owners were released; from any thread."""
        for run_id in reply.cancels:
            self._on_loop(self.cancel_requested, run_id)
        if reply.reclaimed:
            self._on_loop(self._call, self._reclaimed)
        if released:
            self._on_loop(self.schedule_at, 0)

    def beat_overdue(self) -> None:
        """A heartbeat failed, and the last one that succeeded was long ago; from any thread."""
        self._on_loop(self._call, self._overdue)

    def _call(self, subscribers: list[Callable[[], None]]) -> None:
        for subscriber in subscribers:
            subscriber()

    def _on_loop(self, fn: Callable[..., None], *args: Any) -> None:
        if running_loop() is self._loop:
            fn(*args)
            return
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(fn, *args)
