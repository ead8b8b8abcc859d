"""filters: the options that say which runs are meant, and verbs on all of them, with a dry run first."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

import click
from attrs import fields

from stepflow.cli.audited import SHOWN as SHOWN_IN_AUDIT
from stepflow.cli.audited import audited, runs_told
from stepflow.cli.each import each
from stepflow.cli.progress import counting
from stepflow.cli.target import StoreTarget
from stepflow.cli.values import Choice, duration, label, timestamp
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.clock import SystemClock, moment
from stepflow.model.lifecycle import Status
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.suggest import suggest

SHOWN = 20  # ids of a dry run


def time_or_age(value: str) -> datetime:
    """A point in time, or an age such as 90m: that long ago."""
    if value[-1:].isalpha() and value[:1].isdigit() and "T" not in value:
        age: timedelta = duration(value)
        return moment(SystemClock().now()) - age
    return timestamp(value)


OPTIONS = (
    click.option("--flow", help="Only runs of this flow."),
    click.option(
        "--status",
        type=Choice([str(s) for s in Status]),
        multiple=True,
        help="Only runs with this status; may be given several times.",
    ),
    click.option("--open/--ended", default=None, help="Only runs that have not ended, or that have."),
    click.option(
        "--label",
        "labels",
        type=label,
        metavar="KEY=VALUE",
        multiple=True,
        help="Only runs with this label; with several, all must match.",
    ),
    click.option("--id-prefix", metavar="TEXT", help="Only runs whose id begins with this."),
    *(
        click.option(f"--{what}-{side}", type=time_or_age, metavar="TIME|AGE", help=f"Only runs {text}.")
        for what, side, text in (
            ("created", "since", "that were created at this time or later; 2h: in the last two hours"),
            ("created", "until", "that were created before this time; 2h: more than two hours ago"),
            ("updated", "since", "whose last revision is of this time or later"),
            ("updated", "until", "whose last revision is older than this time; 30d: for thirty days"),
        )
    ),
    click.option("--error-type", metavar="NAME", help="Only runs with an error of this class."),
    click.option("--error-text", metavar="TEXT", help='Only runs with an error whose "Class: message" has this in it.'),
    click.option(
        "--position",
        metavar="TEXT",
        help="Only runs at this position, e.g. completed:order/pay; pay, or order/pay: those that did this step last, or failed in it.",
    ),
    click.option("--parent", metavar="ID", help="Only the runs that this run started as its children."),
)
NAMES = tuple(field.name for field in fields(RunFilter))


def with_filter(fn: Callable[..., Any], *, flow: bool = True) -> Callable[..., Any]:
    """Adds the options of a filter; the verb gets a RunFilter as `wanted`. Without `flow` the verb has an option of its own for that."""

    @wraps(fn)
    def verb(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in NAMES if flow or name != "flow"}
        given["status"], given["labels"] = given["status"] or None, dict(given["labels"])
        return fn(*args, wanted=RunFilter(**given), **options)

    for option in reversed(OPTIONS if flow else OPTIONS[1:]):
        verb = option(verb)
    return verb


def on_many(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a verb on many runs: those of a filter, `--all` and `--yes`; the verb gets them as one function `affect`."""

    @click.option("--all", "every", is_flag=True, help="All runs that the verb can change, without a filter.")
    @click.option("--yes", is_flag=True, help="Change the runs of the filter; else they are only listed.")
    @with_filter
    @wraps(fn)
    def verb(
        target: StoreTarget, run_ids: tuple[str, ...], wanted: RunFilter, every: bool, yes: bool, **options: Any
    ) -> Any:
        filtered = wanted != RunFilter()
        one_choice(
            "give the ids of runs, or a filter such as --status failed, or --all", bool(run_ids), filtered, every
        )
        return fn(target, run_ids, None if run_ids else wanted, yes=yes, **options)

    return verb


def one_choice(text: str, ids: bool, filtered: bool, every: bool) -> None:
    """Raises UsageError unless the runs are told in one way; `text` says which there are."""
    given = [name for name, one in (("ids", ids), ("a filter", filtered), ("--all", every)) if one]
    if len(given) != 1:
        both = f"{' and '.join(given)} were given, and only one of them may be: " if given else ""
        raise click.UsageError(f"{both}{text}")


async def hint_at_flow(engine: AsyncEngine, wanted: RunFilter) -> None:
    """Tell on stderr that no run is of the flow that was asked for, and which name may be meant."""
    if wanted.flow is None or wanted.flow in OWN_FLOWS or wanted.flow in (known := await engine.tally()):
        return
    similar = suggest(wanted.flow, known)
    hint = f": did you mean {similar!r}?" if similar else ""
    sys.stderr.write(f"no run is of flow {wanted.flow!r}{hint}\n")


def affect(
    target: StoreTarget,
    run_ids: tuple[str, ...],
    one: Callable[[AsyncRun[Any]], Awaitable[str]],
    wanted: RunFilter | None,
    many: Callable[..., Awaitable[Affected]],
    yes: bool,
    verb: str,
) -> int:
    """Do it to each of the ids, or to the runs of the filter: without `yes` they are only listed. The audit has it as `<verb>_run` or `<verb>_runs`."""
    if wanted is None:
        return each(target, run_ids, one, f"{verb}_run")
    return affect_many(target, wanted, many, yes, f"{verb}_runs")


def affect_many(
    target: StoreTarget,
    wanted: Any,
    many: Callable[..., Awaitable[Affected]],
    yes: bool,
    verb: str,
    line_of: Callable[[str], str] = str,
    **arguments: Any,
) -> int:
    """Do it to the runs of the filter or ids: without `yes` they are only listed. `many` is a method of the engine; the audit has it as `verb`.

    `line_of` tells of a run by its id.
    """

    async def work(engine: AsyncEngine) -> Affected:
        with counting("runs") as report:
            if not yes:
                done = await many(engine, wanted, dry_run=True, report=report)
            else:
                async with audited(target, verb, "runs", **runs_told(wanted), **arguments) as result:
                    done = await many(engine, wanted, dry_run=False, report=report)
                    result |= {"count": done.count, "ids": done.ids[:SHOWN_IN_AUDIT]}
                    result |= {"skipped": len(done.skipped)} if done.skipped else {}
        if isinstance(wanted, RunFilter) and not done.count:
            await hint_at_flow(engine, wanted)
        return done

    done = target.run(work)
    if target.out.json:
        target.out.value(done)
        return 0
    for run_id in done.ids[:SHOWN]:
        target.out.line(line_of(run_id))
    if done.count > SHOWN:
        target.out.line(f"... and {done.count - SHOWN:,} more")
    for run_id, why in list(done.skipped.items())[:SHOWN]:
        sys.stderr.write(f"skipped: {run_id}: {why}\n")
    runs = f"{done.count:,} run{'s' * (done.count != 1)}"
    left = f", {len(done.skipped):,} skipped" if done.skipped else ""
    target.out.line(f"{runs}{left}: nothing was changed, add --yes" if done.dry_run else f"{runs} changed{left}")
    return 0
