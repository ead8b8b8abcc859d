"""Laws of replay, for random programs and random failures of commits: one effect for each recorded step, and the same result."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import Engine, MemoryDriver, StoreError
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.workflows.programs import Program, programs

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def begun(store: Driver, clock: VirtualClock, program: Program, is_async: bool) -> Any:
    flow = program.async_flow() if is_async else program.sync_flow()
    with Engine(store, clock=clock) as engine:
        run = engine.start(flow, id="r")
        for n in range(2):
            run.publish(f"event/{n}", n, id="e")
    return flow


def finished(store: Driver, clock: VirtualClock, flow: Any) -> list[Any]:
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.run_until_idle(advance=True)
        result: list[Any] = engine.get(flow, "r").result()
        return result


def drawn(found: list[Any]) -> list[Any]:
    """The result without what is drawn at random or read from the clock: that differs between two runs, not between replays."""
    return ["drawn" if isinstance(one, list) else one for one in found]


class Failing:
    """Lets commits of an engine fail: `plan` says of each commit whether it fails before it is made, after that, or not."""

    def __init__(self, engine: Engine, plan: list[str], repeated: Counter[str]) -> None:
        self.committer = engine._engine._session.committer
        self.plan, self.repeated = plan, repeated
        self.submit, self.threadsafe = self.committer.submit, self.committer.submit_threadsafe
        self.committer.submit = self.failing_submit  # type: ignore[method-assign]
        self.committer.submit_threadsafe = self.failing_threadsafe  # type: ignore[method-assign]

    def next(self, member: Any) -> str:
        what = self.plan.pop(0) if self.plan else ""
        if what == "before":
            rows = getattr(member, "rows", getattr(member, "journal", ()))
            self.repeated.update(row.key for row in rows if row.kind.partition("@")[0] in ("step", "attempt"))
        return what

    async def failing_submit(self, member: Any) -> Any:
        what = self.next(member)
        if what == "before":
            raise StoreError("before")
        done = await self.submit(member)
        if what == "after":
            raise StoreError("after")
        return done

    def failing_threadsafe(self, member: Any, on_done: Any) -> None:
        what = self.next(member)
        if what == "before":
            on_done(StoreError("before"))
            return
        self.threadsafe(member, lambda done: on_done(StoreError("after") if what == "after" else done))


@SETTINGS
@given(programs, st.booleans(), st.lists(st.sampled_from(["", "", "before", "after"]), max_size=25), st.booleans())
def test_failing_commits_and_restarts_change_neither_the_result_nor_the_number_of_effects(
    calls: list[tuple[str, int]], is_async: bool, plan: list[str], sqlite: bool
) -> None:
    plain = Program(calls)
    store: Driver = MemoryDriver()
    clock = VirtualClock()
    expected = finished(store, clock, begun(store, clock, plain, is_async))

    program, clock, repeated = Program(calls), VirtualClock(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteDriver(Path(folder) / "runs.db") if sqlite else MemoryDriver()
        flow = begun(store, clock, program, is_async)
        plan = list(plan)
        while plan:
            with Engine(store, clock=clock) as engine:
                engine.register(flow)
                Failing(engine, plan, repeated)
                try:
                    engine.run_until_idle(advance=True)
                    break
                except StoreError:
                    continue
        found = finished(store, clock, flow)
    if not repeated:
        assert drawn(found) == drawn(expected)
        assert program.effects == plain.effects
    assert {key: n for key, n in program.effects.items() if n > plain.effects[key] + repeated[key]} == {}
    assert len(found) == len(expected)


@SETTINGS
@given(programs, st.booleans())
def test_a_replay_in_each_place_equals_the_first_execution(calls: list[tuple[str, int]], is_async: bool) -> None:
    store, clock, program = MemoryDriver(), VirtualClock(), Program(calls)
    flow = begun(store, clock, program, is_async)
    last: list[Any] = []
    while True:
        with Engine(store, clock=clock) as engine:
            engine.register(flow)
            worker = engine._engine._session.worker
            committer = engine._engine._session.committer
            submit, threadsafe = committer.submit, committer.submit_threadsafe

            async def stopping(member: Any, submit: Any = submit, worker: Any = worker) -> Any:
                worker.quit()
                return await submit(member)

            def stopping_too(member: Any, on_done: Any, threadsafe: Any = threadsafe, worker: Any = worker) -> None:
                worker.quit()
                threadsafe(member, on_done)

            committer.submit, committer.submit_threadsafe = stopping, stopping_too  # type: ignore[method-assign]
            engine.run_until_idle(advance=True)
            if engine.get("r").status() == "completed":
                last = engine.get(flow, "r").result()
                break
    again = Program(calls)
    store2, clock2 = MemoryDriver(), VirtualClock()
    assert drawn(last) == drawn(finished(store2, clock2, begun(store2, clock2, again, is_async)))
    assert program.effects == again.effects
