"""Queries in every combination: labels, groups, pages and beginnings; delays by their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import VirtualClock
from stepflow.errors import StepflowError
from stepflow.model.commands import GetDelayedStates, States, delay
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State
from stepflow.testing.conformance.cases.kit import on_loop, open_engine, parked, refusal

Groups = Sequence[Mapping[str, str]]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANGES: dict[str, tuple[Sequence[dict[str, str]], Groups]] = {
    "no labels": ([{}] * 4, ()),
    "one label": ([{"foo": "x"}] * 4, ({"foo": "x"},)),
    "two that must both be there": ([{"foo": "x", "bar": "y"}] * 4, ({"foo": "x", "bar": "y"},)),
    "one of two groups": ([{"foo": "x"}, {"bar": "y"}] * 2, ({"foo": "x"}, {"bar": "y"})),
}
"""Name -> the labels of four States, and a query that matches each of them."""

FOO, BAR, OLOLO = {"foo": "1"}, {"bar": "1"}, {"ololo": "1"}
TWELVE: Sequence[dict[str, str]] = (
    FOO | BAR, BAR | OLOLO, FOO, BAR, OLOLO, FOO | OLOLO, FOO | BAR, FOO | BAR | OLOLO, {}, {"foo": "2", "bar": "1"},
    {"bar": "2", "ololo": "1"}, {"foo": "1 ", "bar": "1"},
)  # fmt: skip
"""Labels of the revisions 1 to 12."""

SEARCHES: dict[str, tuple[Groups, list[int]]] = {
    "all of a group": ((FOO | BAR,), [1, 7, 8]),
    "any of the groups": ((FOO, OLOLO), [1, 2, 3, 5, 6, 7, 8, 11]),
    "two groups that overlap": ((FOO | BAR, BAR | OLOLO), [1, 2, 7, 8]),
    "the same group twice": ((OLOLO, OLOLO), [2, 5, 6, 8, 11]),
    "a part is not enough": (({**FOO, **BAR, "more": "1"}, {"more": "1"}), []),
    "another value of the same name": (({"foo": "2"},), [10]),
}


def second(number: float) -> datetime:
    """So many seconds after 1970."""
    return EPOCH + timedelta(seconds=number)


async def _windows(engine: AsyncEngine, **query: object) -> list[tuple[float, int]]:
    """Seconds and offsets of the delays in a window."""
    found = await engine.do(GetDelayedStates(**query))  # type: ignore[arg-type]
    assert isinstance(found, list)
    return [(delay.due / 1e6, delay.offset) for delay in found]


class MatrixCases:
    """Range reads, label searches, and windows of delays."""

    @pytest.mark.parametrize("name", RANGES)
    @on_loop
    async def test_a_range_of_four_states(self, driver: Driver, name: str) -> None:
        given, groups = RANGES[name]
        async with open_engine(driver) as engine:
            states = tuple(
                await parked(engine, *(StateCtx(str(n + 1), dict(labels)) for n, labels in enumerate(given)))
            )
            assert await engine.states(*groups) == States(states, False)
            assert await engine.states(*groups, limit=3) == States(states[:3], True)
            assert await engine.states(*groups, limit=4) == States(states, False)
            assert await engine.states(*groups, since_rev=states[1].rev) == States(states[2:], False)
            assert await engine.states(*groups, since_rev=-1) == States(states[3:], False)
            assert await engine.states(*groups, latest_only=True) == States(states, False)
            assert await engine.states(*groups, {"nobody": "has it"}) == await engine.states(*groups or ({"n": "x"},))

    @pytest.mark.parametrize("name", RANGES)
    @on_loop
    async def test_a_range_of_one_state_that_was_updated(self, driver: Driver, name: str) -> None:
        given, groups = RANGES[name]
        async with open_engine(driver) as engine:
            ctx, states = StateCtx("1"), list[State]()
            for labels in given:
                ctx.labels = dict(labels)
                states += await parked(engine, ctx)
            assert await engine.states(*groups) == States(tuple(states), False)
            assert await engine.states(*groups, latest_only=True) == States((states[-1],), False)
            assert await engine.states(*groups, latest_only=True, limit=1) == States((states[-1],), False)

    @on_loop
    async def test_a_page_of_nothing_is_an_error(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            for limit in (0, -1):
                assert f"limit={limit}" in str(await refusal(engine.states(limit=limit)))

    @pytest.mark.parametrize("name", SEARCHES)
    @on_loop
    async def test_labels_of_twelve_revisions(self, driver: Driver, name: str) -> None:
        groups, numbers = SEARCHES[name]
        async with open_engine(driver) as engine:
            states = await parked(engine, *(StateCtx(f"s{n}", dict(labels)) for n, labels in enumerate(TWELVE)))
            expected = [states[number - 1] for number in numbers]
            assert await engine.states(*groups) == States(tuple(expected), False)
            assert [state async for state in engine.iterate(*groups)] == expected
            since = states[1].rev - 1  # from the second revision on, itself included
            assert list((await engine.states(*groups, since_rev=since)).states) == [
                s for s in expected if s.rev > since
            ]
            assert (await engine.states(*groups, since_rev=-1)).states == tuple(expected[-1:])
            store = driver.connect("", Owner("reader", "host", 1), 0)
            backwards = store.read(HistoryQuery(labels=tuple(groups), last=True, limit=2))
            store.close()
            assert [revision.state for revision in backwards] == expected[-2:]

    @on_loop
    async def test_delays_by_windows_and_offsets(self, driver: Driver) -> None:
        async with open_engine(driver, clock=VirtualClock(EPOCH)) as engine:
            for n in range(6):
                await engine.do(delay(StateCtx(f"s{n}"), "f", second(109 + n)))
            later = second(10_000)
            assert await _windows(engine, since=second(109), until=later, limit=3) == [(110, 2), (111, 3), (112, 4)]
            assert await _windows(engine, since=second(109), until=second(111)) == [(110, 2), (111, 3)]
            assert await _windows(engine, until=later, offset=4) == [(113, 5), (114, 6)]
            assert await _windows(engine, until=second(108)) == []
            # The origin's SQL refuses a window that begins in 1970 and so loses delays after a restart; here it is all of them.
            everything = [(109 + n, n + 1) for n in range(6)]
            assert await _windows(engine, since=EPOCH, until=later) == everything
            assert await _windows(engine, until=later, limit=0) == everything  # 0 is the usual limit
            assert await _windows(engine) == []  # until now

    @on_loop
    async def test_delays_of_the_same_moment_come_in_the_order_of_their_offsets(self, driver: Driver) -> None:
        async with open_engine(driver, clock=VirtualClock(EPOCH)) as engine:
            for n in range(5):
                await engine.do(delay(StateCtx(f"s{9 - n}"), "f", second(10)))
            await engine.do(delay(StateCtx("early"), "f", second(9.999_999)))
            found = await _windows(engine, until=second(10))
            assert found == [(9.999_999, 6), *((10, offset) for offset in range(1, 6))]
            assert await _windows(engine, until=second(10), offset=2, limit=2) == [(9.999_999, 6), (10, 3)]

    @on_loop
    async def test_a_beginning_that_is_not_there_yet_is_an_error(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            (state,) = await parked(engine, StateCtx("s"))
            assert await engine.states(since_rev=state.rev) == States((), False)
            for since in (state.rev + 1, -2):
                assert f"since_rev={since}" in str(await refusal(engine.states(since_rev=since)))
            with pytest.raises(StepflowError, match=f"since_rev={state.rev + 1}"):
                await engine.watch(since=state.rev + 1).next(1)
