"""What the way over a server costs: `stepflow serve` on the store of a sample, and the same work with it and without it."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import resource
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from attrs import frozen

from stepflow import AsyncEngine
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.registry import driver_for
from stepflow.engine.client.client import planned_start
from tests.bench import fanout
from tests.bench.ours import STEPS, drained, flow_of
from tests.bench.probe import ROOT, environment
from tests.bench.target import target

Figures = dict[str, Any]
LIMIT_S = 30.0  # for a delivery
TICK_S = 0.1  # between two changes that pages show


@frozen
class Server:
    """A running server: its address, and what its process has used."""

    url: str
    pid: int

    def memory_mb(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

    def cpu_s(self) -> float:
        """CPU time since its start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def listening(command: Sequence[str], folder: Path) -> Iterator[tuple[str, int]]:
    """A process that logs where it listens: its address, and its id."""
    with subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment(ROOT), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r'running on (http://[^\s"]+)', line):
                break
        else:
            raise RuntimeError(f"the server ended with {process.wait()}")
        rest = threading.Thread(target=process.stderr.read)  # so that its log never fills the pipe
        rest.start()
        try:
            yield found[1], process.pid
        finally:
            process.terminate()
            rest.join()


@contextmanager
def serving(folder: Path, store: str, place: str) -> Iterator[Server]:
    """`stepflow serve` in a process of its own, on a free port."""
    url = place if store == "postgres" else f"{store}:///{place}"
    with listening(["-m", "stepflow", "serve", "--port", "0", "--json-logs", "--store", url], folder) as found:
        yield Server(*found)


@contextmanager
def way(folder: Path, store: str, place: str, through: bool) -> Iterator[Driver]:
    """The driver of the store, or with `through` that of a server of it."""
    if not through:
        yield target(store, place).driver
        return
    with serving(folder, store, place) as server:
        yield driver_for(server.url)


