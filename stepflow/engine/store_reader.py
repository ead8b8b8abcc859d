"""StoreReader: reads the store without blocking the event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.port.store import Query, Store
from stepflow.engine.clock import Clock
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.threads.grouped import Grouped
from stepflow.engine.threads.hidden_loop import runs_inline
from stepflow.engine.threads.thread_pool import ThreadPool

T = TypeVar("T")
FEW = 8  # runs of one task that are loaded together with those of others


class StoreReader:
    """The reading methods of a store, each in a thread; at once where the calling thread may block, and under virtual time.

    StepflowError if the engine is not open.
    """

    def __init__(self, store: Store, clock: Clock, lifetime: Lifetime, pool: ThreadPool) -> None:
        self._store, self._clock, self._lifetime, self._pool = store, clock, lifetime, pool
        self._loads = Grouped(pool, self._load_all)
        self._reads = Grouped(pool, self._read_all)

    @property
    def alone(self) -> bool:
        """Whether the calling thread reads itself, and no other task is ready to."""
        return self._pool.in_first_step

    async def read(self, query: Query) -> Any:
        """The answer to a query."""
        return await self.call(self._store.read, query)

    async def read_brief(self, query: Query) -> Any:
        """The same for a query that is answered at once: several tasks share a thread, and equal ones the answer."""
        if self._calls_alone():
            return await self.call(self._store.read, query)
        return await self._reads(query)

    async def load(self, ids: Sequence[str]) -> list[Record | None]:
        """The full records in the order of `ids`; None where there is no such run. Few runs are loaded with those of other tasks."""
        if len(ids) > FEW or self._calls_alone():
            return await self.call(self._store.load, ids)
        return await self._loads(ids)

    async def next_due(self, flows: Mapping[str, str]) -> DueSummary:
        """What is due when, of flows name -> definition hash."""
        return await self.call(self._store.next_due, flows, self._clock.now())

    async def time(self) -> int | None:
        """The store's time, None if it has none of its own."""
        return await self.call(self._store.time)

    def _calls_alone(self) -> bool:
        """Whether the calling thread reads itself, now."""
        self._lifetime.check_open()
        return self._clock.virtual or runs_inline() or self._pool.in_first_step

    def _load_all(self, groups: Sequence[Sequence[str]]) -> list[list[Record | None]]:
        found = iter(self._store.load([run_id for ids in groups for run_id in ids]))
        return [[next(found) for _ in ids] for ids in groups]

    def _read_all(self, queries: Sequence[Query]) -> list[Any]:
        found = {query: self._store.read(query) for query in dict.fromkeys(queries)}
        return [found[query] for query in queries]

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        """The result of a function that reads the store several times."""
        self._lifetime.check_open()
        if self._clock.virtual or runs_inline() or self._pool.caller_may_block:
            return fn(*args)
        return await self._pool.submit(fn, *args)
