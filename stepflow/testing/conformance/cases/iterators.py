"""Iterators and watches: pages of every size, labels, and batches that are committed while a watcher waits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import VirtualClock
from stepflow.model.commands import commit, park
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State
from stepflow.testing.conformance.cases.kit import WITHIN_S, on_loop, open_engine

MANY = 100
BATCH = 10


def _labels(number: int) -> dict[str, str]:
    return ({"foo": "x"} if number % 3 == 0 else {}) | ({"bar": "x"} if number % 2 else {})


async def _park(engine: AsyncEngine, *numbers: int) -> list[State]:
    """Commit a State for each number: a few alone, most of them ten in one commit."""
    states = [StateCtx(f"s{number}", _labels(number)) for number in numbers]
    for ctx in states[:BATCH]:
        await engine.do(commit(park(ctx)))
    for start in range(BATCH, len(states), BATCH):
        await engine.do(commit(*map(park, states[start : start + BATCH])))
    return [ctx.committed for ctx in states]


async def _paged(engine: AsyncEngine, limit: int, *labels: Mapping[str, str]) -> list[State]:
    """All that is there, read in pages; `more` is told exactly."""
    found: list[State] = []
    while True:
        page = await engine.states(*labels, since_rev=found[-1].rev if found else 0, limit=limit)
        assert len(page.states) == limit or not page.more
        found += page.states
        if not page.more:
            return found
        assert page.states


class IteratorCases:
    """Iterators and watches meet every revision once, in order."""

    @on_loop
    async def test_an_iterator_over_nothing_ends(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            assert [state async for state in engine.iterate()] == []
            assert await _paged(engine, 1) == []

    @on_loop
    async def test_an_iterator_gives_everything_that_has_the_labels(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            states = await _park(engine, *range(MANY))
            for limit in (1, 2, 99, 100, 101):
                assert await _paged(engine, limit) == states
            for labels, count in (({}, 100), ({"foo": "x"}, 34), ({"bar": "x"}, 50)):
                wanted = [state for state in states if labels.items() <= state.labels.items()]
                assert len(wanted) == count
                assert [state async for state in engine.iterate(labels)] == wanted
                assert await _paged(engine, 7, labels) == wanted
            middle = states[41].rev
            assert [state async for state in engine.iterate(since_rev=middle)] == states[42:]

    @on_loop
    async def test_an_iterator_turns_its_own_pages(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            states = [StateCtx(f"s{number}") for number in range(450)]
            await engine.do(commit(*map(park, states)))
            assert [state async for state in engine.iterate()] == [ctx.committed for ctx in states]

    @pytest.mark.parametrize("pause", [10, 60])
    @on_loop
    async def test_batches_are_met_as_they_appear(self, driver: Driver, pause: int) -> None:
        clock, states, iterated = VirtualClock(), list[State](), list[State]()
        async with open_engine(driver, clock=clock) as engine:
            watch = engine.watch()
            for turn in range(3):
                batch = await _park(engine, *range(turn * BATCH, turn * BATCH + BATCH))
                states += batch
                assert [await watch.next(WITHIN_S) for _ in batch] == batch
                since = iterated[-1].rev if iterated else 0
                iterated += [state async for state in engine.iterate(since_rev=since)]
                clock.advance(pause)
            assert (len(iterated), iterated) == (3 * BATCH, states)
            assert await watch.next(0.01) is None

    @on_loop
    async def test_the_first_states_may_appear_after_minutes(self, driver: Driver) -> None:
        clock = VirtualClock()
        async with open_engine(driver, clock=clock) as engine:
            watch = engine.watch()
            assert await watch.next(0.01) is None
            clock.advance(120)
            states = await _park(engine, *range(BATCH))
            assert [await watch.next(WITHIN_S) for _ in states] == states
