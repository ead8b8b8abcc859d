"""Open loop: clients that arrive at random at a fixed rate, however slow the system is, and are served as tasks of one loop.

A latency begins when the client was meant to arrive, not when the program came to send it: a stall counts for everyone who
would have arrived meanwhile (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from time import perf_counter
from typing import Any

from tests.bench.short import quantiles_ms

BACKLOG_S = 3.0  # a system with more seconds of arrivals to catch up with cannot do what is asked of it


def backlog(rate: float) -> int:
    """How many clients may wait at the same time before the rate counts as more than the system can do."""
    return 64 + round(rate * BACKLOG_S)


def poisson(rate: float, clients: int) -> list[float]:
    """Arrival times in seconds from the beginning; the same for the same rate, so that all systems get the same."""
    chance = random.Random(1)
    return list(accumulate(chance.expovariate(rate) for _ in range(clients)))


async def offer(times: Sequence[float], serve: Callable[[int], Awaitable[Any]], backlog: int) -> list[float]:
    """Serve each client; their latencies in seconds.

    Fewer than there are clients if more than `backlog` were waiting, or if some still were BACKLOG_S after the last one came. Raises what a client raised.
    """
    began, spans, waiting, errors = perf_counter(), list[float](), set[asyncio.Task[None]](), list[BaseException]()

    async def one(n: int) -> None:
        await serve(n)
        spans.append(perf_counter() - began - times[n])

    def over(task: asyncio.Task[None]) -> None:
        waiting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            errors.append(error)

    for n, at in enumerate(times):
        await asyncio.sleep(began + at - perf_counter())
        task = asyncio.create_task(one(n))
        waiting.add(task)
        task.add_done_callback(over)
        if errors or len(waiting) > backlog:
            break
    if 0 < len(waiting) <= backlog:
        await asyncio.wait(waiting, timeout=BACKLOG_S)
    late = tuple(waiting)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    if errors:
        raise errors[0]
    return spans


def figures(rate: float, clients: int, spans: Sequence[float], spent: float) -> dict[str, Any]:
    """Percentiles of the latencies, or what the system could not do."""
    if len(spans) < clients:
        return {"refused": f"{rate:,.0f} runs/s are more than it can do: {len(spans) / spent:,.1f} runs/s"}
    found = quantiles_ms(spans)
    return {"value": found["p50_ms"], **found, "offered": rate}
