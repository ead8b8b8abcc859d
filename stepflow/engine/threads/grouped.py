"""Grouped: brief calls that tasks make in the same turn of the event loop go to one thread together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from stepflow.engine.threads.thread_pool import ThreadPool

K = TypeVar("K")
V = TypeVar("V")
MOST = 64  # keys of one call


class Grouped(Generic[K, V]):
    """`fn` gives the values of several keys, in their order, in a thread of `pool`; from the event loop.

    If it raises an error, each key of the group is asked for alone: the error is that of one of them.
    """

    def __init__(self, pool: ThreadPool, fn: Callable[[Sequence[K]], Sequence[V]]) -> None:
        self._pool, self._fn, self._loop = pool, fn, asyncio.get_running_loop()
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []

    async def __call__(self, key: K) -> V:
        """The value of a key."""
        future: asyncio.Future[V] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self._send_all)
        self._waiting.append((key, future))
        return await future

    def _send_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), MOST):
            self._send(waiting[first : first + MOST])

    def _send(self, group: list[tuple[K, asyncio.Future[V]]]) -> None:
        self._pool.submit(self._fn, [key for key, _future in group]).add_done_callback(partial(self._answer, group))

    def _answer(self, group: list[tuple[K, asyncio.Future[V]]], made: asyncio.Future[Sequence[V]]) -> None:
        error = made.exception()
        if error is not None and len(group) > 1:
            for one in group:
                self._send([one])
            return
        for number, (_key, future) in enumerate(group):
            if future.done():  # its waiter was cancelled
                continue
            if error is None:
                future.set_result(made.result()[number])
            else:
                future.set_exception(error)
