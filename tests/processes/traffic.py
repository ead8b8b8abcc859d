"""A process that commits many States at once, or watches them: `python -m tests.processes.traffic VERB URL NAME COUNT`."""

from __future__ import annotations

import asyncio
import os
import random
import select
import sys
from collections.abc import Iterator
from typing import Any

from stepflow import AsyncEngine, Engine, StateCtx, commit, park
from stepflow.drivers.port.commit import Commit, Created, Event, Owner, Placeholder, RevOf, Write
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.registry import driver_for
from stepflow.engine.states import watch as watching
from stepflow.errors import StepflowError
from stepflow.model.state import State, Transition
from tests.processes.flows import report

GROUPS = (({"n": "1"}, {"kind": "shared"}), ({"who": "p0"}, {"n": "2", "kind": "own"}))
LAST: dict[str, str] = {"n": "1", "who": "p0", "kind": "last"}  # in every group
PAUSE_S = 0.02  # at most, between the drawing of revisions and their commit


def commits(url: str, name: str, count: int) -> None:
    """Transactions of one to four States; some pause, some are taken back, some meet others at the same State."""
    chance = random.Random(name)
    store = driver_for(url).connect("", Owner(name, "host", os.getpid()), 1)
    made = refused = 0
    for number in range(count):
        found = {r.state.id: r.state for r in store.read(HistoryQuery(labels=({"kind": "shared"},), latest_only=True))}
        writes = [_own(name, number, part, chance) for part in range(chance.randint(1, 3))]
        writes.insert(chance.randrange(len(writes) + 1), _shared(found, f"shared-{chance.randrange(3)}", name))
        plain = Commit(writes=(_own(name, number, 9, chance),))
        batch = [_hesitating(tuple(writes), chance), plain][: chance.randint(1, 2)]
        for result in store.commit(batch, number + 1):
            made, refused = made + isinstance(result, tuple), refused + isinstance(result, StepflowError)
    store.close()
    report("over", note=[made, refused])


def _own(name: str, number: int, part: int, chance: random.Random) -> Write:
    labels = {"who": name, "n": str(chance.randrange(3)), "kind": "own"}
    return Write(State(f"{name}-{number}-{part}", 0, Transition(), labels), "null", Created("", "", 1))


def _shared(found: dict[str, State], run_id: str, name: str) -> Write:
    rev, labels = found[run_id].rev if run_id in found else 0, {"kind": "shared", "who": name, "n": "0"}
    return Write(State(run_id, rev, Transition(), labels), "null", None if rev else Created("", "", 1))


class _Pause(tuple[Placeholder, ...]):
    """Placeholders that keep the store waiting inside of the transaction, when the revisions are drawn."""

    pause_s = 0.0

    def __iter__(self) -> Iterator[Placeholder]:
        select.select([], [], [], self.pause_s)
        return super().__iter__()


def _hesitating(writes: tuple[Write, ...], chance: random.Random) -> Commit:
    placeholders = _Pause([Placeholder("write", 0, "rev", RevOf(0))])
    if chance.random() < 0.5:
        placeholders.pause_s = chance.random() * PAUSE_S
    refused = (Event("nobody", "e", "1", "1", 1),) if chance.random() < 0.2 else ()
    return Commit(writes=writes, publish=refused, placeholders=placeholders)


def steps(url: str, name: str, count: int) -> None:
    """The same through engines: commits of flow functions' States, refused or done again as the store pleases."""

    async def work() -> None:
        async with AsyncEngine(url) as engine:
            await asyncio.gather(*(_step(engine, name, number) for number in range(count)))

    asyncio.run(work())
    report("over", note=[count, 0])


async def _step(engine: AsyncEngine, name: str, number: int) -> None:
    one, two = (StateCtx(f"{name}-{number}-{part}", {"who": name, "n": str(part), "kind": "own"}) for part in (1, 2))
    await engine.do(commit(park(one), park(two)))
    await engine.do(commit(park(two), park(one)))


def watches(url: str, name: str, _count: int) -> None:
    """Several watchers in one engine; what each saw up to the last State."""

    async def collect(watch: Any) -> list[int]:
        revs = []
        async for state in watch:
            if not revs and state.labels.get("kind") != "last":
                report("first", note=state.id)
            revs.append(state.rev)
            if state.labels.get("kind") == "last":
                return revs
        raise AssertionError

    async def work() -> None:
        async with AsyncEngine(url) as engine:
            tasks = [asyncio.create_task(collect(engine.watch(*labels, since=0))) for labels in ((), *GROUPS)]
            report("watching")
            for number, revs in enumerate(await asyncio.gather(*tasks)):
                for start in range(0, max(len(revs), 1), 400):  # a line of a pipe has its limits
                    report("saw", run=str(number), note=revs[start : start + 400])
            report("seen", note=name)

    asyncio.run(work())


def hears(url: str, poll_s: str, count: int) -> None:
    """When each State arrived at a watcher that looks by itself every `poll_s` seconds."""
    watching.POLL_S = float(poll_s)
    with Engine(url) as engine:
        watch = engine.watch()
        watch.next(0.01)
        report("watching")
        for _number in range(count):
            state = next(watch)
            report("heard", run=state.id)


def last(url: str) -> list[list[int]]:
    """Commit the last State; the revisions that each watcher must have seen."""
    with Engine(url) as engine:
        engine.do(commit(park(StateCtx("last", LAST))))
        return [[s.rev for s in engine.iterate(*labels)] for labels in ((), *GROUPS)]


if __name__ == "__main__":
    verb, url, name, count = sys.argv[1:]
    {"commits": commits, "steps": steps, "watches": watches, "hears": hears}[verb](url, name, int(count))
