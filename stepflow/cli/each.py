"""each: applies one action to several runs and prints a line for each; a refused run does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stepflow.cli.audited import audited
from stepflow.cli.exit_codes import REFUSED
from stepflow.cli.refusals import write_refusal
from stepflow.cli.target import StoreTarget
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.run import AsyncRun
from stepflow.errors import StepflowError, StoreError
from stepflow.model.flow import Flow


def each(
    target: StoreTarget,
    run_ids: tuple[str, ...],
    act: Callable[[AsyncRun[object]], Awaitable[str]],
    verb: str,
    flows: Sequence[Flow[Any, Any]] = (),
    **arguments: Any,
) -> int:
    """Apply `act` to every run, print its result and the run's status; exit code 1 if any run was refused. The audit has it as `verb`, with these arguments.

    `flows` are those that the engine is to know.
    """

    async def work(engine: AsyncEngine) -> int:
        engine.register(*flows)
        code = 0
        for run_id in run_ids:
            run = engine.get(run_id)
            try:
                async with audited(target, verb, "run", run_id, **arguments):
                    done = await act(run)
                status = str(await run.status())
            except StoreError:
                raise
            except StepflowError as refusal:
                write_refusal(refusal, as_json=target.out.json, id=run_id)
                code = REFUSED
                continue
            if target.out.json:
                target.out.value({"id": run_id, "status": status})
            target.out.line(f"{run_id}: {done}, now {status}")
        return code

    return target.run(work)


def each_flow(
    target: StoreTarget,
    flows: tuple[str, ...],
    act: Callable[[AsyncEngine, str], Awaitable[None]],
    done: str,
    verb: str,
) -> None:
    """Apply `act` to every flow, and print that it is `done`; the audit has it as `verb`."""

    async def work(engine: AsyncEngine) -> None:
        for name in flows:
            async with audited(target, verb, "flow", name):
                await act(engine, name)
            if target.out.json:
                target.out.value({"flow": name, "paused": done == "paused"})
            target.out.line(f"flow {name}: {done}")

    if flows:
        target.run(work)
