"""Long chaos test: workers are killed and stopped at random while runs are started, on any store."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from typing import Any

from stepflow import AsyncEngine, Engine, Unavailable
from tests.processes import flows
from tests.processes.checks import check_chain, check_effects, histories, lost
from tests.processes.flows import Count
from tests.processes.harness import Child, Nursery, eventually, seconds
from tests.processes.shares import IN_FLIGHT, check_store

WORKERS, SILENCE_S = 4, 4.0
CHAINS = (flows.sync_chain, flows.async_chain)
EACH = 50  # runs of each chain that are started per turn
TURN_S = 0.7
ENOUGH_S = 120.0  # for what is left when the storm is over


class Staff:
    """Workers of which one may stand still; who was killed or stopped is noted, as often as it happened."""

    def __init__(self, nursery: Nursery, chance: random.Random) -> None:
        self._nursery, self._chance = nursery, chance
        self.hurt: list[str] = []
        self._still: Child | None = None
        self._timer = threading.Timer(0, self._go_on)
        self.all = [self._hire() for _ in range(WORKERS)]

    def _hire(self) -> Child:
        names = [flow.name for flow in CHAINS]
        return self._nursery.spawn("forever", *names, concurrency=IN_FLIGHT, SILENCE_S=SILENCE_S)

    def turn(self) -> None:
        """Kill a worker, or stop it for a while, at any time, also within a transaction."""
        victim = self._chance.choice([child for child in self.all if child is not self._still])
        if self._still is None and self._chance.random() < 0.5:
            victim.stop()
            self._still = victim
            self._timer = threading.Timer(SILENCE_S * (0.2 + 1.2 * self._chance.random()), self._go_on)
            self._timer.start()
        else:
            victim.kill()
            self.all.remove(victim)
            self.all.append(self._hire())
        self.hurt.append(victim.name)

    def _go_on(self) -> None:
        if self._still is not None:
            self._still.send(signal.SIGCONT)
            self._still = None

    def rest(self) -> None:
        """Continue all stopped workers."""
        self._timer.cancel()
        self._go_on()

    def dismiss(self) -> None:
        """All end."""
        for child in self.all:
            self._nursery.log.wait(what="ready", who=child.name)
            child.send(signal.SIGTERM)
        for child in self.all:
            assert child.wait(60) == 0, child.stderr()


def chaos(nursery: Nursery, *, lasts_s: float, seed: int) -> None:
    """Every run completes, and no step is done again that was not interrupted."""
    chance = random.Random(seed)
    ids: list[str] = []
    with Engine(nursery.url):
        pass  # the store is there
    staff = Staff(nursery, chance)
    nursery.log.wait(WORKERS, what="ready")
    begun = time.monotonic_ns()
    asyncio.run(_storm(nursery, staff, ids, lasts_s))
    staff.rest()
    with Engine(nursery.url) as engine:
        wanted = {flow.name: {"completed": len(ids) // len(CHAINS)} for flow in CHAINS}
        assert _patiently(engine, wanted), (engine.tally(), nursery.log.entries("log")[-20:])
    took = seconds(begun, time.monotonic_ns())
    staff.dismiss()
    effects = nursery.log.entries("step")
    again = check_effects(effects, ids, staff.hurt, IN_FLIGHT, lost(nursery.log.entries("log")))
    for run_id, entries in histories(nursery.url, chance.sample(ids, min(300, len(ids)))).items():
        check_chain(run_id.partition("-")[0], entries)
    check_store(nursery.url)
    refused = sum("this worker does not go on with it" in str(entry.note) for entry in nursery.log.entries("log"))
    print(
        f"{took:.0f} s: {len(ids)} runs, {len(effects)} steps by {len(Counter(e.who for e in effects))} workers;"
        f" {len(staff.hurt)} kills and stops, {again} steps repeated, {refused} late writes refused"
    )
    assert len(staff.hurt) > lasts_s / TURN_S / 3


def _patiently(engine: Engine, wanted: Any) -> bool:
    try:
        eventually(lambda: engine.tally() == wanted, ENOUGH_S)
    except AssertionError:
        return False
    return True


async def _storm(nursery: Nursery, staff: Staff, ids: list[str], lasts_s: float) -> None:
    end = time.monotonic() + lasts_s
    async with AsyncEngine(nursery.url) as engine:
        number = 0
        while time.monotonic() < end:
            for flow in CHAINS:
                some: list[tuple[str | None, Any]] = [(f"{flow.name}-{number}-{n}", Count()) for n in range(EACH)]
                await _insist(engine, flow, some)
                ids += [str(run_id) for run_id, _exchange in some]
            number += 1
            await asyncio.to_thread(nursery.log.pause, 0.3 * random.Random(number).random())  # they are busy now
            await asyncio.to_thread(staff.turn)
            await asyncio.to_thread(nursery.log.pause, TURN_S)


async def _insist(engine: AsyncEngine, flow: Any, some: list[tuple[str | None, Any]]) -> None:
    """Start these runs; retry if a stopped process holds the write lock for too long."""
    while True:
        try:
            await engine.start_many(flow, some)
        except Unavailable:
            continue
        return
