"""A worker that ends when nothing is left to do, while other owners hold runs: it looks often, and beats rarely."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stepflow import AsyncEngine, named
from stepflow.engine.worker.idle_looks import FIRST_LOOK, VERDICT, IdleLooks
from tests.engine.clocks import ManualClock


class StoppedClock(ManualClock):
    """A clock whose wall time stands still."""

    def __init__(self) -> None:
        super().__init__()
        self._now = super().now()

    def now(self) -> int:
        return self._now


@given(st.lists(st.integers(0, 2 * VERDICT), max_size=40))
def test_a_beat_comes_once_in_a_while_and_looks_in_between(late):
    looks, now, beaten = IdleLooks(), 0, None
    for more in late:
        if looks.beats(now):
            assert beaten is None or now - beaten >= VERDICT
            beaten, pause = now, FIRST_LOOK
        else:
            assert beaten is not None
            assert now - beaten < VERDICT
        assert looks.next(now) == now + pause
        pause, now = min(2 * pause, VERDICT), now + pause + more


def test_a_clock_that_was_set_back_keeps_no_beat_back():
    looks = IdleLooks()
    assert looks.beats(10 * VERDICT)
    assert looks.beats(0)


async def _beats_beside_a_run_of_another(url: str) -> int:
    """How often a worker without work beats for its verdict, until it has looked a dozen times at what others hold."""
    loop, begun, held, looks, beats = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event(), 0, 0

    async def wait() -> None:
        begun.set()
        await held.wait()

    flow = named("held").do("s", wait).compile()
    async with AsyncEngine(url) as other, AsyncEngine(url, clock=StoppedClock()) as engine:
        other.register(flow)
        engine.register(flow)
        store: Any = engine._session.store
        beat, next_due = store.beat, store.next_due

        def counted_beat(*args: Any, **how: Any) -> Any:
            nonlocal beats
            beats += threading.current_thread().name != "stepflow-heartbeat"
            return beat(*args, **how)

        def counted_look(*args: Any, **how: Any) -> Any:
            nonlocal looks
            looks += 1
            if looks == 12:
                loop.call_soon_threadsafe(held.set)
            return next_due(*args, **how)

        async with other.worker():
            run = await other.start(flow)
            await begun.wait()
            store.beat, store.next_due = counted_beat, counted_look
            await engine.run_until_idle()
            held.set()
            await run.result()
    return beats


def test_a_worker_looks_again_for_the_last_run_of_another_without_a_beat_each_time(tmp_path: Path):
    assert asyncio.run(_beats_beside_a_run_of_another(f"sqlite:///{tmp_path / 's.db'}")) == 1
