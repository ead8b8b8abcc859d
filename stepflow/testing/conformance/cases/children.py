"""Children of a workflow that fails, on a driver: a redrive starts again those that the failure cancelled, whoever held them, and no others."""

from __future__ import annotations

import threading

from stepflow.drivers.port.store import Driver
from stepflow.errors import RunCancelled, RunFailed
from stepflow.replay import AsyncContext, Context, workflow
from stepflow.testing.conformance.cases.kit import WITHIN_S, Tracker, on_loop, open_engine, refusal


class ChildCases:
    """A failure, some cancels before it, and a redrive."""

    @on_loop
    async def test_a_redrive_begins_the_children_anew_that_the_failure_cancelled(self, driver: Driver) -> None:
        track, go_on, broken = Tracker(), threading.Event(), [True]

        def hold(name: str) -> None:
            track.note(f"hold {name}")
            assert go_on.wait(WITHIN_S)

        def work() -> None:
            track.note("work")
            if any(broken):
                raise ValueError("broken")

        @workflow("case/held")
        def held(wf: Context, name: str) -> str:
            wf.execute("hold", hold, name)
            return name

        @workflow("case/waiting")
        def waiting(wf: Context) -> str:
            return wf.wait_for_event("go", "go", str)

        @workflow("case/fails")
        async def fails(wf: AsyncContext) -> list[str]:
            kids = [await wf.start_child(name, waiting) for name in ("waits", "waits-gone")]
            kids += [await wf.start_child(name, held, name) for name in ("held", "held-gone")]
            await wf.wait_for_event("next", "next", int)
            await wf.execute("work", work)
            return [one.value if one.ok else type(one.error).__name__ for one in await wf.results("ends", kids)]

        async with open_engine(driver, fails, held, waiting) as engine:
            run = await engine.start(fails, id="p")
            await track.until(2)
            await engine.cancel(["p/waits-gone", "p/held-gone"])
            await run.publish("next", 1)
            assert isinstance(await refusal(run.result(timeout=WITHIN_S)), RunFailed)
            broken.clear()
            await run.redrive()
            go_on.set()
            await track.when(lambda visited: visited.count("work") == 2)
            for name in ("waits", "waits-gone", "held", "held-gone"):
                assert isinstance(await refusal(engine.get(f"p/{name}").result(timeout=WITHIN_S)), RunCancelled)
            (waits,) = await engine.runs(parent="p", flow="case/waiting", open=True)
            await engine.get(waits.id).publish("go", "heard")
            assert await run.result(timeout=WITHIN_S) == ["heard", "RunCancelled", "held", "RunCancelled"]
            assert len(await engine.runs(parent="p")) == 6
        assert (track.count("hold held"), track.count("hold held-gone")) == (2, 1)
