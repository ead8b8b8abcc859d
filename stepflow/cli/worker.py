"""The verb `worker`: advances the runs of every flow in its modules until a signal stops it."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import click

from stepflow.cli import alive
from stepflow.cli.definitions import MODULE_HELP, flows_of
from stepflow.cli.exit_codes import ATTENTION
from stepflow.cli.interrupts import raise_if_stopped, sigterm_as_interrupt
from stepflow.cli.logs import log_option, log_to_stderr
from stepflow.cli.target import StoreTarget, keep_ids_option, remote_hosts, secret_option, with_store
from stepflow.cli.values import duration
from stepflow.engine.async_engine import AsyncEngine

SWITCH_S = 0.0005  # seconds; with the default of 5 ms a CPU-bound step delays the commit thread by 5 ms each time


@click.command(
    "worker", help=f"Advance the runs of the flows in MODULES until SIGTERM or Ctrl-C.\n\nMODULE is {MODULE_HELP}."
)
@click.argument("modules", nargs=-1, metavar="MODULE...")
@click.option(
    "--concurrency",
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help="How many runs to advance at the same time.",
)
@click.option("--until-idle", is_flag=True, help="Return when nothing is due, instead of waiting for more.")
@click.option(
    "--keep",
    type=duration,
    metavar="DURATION",
    default="30d",
    show_default=True,
    help="Delete runs that ended longer ago than this.",
)
@keep_ids_option
@click.option(
    "--alive-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Renew this file every 5 s while the event loop turns: `stepflow doctor --alive-file FILE` checks it.",
)
@click.option(
    "--remote",
    "hosts",
    multiple=True,
    metavar="URL",
    help="Host whose flow functions this worker may call, as `stepflow host` registers it; `loopback`: those of this machine; repeatable.",
)
@secret_option
@log_option
@with_store
def command(
    target: StoreTarget,
    modules: tuple[str, ...],
    concurrency: int,
    until_idle: bool,
    keep: timedelta,
    keep_ids: timedelta | None,
    alive_file: Path | None,
    hosts: tuple[str, ...],
    secret_file: Path | None,
    json_logs: bool,
) -> int:
    """Import, register, run; the worker releases its claims at the end."""
    if not modules and not hosts:
        raise click.UsageError("Missing argument 'MODULE...'.")
    remote = remote_hosts(hosts, secret_file)
    flows = list({id(flow): flow for module in modules for flow in flows_of(module)}.values())
    sys.setswitchinterval(SWITCH_S)
    log_to_stderr(json_logs)

    async def work(engine: AsyncEngine) -> int:
        engine.register(*flows)
        async with alive.alive_file(alive_file, engine):
            return await advance(engine)

    async def advance(engine: AsyncEngine) -> int:
        names = sorted(flow.name for flow in flows) + [f"flows of {host}" for host in hosts]
        target.out.line(f"worker on {target.shown}: {', '.join(names)}")
        if not until_idle:
            raise_if_stopped()
            await engine.run_forever()
            return 0
        with sigterm_as_interrupt(asyncio.get_running_loop()):
            idle = await engine.run_until_idle()
        if target.out.json:
            target.out.value(idle)
        target.out.line(
            f"idle: {idle.completed} completed, {idle.failed} failed, {idle.waiting} waiting, {idle.blocked} blocked"
        )
        if idle.blocked:
            target.out.line("see stepflow list --status blocked, and stepflow explain ID")
        return ATTENTION if idle.blocked else 0

    return target.run(work, create=True, concurrency=concurrency, keep=keep, keep_ids=keep_ids, remote=remote)