def drain(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Steps per second of the chains of ten steps, by an engine whose driver is `http`."""
    at = target(store, place)
    with serving(folder, store, place) as server:
        spent = asyncio.run(drained(driver_for(server.url), runs, width, flow_of("async")))
    found = at.revisions() - runs
    return {"value": found / spent, "steps": found, "expected": runs * STEPS}


def deliveries(folder: Path, *, store: str, place: str, runs: int, watchers: int) -> Figures:
    """Deliveries per second to watchers of an engine whose driver is `http`."""
    with serving(folder, store, place) as server:
        return fanout.deliver(target(store, place), driver_for(server.url), runs, watchers)


def calls(folder: Path, *, store: str, place: str, rounds: int, call: str, through: bool) -> Figures:
    """Milliseconds of one call after the other on a session, `through` a server or not: the median.

    `get` loads a run; `commit` starts one.
    """
    with way(folder, store, place, through) as driver:
        return _calls(driver, rounds, call)


def clients(folder: Path, *, store: str, place: str, rounds: int, call: str, through: bool, width: int) -> Figures:
    """Milliseconds of one call of an engine, while `width` clients make one after the other, `through` a server or not: the median.

    `get` asks for a run; `commit` starts one.
    """
    at = target(store, place)
    with way(folder, store, place, through) as driver:
        figures = asyncio.run(_clients(driver, rounds, call, width))
    missing = rounds + 1 - at.runs() if call == "commit" else 0
    return {**figures, "steps": figures["steps"] - missing}


async def _clients(driver: Driver, rounds: int, call: str, width: int) -> Figures:
    flow, spans, right = flow_of("async"), list[float](), 0

    async def client(engine: AsyncEngine, todo: Iterator[int]) -> None:
        nonlocal right
        for n in todo:
            name, at = f"run-{n if call == 'commit' else 0:06}", perf_counter()
            done = await (engine.start(flow, id=name) if call == "commit" else engine.get(name).info())
            spans.append(perf_counter() - at)
            right += done.id == name

    async with AsyncEngine(driver) as engine:
        await engine.start(flow, id="run-000000")
        gc.collect()
        todo, began = iter(range(1, rounds + 1)), perf_counter()
        await asyncio.gather(*(client(engine, todo) for _ in range(width)))
        return _figures(spans, began) | {"steps": right, "expected": rounds}


def notices(folder: Path, *, store: str, place: str, rounds: int, through: bool) -> Figures:
    """Milliseconds from a start by one engine until a watch of another one has it, one after the other, `through` a server or not: the median."""
    with way(folder, store, place, through) as driver:
        return asyncio.run(_notices(driver, rounds))


async def _notices(driver: Driver, rounds: int) -> Figures:
    flow, spans, right = flow_of("async"), list[float](), 0
    async with AsyncEngine(driver) as writer, AsyncEngine(driver) as reader:
        watch = reader.watch()
        await writer.start(flow, id="run-000000")
        await watch.next()
        gc.collect()
        began = perf_counter()
        for n in range(1, rounds + 1):
            at, name = perf_counter(), f"run-{n:06}"
            seen = asyncio.create_task(watch.next(LIMIT_S))
            await writer.start(flow, id=name)
            state = await seen
            spans.append(perf_counter() - at)
            right += state is not None and state.id == name
    return _figures(spans, began) | {"steps": right, "expected": rounds}


def _calls(driver: Driver, rounds: int, call: str) -> Figures:
    flow = flow_of("async")

    def start(session: Store, n: int) -> bool:
        return len(session.commit([planned_start(flow, None, f"run-{n:06}", {}, 0, 0, 0)], 0)) == 1

    def get(session: Store, n: int) -> bool:
        return [record is not None for record in session.load(["run-000000"])] == [True]

    with closing(driver.connect("", Owner("bench", "host", os.getpid()), 0)) as session:
        start(session, 0)
        return _timed({"get": get, "commit": start}[call], session, rounds)


def _timed(call: Callable[[Store, int], bool], session: Store, rounds: int) -> Figures:
    gc.collect()
    spans, right, began = [], 0, perf_counter()
    for n in range(1, rounds + 1):
        at = perf_counter()
        right += call(session, n)
        spans.append(perf_counter() - at)
    return _figures(spans, began) | {"steps": right, "expected": rounds}


def _figures(spans: list[float], began: float) -> Figures:
    return percentiles(spans) | {"calls_per_s": len(spans) / (perf_counter() - began)}


def percentiles(spans: list[float]) -> Figures:
    """The median of these seconds, in milliseconds, as the value of a row, and the p99."""
    cuts = statistics.quantiles(spans, n=100, method="inclusive")
    return {"value": cuts[49] * 1000, "p99_ms": cuts[98] * 1000}


def page(folder: Path, *, store: str, place: str, now: int, nth: int, rounds: int) -> Figures:
    """Milliseconds until the whole page of runs is there, one request after the other: the median."""
    import urllib3

    with serving(folder, store, place) as server, urllib3.PoolManager() as client:

        def seen() -> bool:
            answer = client.request("GET", f"{server.url}/ui/runs")
            return answer.status == 200 and b"</html>" in answer.data

        seen()
        spans, right, began = [], 0, perf_counter()
        for _ in range(rounds):
            at = perf_counter()
            right += seen()
            spans.append(perf_counter() - at)
        return _figures(spans, began) | {"steps": right, "expected": rounds}


def pages(folder: Path, *, store: str, place: str, watchers: int, seconds: float) -> Figures:
    """Megabytes that a server grows by when so many browsers keep the page of runs open, while a run starts every 100 ms.

    A stream that did not show a later run than its first text makes the sample an error.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the server inherits it
    with serving(folder, store, place) as server:
        return asyncio.run(_pages(server, target(store, place).driver, watchers, seconds))


async def _pages(server: Server, driver: Driver, watchers: int, seconds: float) -> Figures:
    flow, shown = flow_of("async"), [0] * watchers
    host, _, port = server.url.removeprefix("http://").partition(":")

    async def follow(number: int, begun: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /ui/runs/live HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        with closing(writer):
            while line := await reader.readline():
                if line.startswith(b'data: <ul class="tally"'):
                    shown[number] += 1
                    begun.set()

    with closing(driver.connect("", Owner("bench", "host", os.getpid()), 0)) as session:
        before = server.memory_mb()
        begun = [asyncio.Event() for _ in range(watchers)]
        streams = [asyncio.create_task(follow(n, one)) for n, one in enumerate(begun)]
        await asyncio.gather(*(one.wait() for one in begun))
        cpu, since, n = server.cpu_s(), perf_counter(), 0
        while perf_counter() - since < seconds or min(shown) < 2:
            session.commit([planned_start(flow, None, f"run-{n:06}", {}, 0, 0, 0)], 0)
            n += 1
            await asyncio.sleep(TICK_S)
        spent, grown = perf_counter() - since, server.memory_mb() - before
        figures = {"cpu_share": (server.cpu_s() - cpu) / spent, "updates_per_s": (sum(shown) - watchers) / spent}
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    return {"value": grown, **figures, "steps": sum(count > 1 for count in shown), "expected": watchers}
