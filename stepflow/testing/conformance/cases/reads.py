"""Cases 24 to 38: States are read by id, by labels and many at once, and watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import VirtualClock
from stepflow.engine.states.api import Since
from stepflow.errors import NotFound
from stepflow.model.commands import GetStateByID, GetStateByLabels, States, commit, park
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State
from stepflow.testing.conformance.cases.kit import WITHIN_S, as_it_is, on_loop, open_engine, parked

FOO, BAR = {"foo": "fooVal"}, {"bar": "barVal"}
AFTER, BEFORE = timedelta(seconds=5), timedelta(seconds=-1)


async def three(engine: AsyncEngine, labels: Mapping[str, str] | None = None) -> list[StateCtx]:
    """Commit a State three times, with annotation v = 1, 2, 3; a copy after each."""
    ctx, copies = StateCtx("aTID", dict(labels or {})), []
    for v in "123":
        ctx.annotations["v"] = v
        await engine.do(commit(park(ctx)))
        copies.append(ctx.copy())
    return copies


async def labelled(engine: AsyncEngine) -> list[State]:
    """A State with foo; the same with foo and bar; another one with bar."""
    first, other = StateCtx("aTID", dict(FOO)), StateCtx("anotherTID", dict(BAR))
    (one,) = await parked(engine, first)
    first.labels.update(BAR)
    return [one, *await parked(engine, first, other)]


async def either(engine: AsyncEngine) -> list[State]:
    """A State with foo, another one with bar."""
    return await parked(engine, StateCtx("aTID", dict(FOO)), StateCtx("anotherTID", dict(BAR)))


async def watched(engine: AsyncEngine, *labels: Mapping[str, str], since: Since = 0, expected: Sequence[State]) -> None:
    """A watch delivers exactly these: then comes one that is committed only when they were delivered."""
    watch = engine.watch(*labels, since=since)
    found = [await watch.next(WITHIN_S) for _ in expected]
    (last,) = await parked(engine, StateCtx(f"after{len(expected)}{since}", dict(labels[0]) if labels else {}))
    assert [*found, await watch.next(WITHIN_S)] == [*expected, last]
    assert all(state is not None and state.committed_at > 0 for state in found)


class ReadCases:
    """Reading what was committed, exactly as it was."""

    @on_loop
    async def test_case_24_get_one_by_id_and_rev(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            first = (await three(engine))[0]
            ctx = StateCtx("")
            await engine.do(GetStateByID(ctx, "aTID", first.rev))
            assert as_it_is(ctx) == as_it_is(first)
            assert ctx.current == ctx.committed
            assert (ctx.committed_at > 0, ctx.annotations, ctx.transitions) == (True, {"v": "1"}, [])

    @on_loop
    async def test_case_25_get_one_latest_by_id(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            last = (await three(engine))[-1]
            ctx = StateCtx("")
            await engine.do(GetStateByID(ctx, "aTID", 0))
            assert as_it_is(ctx) == as_it_is(last)

    @on_loop
    async def test_case_26_get_one_latest_by_label(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            last = (await three(engine, FOO))[-1]
            ctx = StateCtx("")
            await engine.do(GetStateByLabels(ctx, FOO))
            assert as_it_is(ctx) == as_it_is(last)

    @on_loop
    async def test_case_27_get_one_not_found(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            ctx = StateCtx("untouched")
            with pytest.raises(NotFound, match=r"^state not found; id=notExist$"):
                await engine.do(GetStateByID(ctx, "notExist", 0))
            with pytest.raises(NotFound, match=r"^state not found; labels="):
                await engine.do(GetStateByLabels(ctx, FOO))
            (state,) = await parked(engine, StateCtx("aTID"))
            with pytest.raises(NotFound, match=rf"^state not found; id=aTID rev={state.rev + 1}$"):
                await engine.do(GetStateByID(ctx, "aTID", state.rev + 1))
            assert as_it_is(ctx) == as_it_is(StateCtx("untouched"))

    @on_loop
    async def test_case_28_get_many_labels(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            one, two, _other = await labelled(engine)
            assert await engine.states(FOO) == States((one, two), False)
            assert (one.labels, two.labels) == (FOO, FOO | BAR)

    @on_loop
    async def test_case_29_get_many_or_labels(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            states = await either(engine)
            assert await engine.states(FOO, BAR) == States(tuple(states), False)

    @on_loop
    async def test_case_30_get_many_since_latest(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            last = (await three(engine, FOO))[-1]
            assert await engine.states(FOO, since_rev=-1) == States((last.committed,), False)

    @on_loop
    async def test_case_31_get_many_since_rev(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            states = tuple(ctx.committed for ctx in await three(engine))
            for count, since in enumerate([0, *(state.rev for state in states)]):
                assert await engine.states(since_rev=since) == States(states[count:], False)

    @on_loop
    async def test_case_32_get_many_since_time(self, driver: Driver) -> None:
        clock = VirtualClock()
        async with open_engine(driver, clock=clock) as engine:
            (state,) = await parked(engine, StateCtx("aTID"))
            for shift, found in ((AFTER, ()), (BEFORE, (state,)), (timedelta(0), (state,))):
                assert await engine.states(since=clock.datetime() + shift) == States(found, False)

    @on_loop
    async def test_case_33_get_many_latest_only(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            one, other = StateCtx("aTID"), StateCtx("anotherTID")
            for _ in range(3):
                await parked(engine, one, other)
            assert await engine.states(latest_only=True) == States((one.committed, other.committed), False)


class WatchCases:
    """Watching: what was there before, then what comes, in order, nothing else."""

    @on_loop
    async def test_case_34_watch_labels(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            await watched(engine, FOO, expected=(await labelled(engine))[:2])

    @on_loop
    async def test_case_35_watch_or_labels(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            await watched(engine, FOO, BAR, expected=await either(engine))

    @pytest.mark.parametrize("since", ["latest", -1])
    @on_loop
    async def test_case_36_watch_since_latest(self, driver: Driver, since: Since) -> None:
        async with open_engine(driver) as engine:
            states = [ctx.committed for ctx in await three(engine, FOO)]
            await watched(engine, FOO, since=since, expected=states[-1:])

    @on_loop
    async def test_case_37_watch_since_rev(self, driver: Driver) -> None:
        async with open_engine(driver) as engine:
            states = [ctx.committed for ctx in await three(engine)]
            await watched(engine, since=states[0].rev, expected=states[1:])

    @on_loop
    async def test_case_38_watch_since_time(self, driver: Driver) -> None:
        clock = VirtualClock()
        async with open_engine(driver, clock=clock) as engine:
            states = await parked(engine, StateCtx("aTID"))
            before, after = clock.datetime() + BEFORE, clock.datetime() + AFTER
            clock.advance(6)
            await watched(engine, since=before, expected=states)
            (last,) = (await engine.states(since_rev=-1)).states
            await watched(engine, since=after, expected=[last])

    @on_loop
    async def test_a_watch_since_a_time_to_come_lets_pass_what_comes_before(self, driver: Driver) -> None:
        clock = VirtualClock()
        async with open_engine(driver, clock=clock) as engine:
            watch = engine.watch(since=clock.datetime() + AFTER)
            assert await watch.next(0.01) is None  # it has begun now
            await parked(engine, StateCtx("early"))
            clock.advance(5)
            (late,) = await parked(engine, StateCtx("late"))
            assert await watch.next(WITHIN_S) == late
