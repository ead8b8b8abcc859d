"""The short way: one run at a time, single starts, going on after a restart, many clients, and two processes."""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.bench.library import STEPS, named

Figures = dict[str, Any]
PAUSE_S = 0.2  # at most, between two runs of a client that is alone


def quantiles_ms(spans: Sequence[float]) -> Figures:
    """p50, p99 and p99.9 of spans in seconds, in milliseconds."""
    cuts = statistics.quantiles(spans, n=1000, method="inclusive") if len(spans) > 1 else [spans[0]] * 999
    return {"p50_ms": cuts[499] * 1000, "p99_ms": cuts[989] * 1000, "p999_ms": cuts[998] * 1000}


def serial(folder: Path, *, store: str, place: str, library: str, runs: int) -> Figures:
    """Steps per second of runs that are started, advanced and awaited one after the other."""
    with closing(named(library)(place)) as used:
        used.set_up()
        gc.collect()
        began = perf_counter()
        for n in range(runs):
            handle = used.start(n)
            used.work()
            used.result(handle)
        spent = perf_counter() - began
    steps = used.steps()
    return {"value": steps / spent, "ms_per_run": spent / runs * 1000, "steps": steps, "expected": runs * STEPS}


def single(folder: Path, *, store: str, place: str, library: str, runs: int) -> Figures:
    """Acknowledged starts per second, one after the other."""
    with closing(named(library)(place)) as used:
        used.set_up()
        gc.collect()
        began = perf_counter()
        for n in range(runs):
            used.start(n)
        spent = perf_counter() - began
    starts = used.starts()
    return {"value": starts / spent, "steps": starts, "expected": runs}


def reopen(folder: Path, *, store: str, place: str, library: str, rounds: int, behind: int) -> Figures:
    """Milliseconds from opening the library until the first step behind `behind` finished ones is called: the median."""
    make: Callable[..., Any] = partial(named(library), place, behind)
    with closing(make()) as used:
        used.set_up()
        handles = []
        for n in range(rounds):
            handles.append(used.start_long(n))
            used.work()
    spans: list[float] = []
    for handle in handles:
        with closing(make()) as used:
            used.go_on(handle)
        gc.collect()
        began = perf_counter()
        with closing(make(lambda began=began: spans.append(perf_counter() - began))) as used:
            used.work()
    return {
        "value": statistics.median(spans) * 1000,
        "steps": used.steps() if len(spans) == rounds else 0,
        "expected": rounds * (behind + 2),
    }


def clients(folder: Path, *, store: str, place: str, library: str, runs: int, width: int) -> Figures:
    """Steps per second of `width` threads that each start a run, await its result, and start the next."""
    make, stop, gate, todo = named(library), threading.Event(), threading.Barrier(width + 1), iter(range(runs))
    with closing(make(place)) as used:
        used.set_up()
    spans: list[float] = []

    def serve() -> None:
        with closing(make(place)) as used:
            used.serve(stop)

    def client() -> None:
        with closing(make(place)) as used:
            gate.wait()
            for n in todo:
                began = perf_counter()
                used.result(used.start(n))
                spans.append(perf_counter() - began)

    threads = [threading.Thread(target=client) for _ in range(width)]
    workers = [threading.Thread(target=serve) for _ in range(make.WORKERS)]
    for thread in (*workers, *threads):
        thread.start()
    gate.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    spent = perf_counter() - began
    stop.set()
    for thread in workers:
        thread.join()
    steps = used.steps()
    return {"value": steps / spent, **quantiles_ms(spans), "steps": steps, "expected": runs * STEPS}


def across(folder: Path, *, store: str, place: str, library: str, runs: int, pause_s: float = PAUSE_S) -> Figures:
    """Milliseconds from start to result at idle, with the worker in another process: the median."""
    with closing(named(library)(place)) as used:
        used.set_up()
    with serving("short:serve", folder, place=place, library=library), closing(named(library)(place)) as used:
        spans = alone(lambda n: used.result(used.start(n)), runs, pause_s)
    return {
        **quantiles_ms(spans),
        "value": statistics.median(spans) * 1000,
        "steps": used.steps(),
        "expected": runs * STEPS,
    }


def serve(folder: Path, *, place: str, library: str) -> None:
    """The other process: advance whatever comes until it is killed."""
    used = named(library)(place)
    tell_ready()
    used.serve(threading.Event())


def tell_ready() -> None:
    """Tell the process that waits in `serving` that this one is about to work."""
    print("ready", flush=True)


@contextmanager
def serving(probe: str, folder: Path, **params: Any) -> Iterator[None]:
    """Another process that runs this probe for ever; it is killed at the end."""
    command = [sys.executable, "-m", "tests.bench", "--probe", probe, str(folder), json.dumps(params)]
    with (folder / "serving").open("wb") as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert worker.stdout
        if "ready\n" not in worker.stdout:
            raise RuntimeError(f"{probe} ended: {(folder / 'serving').read_text()[-2000:]}")
        yield
    finally:
        worker.kill()
        worker.communicate()


def pauses(runs: int, pause_s: float) -> list[float]:
    """How long a client that is alone waits before each run, so that all processes are idle when it begins."""
    chance = random.Random(1)
    return [pause_s * (1 + chance.random()) / 2 for _ in range(runs)]


def alone(run: Callable[[int], Any], runs: int, pause_s: float) -> list[float]:
    """Seconds of each run of a client that pauses before each."""
    spans: list[float] = []
    for n, pause in enumerate(pauses(runs, pause_s)):
        time.sleep(pause)
        began = perf_counter()
        run(n)
        spans.append(perf_counter() - began)
    return spans
