"""Topics on a driver: a message reaches a run that waits, wherever its publish falls between the calls of the store that the wait makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any, cast

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import VirtualClock
from stepflow.replay import AsyncContext, workflow
from stepflow.testing.conformance.cases.kit import on_loop, open_engine

_WATCHED = frozenset({"commit", "release", "read", "load", "claim", "claim_if_free"})
LATER = (0, 1, 2)  # calls after the publish, until the message is delivered


@workflow("case/topic")
async def _waits(wf: AsyncContext, topic: str) -> str:
    return await wf.wait_for_topic("wait", topic, str)


@workflow("case/other")
async def _other(wf: AsyncContext) -> str:
    return wf.run_id


class _Interposed:
    """A store that calls `before()` ahead of each call that reads or writes."""

    def __init__(self, store: Store, before: Callable[[], None]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _WATCHED:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before()
            return found(*args, **kwargs)

        return call


class _InterposedDriver(Driver):
    """A driver whose stores do; `acts` are called ahead of the call of their number, from 0."""

    def __init__(self, driver: Driver) -> None:
        self.url, self._driver = driver.url, driver
        self.calls, self.acts = 0, dict[int, list[Callable[[], object]]]()

    def _before(self) -> None:
        acts = self.acts.pop(self.calls, [])
        self.calls += 1
        for act in acts:
            act()

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        """Connect as the driver does."""
        return cast("Store", _Interposed(self._driver.connect(namespace, owner, now), self._before))

    def maintenance(self, namespace: str) -> Maintenance:
        """That of the driver."""
        return self._driver.maintenance(namespace)


@contextmanager
def _elsewhere(driver: Driver, clock: VirtualClock) -> Iterator[Callable[..., Any]]:
    """Calls `fn(engine, ...)` in another thread, with an engine that knows no waiting run but advances messages; waits for its end."""
    runner = asyncio.Runner()
    engine = AsyncEngine(driver, clock=clock)
    with ThreadPoolExecutor(1) as thread:

        def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
            return thread.submit(lambda: runner.run(work())).result()

        run(engine.open)
        engine_of: Callable[..., Any] = lambda fn, *args: run(lambda: fn(engine, *args))  # noqa: E731
        try:
            run(lambda: _register(engine))
            yield engine_of
        finally:
            run(engine.close)
            thread.submit(runner.close).result()


async def _register(engine: AsyncEngine) -> None:
    engine.register(_other)


async def _publish(engine: AsyncEngine, topic: str) -> None:
    await engine.publish_topic(topic, "news")


async def _deliver(engine: AsyncEngine) -> None:
    await engine.run_until_idle()


class TopicCases:
    """Give it a fixture `driver`."""

    @on_loop
    async def test_no_interleaving_of_a_publish_and_a_wait_misses_a_message(self, driver: Driver) -> None:
        clock, stepped = VirtualClock(), _InterposedDriver(driver)
        with _elsewhere(driver, clock) as elsewhere:
            async with open_engine(stepped, _waits, clock=clock) as engine:
                await engine.start(_waits, "count")
                stepped.calls = 0
                await engine.run_until_idle()
                for number, later in product(range(1, stepped.calls - 1), LATER):  # the first call claims the run
                    topic = f"{number}/{later}"
                    run = await engine.start(_waits, topic)
                    stepped.calls = 0
                    stepped.acts = {number: [partial(elsewhere, _publish, topic)]}
                    stepped.acts.setdefault(number + later, []).append(partial(elsewhere, _deliver))
                    await engine.run_until_idle()
                    elsewhere(_deliver)
                    await engine.run_until_idle()
                    assert (await run.info()).status == "completed", topic
                    assert await engine.runs(labels={f"stepflow.topic.{topic}": "1"}) == []
