"""The verb `bench`: measures how many durable steps per second a store takes, from this process."""

from __future__ import annotations

from datetime import timedelta

import click
from attrs import evolve, frozen

from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import SystemClock, uuid7
from stepflow.steps import StepFlow, named

STEPS = 10


@frozen
class Figures:
    """What was measured: steps per second with many runs at a time, and one run after another."""

    runs: int
    steps: int
    concurrency: int
    steps_per_second: float
    alone_steps_per_second: float


@click.command("bench")
@click.option("--runs", default=1000, show_default=True, type=click.IntRange(1), help="Runs of ten steps each.")
@click.option("--concurrency", default=64, show_default=True, type=click.IntRange(1), help="Runs at the same time.")
@with_store
def command(target: StoreTarget, runs: int, concurrency: int) -> None:
    """Measure how many durable steps per second the store takes from this process.

    The runs are in a namespace of their own, and are deleted at the end.
    """
    clock = SystemClock()
    own = evolve(target, namespace=f"bench-{uuid7(clock)}", payload=None)
    flow = _flow()

    async def work(engine: AsyncEngine) -> Figures:
        engine.register(flow)
        alone = max(runs // 50, 1)
        began = clock.monotonic()
        for _run in range(alone):
            await engine.start(flow, {})
            await engine.run_until_idle()
        between = clock.monotonic()
        await engine.start_many(flow, [(None, {})] * runs)
        started = clock.monotonic()
        done = await engine.run_until_idle()
        ended = clock.monotonic()
        await engine.prune(timedelta(0))
        return Figures(
            done.completed,
            done.completed * STEPS,
            concurrency,
            round(done.completed * STEPS / (ended - started), 1),
            round(alone * STEPS / (between - began), 1),
        )

    figures = own.run(work, create=True, concurrency=concurrency)
    if target.out.json:
        return target.out.value(figures)
    together = min(concurrency, figures.runs)
    target.out.line(f"{figures.steps_per_second:,.0f} steps/s, {together} of {figures.runs} runs at a time")
    return target.out.line(f"{figures.alone_steps_per_second:,.0f} steps/s, one run after another")


def _flow() -> StepFlow[dict[str, int]]:
    chain = named("bench", dict[str, int])
    for number in range(STEPS):
        chain = chain.do(f"step-{number}", lambda exchange: exchange.update(done=exchange.get("done", 0) + 1))
    return chain.compile()
