"""Servers restart again and again under several workers, watchers and delays: nothing lost, nothing repeated."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stepflow import Engine, StateCtx, delay
from tests.postgres.server import Server
from tests.processes import flows
from tests.processes.checks import check_chain, check_effects, histories, start_many
from tests.processes.harness import Nursery, seconds
from tests.processes.shares import IN_FLIGHT, check_store, wait_for_all
from tests.processes.traffic import last

MODULE = "tests.processes.traffic"


def restart_storm(server: Server, folder: Path, *, runs: int, workers: int, restarts: int, delays: int) -> None:
    """Each restart comes after another share of the steps; `immediate` ones are crashes of the server."""
    chance = random.Random(runs)
    nursery = Nursery(folder, server.url())
    try:
        staff = [
            nursery.spawn("forever", "sync_chain", "async_chain", "late", concurrency=IN_FLIGHT) for _ in range(workers)
        ]
        for child in staff:
            nursery.log.wait(what="ready", who=child.name)
        watcher = nursery.run("watcher", MODULE, "watches", nursery.url, "watcher", "0")
        nursery.log.wait(what="watching")
        ids = [
            run for flow in (flows.sync_chain, flows.async_chain) for run in start_many(nursery.url, flow, runs // 2)
        ]
        begun = time.monotonic_ns()
        with Engine(nursery.url) as engine:
            for number in range(delays):
                due = datetime.now(UTC) + timedelta(seconds=0.5 + chance.random() * 2 * restarts)
                engine.do(delay(StateCtx(f"d{number}"), "late", due, commit=False))
        share = runs * flows.CHAIN // (restarts + 1)
        for number in range(restarts):
            nursery.log.wait(share * (number + 1), what="step", timeout=120)
            nursery.log.pause(chance.random() * 0.1)
            server.restart(("fast", "immediate")[number % 2])
        wait_for_all(nursery.url, ids)
        nursery.log.wait(delays, what="fired", timeout=60)
        took = seconds(begun, time.monotonic_ns())
        wanted = last(nursery.url)
        assert watcher.wait(60) == 0, watcher.stderr()
        for child in staff:
            assert not child.ended(), child.stderr()
            child.send(signal.SIGTERM)
            assert child.wait(60) == 0, child.stderr()
        fired = Counter(entry.run for entry in nursery.log.entries("fired"))
        assert fired == {f"d{n}": 1 for n in range(delays)}
        assert check_effects(nursery.log.entries("step"), ids, [], 0) == 0
        for run_id, entries in histories(nursery.url, ids).items():
            check_chain(run_id.rpartition("-")[0], entries)
        assert [rev for e in nursery.log.entries("saw") if e.run == "0" for rev in e.note] == wanted[0]
        assert not [e for e in nursery.log.entries("log") if "dead owner" in str(e.note)]
        check_store(nursery.url)
        print(f"{restarts} restarts in {took:.1f} s: {runs} runs, {delays} delays, {len(wanted[0])} revisions watched")
    finally:
        nursery.close()


def test_restarts_lose_and_repeat_nothing(server: Server, tmp_path: Path) -> None:
    restart_storm(server, tmp_path, runs=120, workers=3, restarts=2, delays=20)


@pytest.mark.soak
@pytest.mark.parametrize("version", ["server", "older_server"])
def test_restart_storm(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> None:
    restart_storm(request.getfixturevalue(version), tmp_path, runs=4000, workers=4, restarts=12, delays=300)
