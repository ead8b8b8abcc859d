"""Arbitrary chains: an engine has the same result as plain `apply` in a loop, also when it is reopened repeatedly."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import Engine, MemoryDriver, Status, StepFlow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from stepflow.testing.script import Boom, Script, chain_of, counted
from stepflow.testing.strategies import scripts

BOUND = 100  # of applies: longer scenarios show nothing new
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def applied(flow: StepFlow[Any]) -> tuple[list[list[str]], Any, bool]:
    """Positions, final exchange and whether the flow ended, by plain `apply`; an error that no group retries is the end."""

    async def go() -> tuple[list[list[str]], Any, bool]:
        state: list[str] = []
        exchange: dict[str, Any] = {"calls": []}
        positions: list[list[str]] = [["start:script"]]
        if not flow.first().tasks:  # nothing to call: such a run ends where it begins
            return [["completed:script"]], exchange, True
        while not flow.is_completed(state) and len(positions) < BOUND:
            before = list(exchange["calls"])
            try:
                state = await flow.aapply(state, exchange)
            except Boom:
                return positions, {"calls": before}, False
            positions.append(state)
        if flow.is_completed(state):
            del positions[-2]  # the engine commits the closing hops together with the last step
        return positions, exchange, flow.is_completed(state)

    return asyncio.run(go())


def prepared(script: Script) -> tuple[StepFlow[Any], tuple[list[list[str]], Any, bool]]:
    """The flow, whose calls count anew, and its result by plain `apply`.

    Plain apply cannot undo what a failed call changed, so these calls leave no trace by themselves.
    """
    counts: Counter[str] = Counter()
    flow = chain_of(counted(script, counts), "script").compile()
    expected = applied(flow)
    counts.clear()
    return flow, expected


def run_through(flow: StepFlow[Any], store: Driver, clock: VirtualClock) -> tuple[list[list[str]], Any, bool]:
    """The same, by an engine."""
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.start(flow, {"calls": []}, id="one")
        engine.run_until_idle(advance=True)
        return outcome(engine)


def outcome(engine: Engine) -> tuple[list[list[str]], Any, bool]:
    run = engine.get("one")
    history = run.history(10 * BOUND)
    return [e.position for e in history if e.status != "failed"], run.exchange(), run.status() is Status.COMPLETED


@SETTINGS
@given(scripts(sync=None))
def test_an_engine_does_what_apply_does(script: Script):
    flow, expected = prepared(script)
    if len(expected[0]) < BOUND:
        assert run_through(flow, MemoryDriver(), VirtualClock()) == expected


@SETTINGS
@given(scripts(depth=2, width=3), st.integers(1, 4), st.booleans())
def test_an_engine_that_is_reopened_after_every_few_commits_does_the_same(script: Script, every: int, sqlite: bool):
    flow, expected = prepared(script)
    if len(expected[0]) >= (25 if sqlite else BOUND):
        return
    with tempfile.TemporaryDirectory() as folder:
        store: Driver = SqliteDriver(Path(folder) / "runs.db") if sqlite else MemoryDriver()
        clock = VirtualClock()
        with Engine(store, clock=clock) as engine:
            engine.start(flow, {"calls": []}, id="one")
        for _ in range(BOUND + 1):
            if advance(flow, store, clock, every):
                break
        with Engine(store, clock=clock) as engine:
            assert outcome(engine) == expected


def advance(flow: StepFlow[Any], store: Driver, clock: VirtualClock, commits: int) -> bool:
    """Open an engine, let it make this number of commits, and close it; True when nothing is left to do."""
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        committer = engine._engine._session.committer
        worker = engine._engine._session.worker
        made = [0]

        async def submit(commit: Any) -> Any:
            made[0] += 1
            if made[0] >= commits:
                worker.quit()
            return await type(committer).submit(committer, commit)

        committer.submit = submit  # type: ignore[method-assign]
        return engine.run_until_idle(advance=True).next_due is None and made[0] < commits
