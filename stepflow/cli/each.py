"""Does one thing to several runs and tells of each; one that is refused does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from stepflow.cli.target import StoreTarget
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.run import AsyncRun
from stepflow.errors import StepflowError, StoreError


def each(target: StoreTarget, run_ids: tuple[str, ...], act: Callable[[AsyncRun[object]], Awaitable[str]]) -> int:
    """Act on every run, print what came of it and its status; exit code 1 if any was refused."""

    async def work(engine: AsyncEngine) -> int:
        code = 0
        for run_id in run_ids:
            run = engine.get(run_id)
            try:
                done = await act(run)
                status = str(await run.status())
            except StoreError:
                raise
            except StepflowError as refusal:
                sys.stderr.write(f"error: {refusal}\n")
                code = 1
                continue
            if target.out.json:
                target.out.value({"id": run_id, "status": status})
            target.out.line(f"{run_id}: {done}, now {status}")
        return code

    return target.run(work)
