"""Time limits of whole runs, on a driver: of runs that wait, that a worker holds, and that undo what they did."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.clock import VirtualClock
from stepflow.errors import Cancelled, RunFailed
from stepflow.model.lifecycle import Status
from stepflow.model.limits import Limit
from stepflow.replay import AsyncContext, Context, workflow
from stepflow.steps import named
from stepflow.testing.conformance.cases.kit import WITHIN_S, on_loop, open_engine, refusal

HOUR = timedelta(hours=1)


async def _timed_out(run: AsyncRun[Any]) -> bool:
    info = await run.info()
    return info.status is Status.FAILED and info.error is not None and info.error.type == "TimedOut"


class RunTimeoutCases:
    """A run that has not ended in time fails, wherever it is."""

    @on_loop
    async def test_runs_that_wait_fail_at_their_ends(self, driver: Driver) -> None:
        clock, log = VirtualClock(), list[str]()

        @workflow("case/booking")
        async def booking(wf: AsyncContext) -> None:
            await wf.execute("book", lambda: log.append("book"))
            try:
                await wf.wait_for_event("paid", "paid", int)
            except Cancelled:
                await wf.sleep("breath", 60)
                await wf.execute("undo", lambda: log.append("undo"))
                raise

        waits = (
            named("case/waits").wait_event("go", "go", int, lambda _exchange, _payload: None).compile(run_timeout=HOUR)
        )
        once = Limit("case/once", rate=1, per=timedelta(days=2))
        async with open_engine(driver, booking, waits, clock=clock) as engine:
            runs: list[AsyncRun[Any]] = [await engine.start(waits, id=f"w{n}") for n in range(3)]
            runs += await engine.start_many(waits, [(f"q{n}", None) for n in range(3)], limits=once)
            runs.append(await engine.start(booking, id="b", run_timeout=HOUR))
            other = await engine.start(waits, id="other", run_timeout=timedelta(days=365))
            await engine.run_until_idle()
            paused = engine.get("w2")
            await paused.pause()
            await engine.run_until_idle(advance=True, until=2 * HOUR)
            assert [await _timed_out(run) for run in runs] == [True, True, False, *[True] * 4]
            assert (await paused.status(), await other.status()) == (Status.PAUSED, Status.WAITING)
            assert (log, (await other.info()).labels) == (["book", "undo"], {})
            await paused.resume()
            await other.publish("go", 1)
            await engine.run_until_idle()
            assert (await _timed_out(paused), await other.status()) == (True, Status.COMPLETED)
            assert await engine.schedules() == []

    @on_loop
    async def test_runs_that_a_worker_holds_fail_at_their_ends(self, driver: Driver) -> None:
        go_on, made = threading.Event(), list[str]()

        def slow() -> None:
            assert go_on.wait(WITHIN_S)

        async def aslow() -> None:
            await asyncio.Event().wait()

        def never() -> None:
            made.append("never")

        @workflow("case/sync")
        def sync_one(wf: Context) -> None:
            wf.execute("slow", slow)
            wf.execute("never", never)

        @workflow("case/async")
        async def async_one(wf: AsyncContext) -> None:
            await wf.execute("slow", aslow)
            await wf.execute("never", never)

        chains = [named(f"case/{step.__name__}").do("s", step).do("n", never).compile() for step in (slow, aslow)]
        async with open_engine(driver, sync_one, async_one, *chains) as engine:
            flows = (sync_one, async_one, *chains)
            runs: list[AsyncRun[Any]] = [await engine.start(flow, run_timeout=0.4) for flow in flows]
            for run in runs:
                assert isinstance(await refusal(run.result(timeout=WITHIN_S)), RunFailed)
            go_on.set()
        async with AsyncEngine(driver) as engine:
            assert [await _timed_out(engine.get(run.id)) for run in runs] == [True] * len(runs)
        assert made == []
