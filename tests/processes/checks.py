"""What must be true of a store after crashes: complete histories, sound files, no step done again after its commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from stepflow import AsyncEngine, HistoryEntry
from tests.processes.flows import CHAIN, Count
from tests.processes.harness import Entry

Key = tuple[str, str]  # run, step


def start_many(url: str, flow: Any, count: int) -> list[str]:
    """Start runs without advancing them; their ids."""

    async def work() -> list[str]:
        async with AsyncEngine(url) as engine:
            runs = await asyncio.gather(*(engine.start(flow, Count(), id=f"{flow.name}-{i:03}") for i in range(count)))
        return [run.id for run in runs]

    return asyncio.run(work())


def histories(url: str, ids: Iterable[str]) -> dict[str, list[HistoryEntry]]:
    """The history of each run."""

    async def work() -> dict[str, list[HistoryEntry]]:
        async with AsyncEngine(url) as engine:
            return {run_id: await engine.get(run_id).history() for run_id in ids}

    return asyncio.run(work())


def committed(url: str, ids: Iterable[str]) -> set[Key]:
    """The steps of chains that the store knows to be finished: revision n + 1 holds the outcome of step n."""
    return {(run_id, f"s{n:02}") for run_id, entries in histories(url, ids).items() for n in range(len(entries) - 1)}


def check_file(path: Any) -> None:
    """SQLite finds the database file sound."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def check_chain(name: str, entries: Sequence[HistoryEntry], length: int = CHAIN) -> None:
    """A completed chain: every position once and in order, the exchange counted on by one each time."""
    steps = [f"completed:{name}/s{n:02}" for n in range(length - 1)]
    assert [e.position for e in entries] == [[p] for p in (f"start:{name}", *steps, f"completed:{name}")]
    assert [e.exchange["n"] for e in entries] == list(range(length + 1))
    assert entries[-1].status == "completed"
    revs = [e.rev for e in entries]
    assert revs == sorted(set(revs))


def by_step(effects: Iterable[Entry]) -> dict[Key, list[Entry]]:
    """The effects of each step of each run, in the order in which they happened."""
    found: dict[Key, list[Entry]] = defaultdict(list)
    for effect in effects:
        found[effect.run, effect.step].append(effect)
    return found


def lost(log: Iterable[Entry]) -> set[Key]:
    """The workers that lost a claim, and its run, according to the workers' log."""
    notes = [(entry.who, str(entry.note).split()) for entry in log]
    return {
        (who, words[1][:-1])
        for who, words in notes
        if words[:1] == ["run"] and words[2:6] == ["this", "worker", "does", "not"]
    }


def check_effects(
    effects: Sequence[Entry], ids: Iterable[str], killed: Iterable[str], in_flight: int, late: Collection[Key] = ()
) -> int:
    """Every step ran; a step that ran twice had been interrupted by a kill, or by a stop that lasted too long.

    `killed` names the killed worker of each kill. `late` are workers and the runs that they `lost`: the last step that such a
    worker made of the run was not committed, even if it is later than that of the new owner, because a stopped process continues
    in the middle of its step. Returns the number of repeated steps.
    """
    times = Counter(killed)
    found = by_step(effects)
    assert set(found) == {(run_id, f"s{n:02}") for run_id in ids for n in range(CHAIN)}
    newest = {(e.who, e.run): e for e in effects}
    interrupted: Counter[str] = Counter()
    for key, occurrences in found.items():
        if len(occurrences) == 1:
            continue
        vain = [e for e in occurrences if (e.who, e.run) in late and newest[e.who, e.run] is e]
        *before, _last = [e for e in occurrences if e not in vain]
        unkilled = [e.who for e in (*before, *vain) if e.who not in times]
        assert not unkilled, f"{key} was done again although {unkilled} went on living: {occurrences}"
        interrupted.update(e.who for e in (*before, *vain))
    assert all(number <= in_flight * times[who] for who, number in interrupted.items()), interrupted
    return sum(interrupted.values())
