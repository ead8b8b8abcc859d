"""The main example: every valid row of orders.csv becomes a durable run. Kill it at any time and start it again."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from orders_flow import order_flow, shop
from orders_input import Refused, read_orders
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stepflow import AsyncEngine, StepflowError

CSV = Path(__file__).with_name("orders.csv")
STORE = "sqlite:///demo.db"
console = Console(soft_wrap=True, highlight=False)


class WithoutTraceback(logging.Formatter):
    """One message per failure: the demo causes them on purpose, and `stepflow show` prints their tracebacks."""

    def formatException(self, ei: object) -> str:  # noqa: N802  # the name is logging's
        return ""


async def main(store: str = STORE) -> None:
    orders, refused = read_orders(CSV)
    show_refused(refused)
    async with AsyncEngine(store) as engine:
        before = sum((await counts(engine)).values())
        engine.register(order_flow)
        await asyncio.gather(*(engine.start(order_flow, order, id=f"order-{order.number}") for order in orders))
        console.print(f"{len(orders)} orders, one durable run each, {before} of them from before, in {store}")
        job = asyncio.create_task(finish(engine))
        try:
            await show_progress(engine, job, len(orders))
        finally:
            job.cancel()  # no effect if it has ended
            await asyncio.wait([job])
        await show_summary(engine)


async def finish(engine: AsyncEngine) -> None:
    """Advance all runs, including those that sleep between two attempts, until only runs are left that wait for an event."""
    idle = await engine.run_until_idle()
    while idle.next_due is not None:
        await asyncio.sleep((idle.next_due - datetime.now(UTC)).total_seconds())
        idle = await engine.run_until_idle()


async def counts(engine: AsyncEngine) -> Counter[str]:
    return Counter((await engine.tally()).get(order_flow.name, {}))


async def show_progress(engine: AsyncEngine, job: asyncio.Task[None], total: int) -> None:
    """Show a progress bar on a terminal, else print lines, until the job ends."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("orders", total=total)
        printed = 0
        while not job.done():
            await asyncio.wait([job], timeout=0.2)
            by_status = await counts(engine)
            processed = sum(by_status[s] for s in ("completed", "failed", "cancelled", "waiting"))
            progress.update(task, completed=processed)
            if not console.is_terminal and processed - printed >= total // 5:
                printed = processed
                console.print(f"{processed} of {total} orders processed")
    job.result()


async def show_summary(engine: AsyncEngine) -> None:
    by_status = await counts(engine)
    failures = await engine.runs(flow=order_flow.name, status="failed", limit=10_000)
    reasons = Counter(run.error.type if run.error else "?" for run in failures)
    table = Table("result", "orders", "why", title="Summary")
    table.add_row("completed", str(by_status.pop("completed", 0)), "")
    for reason, number in sorted(reasons.items()):
        table.add_row("failed", str(number), reason)
    waiting = await engine.runs(flow=order_flow.name, status="waiting", limit=10_000)
    table.add_row("waiting", str(by_status.pop("waiting", 0)), "approval of large orders")
    by_status.pop("failed", 0)
    for status, number in sorted(by_status.items()):
        table.add_row(status, str(number), "")
    console.print(table)
    effects, again = shop.ledger.summary()
    console.print(f"Effects in the ledger: {effects}, each once; interrupted by a crash and asked for again: {again}")
    show_hints(waiting[-1].id if waiting else "order-42")


def show_refused(refused: list[Refused]) -> None:
    console.print(f"{len(refused)} rows refused:")
    for row in refused:
        console.print(f"  line {row.line}: {row.reason}", markup=False)


def show_hints(waiting: str) -> None:
    tool = "stepflow" if Path(sys.prefix).name != ".venv" else ".venv/bin/stepflow"
    console.print("\nLook inside:", style="bold")
    console.print(f"  {tool} list --store {STORE} --status waiting", markup=False)
    console.print(f"  {tool} show order-42 --store {STORE}", markup=False)
    console.print(f"  {tool} publish {waiting} order.approved '\"Ada\"' --store {STORE}  # then run the demo again")


if __name__ == "__main__":
    lines = RichHandler(console=console, show_time=False, show_path=False)
    lines.setFormatter(WithoutTraceback("%(message)s"))
    logging.basicConfig(handlers=[lines])
    try:
        with closing(shop.ledger):
            asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("Interrupted. Start it again to resume.")
    except StepflowError as error:
        sys.exit(f"error: {error}")
