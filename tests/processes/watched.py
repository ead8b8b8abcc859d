"""Watchers in other processes, under the commits of many processes: none of them misses or repeats a revision."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median, quantiles

from stepflow import Engine, StateCtx, commit, park
from tests.processes.harness import Child, Nursery, seconds
from tests.processes.traffic import last

MODULE = "tests.processes.traffic"


def watch_storm(nursery: Nursery, *, committers: int, count: int, engines: int = 0) -> None:
    """Some watchers begin before the commits, one in the midst of them; `engines` commit through engines."""
    staff = [_start(nursery, "watches", f"early-{n}", 0) for n in range(2)]
    nursery.log.wait(2, what="watching")
    begun = time.monotonic_ns()
    busy = [_start(nursery, "commits", f"p{n}", count) for n in range(committers)]
    busy += [_start(nursery, "steps", f"e{n}", count) for n in range(engines)]
    nursery.log.wait(2, what="first")
    staff.append(_start(nursery, "watches", "late", 0))
    for child in busy:
        assert child.wait(900) == 0, child.stderr()
    took = seconds(begun, time.monotonic_ns())
    nursery.log.wait(3, what="watching")
    wanted = last(nursery.url)
    for child in staff:
        assert child.wait(120) == 0, child.stderr()
    saw: dict[tuple[str, int], list[int]] = defaultdict(list)
    for entry in nursery.log.entries("saw"):
        saw[entry.who, int(entry.run)] += entry.note
    made, refused = (sum(e.note[i] for e in nursery.log.entries("over")) for i in (0, 1))
    print(f"{len(wanted[0])} revisions in {took:.1f} s, {made} commits, {refused} taken back or refused")
    for child in staff:
        for number, revs in enumerate(wanted):
            assert saw[child.name, number] == revs, (child.name, number)
    assert made > count * committers / 2
    assert refused > count * committers / 20
    assert all(len(revs) > 3 for revs in wanted)


def _start(nursery: Nursery, verb: str, name: str, count: int) -> Child:
    return nursery.run(name, MODULE, verb, nursery.url, name, str(count))


def hearing(nursery: Nursery, count: int, poll_s: float = 1.0) -> tuple[list[float], list[float]]:
    """Seconds from the end of each commit until a watcher here, and one in another process, has its State.

    The other one looks by itself every `poll_s` seconds.
    """
    nursery.run("other", MODULE, "hears", nursery.url, str(poll_s), str(count))
    nursery.log.wait(what="watching")
    here, committed = [], []
    with Engine(nursery.url) as engine:
        watch = engine.watch()
        watch.next(0.01)
        for number in range(count):
            nursery.log.pause(0.013 * (number % 7))  # at no fixed distance to whatever polls
            engine.do(commit(park(StateCtx(f"s{number}"))))
            committed.append(time.monotonic_ns())
            assert next(watch).id == f"s{number}"
            here.append(seconds(committed[-1], time.monotonic_ns()))
        heard = nursery.log.wait(count, what="heard")
    assert [entry.run for entry in heard] == [f"s{n}" for n in range(count)]
    there = [seconds(at, entry.at) for at, entry in zip(committed, heard, strict=True)]
    for where, times in (("here", here), ("in another process", there)):
        print(
            f"{where}: {median(times) * 1e3:.1f} ms, p95 {quantiles(times, n=20)[-1] * 1e3:.1f} ms, most {max(times) * 1e3:.1f}"
        )
    return here, there
