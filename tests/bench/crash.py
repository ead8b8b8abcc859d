"""A worker process is killed: how long until another worker, idle or started then, takes the first step of what it left."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.footprint import keeping_compiled
from tests.bench.target import target

SETTLE_S = 1.0  # a worker is idle for up to so long before the other one is killed


class Worker:
    """A process that runs `tests.bench.crash_worker`, told and heard line by line."""

    def __init__(self, url: str, number: int, folder: Path) -> None:
        self._errors = folder / "errors"
        with self._errors.open("ab") as file:
            command = [sys.executable, "-m", "tests.bench.crash_worker", url, str(number)]
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=keeping_compiled(folder),
            )

    def tell(self, line: str) -> None:
        assert self.popen.stdin
        print(line, file=self.popen.stdin, flush=True)

    def heard(self, *words: str) -> list[str]:
        """Wait for the line that begins with these words; its other words."""
        assert self.popen.stdout
        for line in self.popen.stdout:
            if line.split()[: len(words)] == [*words]:
                return line.split()[len(words) :]
        raise RuntimeError(f"the worker ended before it wrote {words}: {self._errors.read_text()[-2000:]}")

    def kill(self) -> int:
        """SIGKILL, and wait until it is gone; when the signal was sent, in nanoseconds."""
        at = time.monotonic_ns()
        self.popen.kill()
        self.popen.communicate()
        return at


def measure(
    folder: Path, *, store: str, place: str, rounds: int, settle: bool = True, lone: bool = False
) -> dict[str, Any]:
    """Seconds from SIGKILL to the first step in the other worker: the median of `rounds` kills.

    A worker that took over holds the next run and is the next one to be killed. A `lone` worker has no other beside it: its
    successor is started when it is dead, and the clock with it.
    """
    at, chance, spans = target(store, place), random.Random(1), list[float]()
    url = place if store == "postgres" else f"{store}:///{place}"
    with ExitStack() as stack:

        def spawn(number: int) -> Worker:
            worker = Worker(url, number, folder)
            stack.callback(worker.kill)
            worker.heard("ready")
            return worker

        worker = spawn(0)
        for n in range(rounds):
            worker.tell(f"run-{n}")
            worker.heard("held", f"run-{n}")
            if lone:
                worker.kill()
                since = time.monotonic_ns()
                other = spawn(n + 1)
            else:
                other = spawn(n + 1)
                other.tell(f"greeting-{n}")
                other.heard("end", f"greeting-{n}")
                time.sleep(SETTLE_S * (1 + chance.random()) / 2 if settle else 0)
                since = worker.kill()
            (began,) = other.heard("step", f"run-{n}")
            spans.append((int(began) - since) / 1e9)
            worker = other
        worker.tell("greeting-last")  # by its end the steps before are durable
        worker.heard("end", "greeting-last")
    found = at.revisions() - rounds
    return {"value": median(spans), "best_s": min(spans), "worst_s": max(spans), "steps": found, "expected": rounds}
