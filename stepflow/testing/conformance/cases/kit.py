"""Helpers of the cases: an open engine with its worker, a record of visits, and plain flow functions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import Clock, VirtualClock
from stepflow.errors import StepflowError
from stepflow.model.commands import Command, commit, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.flow import Flow
from stepflow.model.function import FlowFunction, flow
from stepflow.model.state import State

WITHIN_S = 60.0  # for what takes milliseconds on a machine that does nothing else
CLOSING_S = 8.0  # less than the grace of a function that does not hear of the end


class Tracker:
    """Records visits, from any thread."""

    def __init__(self) -> None:
        self._visited: list[str] = []
        self._news = threading.Condition()

    def __call__(self, ctx: StateCtx, *, state: bool = False, resumed: bool = False) -> None:
        """Note the flow that the State goes to, with `:resumed` and `:<state id>` if asked for."""
        text = ctx.transition.to
        if resumed and ctx.annotation("state") == "resumed":
            text += ":resumed"
        self.note(f"{text}:{ctx.id}" if state else text)

    def note(self, text: str) -> None:
        """Note any text."""
        with self._news:
            self._visited.append(text)
            self._news.notify_all()

    @property
    def visited(self) -> list[str]:
        """All visits so far."""
        with self._news:
            return list(self._visited)

    def forget(self) -> None:
        """Begin anew."""
        with self._news:
            self._visited.clear()

    def count(self, text: str) -> int:
        """How often this was visited."""
        return self.visited.count(text)

    async def until(self, count: int, within: float = WITHIN_S) -> list[str]:
        """Wait until there are so many visits; the visits."""
        await self.when(lambda visited: len(visited) >= count, within)
        return self.visited

    async def when(self, true: Callable[[list[str]], bool], within: float = WITHIN_S) -> None:
        """Wait until the visits are as they should be."""

        def wait() -> bool:
            with self._news:
                return self._news.wait_for(lambda: true(self._visited), within)

        assert await asyncio.to_thread(wait), self.visited


def on_loop(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function: it has two minutes, and may leave no task and no thread behind."""

    async def watched(*args: Any, **kwargs: Any) -> None:
        before = set(threading.enumerate())
        await asyncio.wait_for(scenario(*args, **kwargs), 120)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("stepflow"):
                thread.join(CLOSING_S)  # it was told to end, and may need a moment
                assert not thread.is_alive(), thread.name

    @wraps(scenario)
    def test(*args: Any, **kwargs: Any) -> None:
        asyncio.run(watched(*args, **kwargs))

    return test


@asynccontextmanager
async def open_engine(driver: Driver, *flows: Flow[Any, Any], clock: Clock | None = None) -> AsyncIterator[AsyncEngine]:
    """An open engine that has registered the flows, with its worker at work; it must close in time, also while functions run.

    Under a virtual clock there is no worker: the case calls `run_until_idle`.
    """
    engine = AsyncEngine(driver, clock=clock)
    await engine.__aenter__()
    try:
        engine.register(*flows)
        if isinstance(clock, VirtualClock):
            yield engine
        else:
            async with engine.worker():
                yield engine
    finally:
        await asyncio.wait_for(engine.__aexit__(None, None, None), CLOSING_S)


def parking(name: str, track: Callable[[StateCtx], Any], *, commits: bool = False) -> FlowFunction:
    """A flow function that notes its visit and parks."""

    @flow(name)
    def fn(ctx: StateCtx) -> Command:
        track(ctx)
        return commit(park(ctx)) if commits else park(ctx)

    return fn


def going(name: str, to: str, track: Callable[[StateCtx], Any], *, commits: bool = False) -> FlowFunction:
    """A flow function that notes its visit and goes to another one."""

    @flow(name)
    def fn(ctx: StateCtx) -> Command:
        track(ctx)
        return commit(transit(ctx, to)) if commits else transit(ctx, to)

    return fn


def together(commits: bool, *commands: Command) -> Iterable[Command]:
    """The commands as one commit, or one after the other."""
    return (commit(*commands),) if commits else commands


def as_it_is(ctx: StateCtx) -> tuple[Any, ...]:
    """All that a working copy consists of, to be compared."""
    return ctx.current, ctx.committed, list(ctx.transitions), dict(ctx.datas)


async def parked(engine: AsyncEngine, *states: StateCtx) -> list[State]:
    """Park the States, one commit after the other; what was committed."""
    found = []
    for ctx in states:
        await engine.do(commit(park(ctx)))
        found.append(ctx.committed)
    return found


async def refusal(work: Coroutine[Any, Any, Any]) -> StepflowError:
    """The error with which the work ends."""
    try:
        await work
    except StepflowError as error:
        return error
    raise AssertionError("it was not refused")
