"""The operations that change many runs, by a filter or by ids: a dry run first, unless `dry_run` is false."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Annotated, Any

from attrs import frozen
from msgspec import UNSET, Meta, UnsetType

from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import RunFilter
from stepflow.server.operator_api.actions import known_flow
from stepflow.server.operator_api.filters import FilterBody
from stepflow.server.operator_api.operation import Body, EventName, Operation, OperatorCall, Text, not_reserved
from stepflow.wire.json_form import to_json_value

SHOWN = 1000  # ids of an answer


class ManyRuns(Body, frozen=True, kw_only=True):
    """The runs that meet the `filter` (`{}`: all), or those of the `ids`. Nothing is changed unless `dry_run` is false."""

    one_of = ("filter", "ids")
    filter: FilterBody | UnsetType = UNSET
    ids: Annotated[list[Text], Meta(min_length=1, max_length=10_000)] | UnsetType = UNSET
    dry_run: bool = True

    def runs(self) -> RunFilter | list[str]:
        """The runs that are meant. Raises StepflowError for a filter that cannot be meant."""
        return self.filter.filter() if isinstance(self.filter, FilterBody) else list(self.ids or ())

    def changes(self) -> bool:
        """Not in a dry run."""
        return not self.dry_run

    def arguments(self) -> dict[str, Any]:
        """The conditions, or the first of the ids."""
        if isinstance(self.filter, FilterBody):
            return {"filter": to_json_value(self.filter.conditions())}
        return {"ids": list(self.ids or ())[:SHOWN]}


class PublishToMany(ManyRuns, frozen=True, kw_only=True):
    """An event for each run. With an `event_id` a call that was interrupted can be repeated."""

    event: EventName
    payload: Any = None
    event_id: Text | None = None

    def __post_init__(self) -> None:
        ManyRuns.__post_init__(self)
        not_reserved(self.event)

    def arguments(self) -> dict[str, Any]:
        """The event without its payload, and the runs."""
        return ManyRuns.arguments(self) | {"event": self.event, "event_id": self.event_id}


class MoveMany(ManyRuns, frozen=True, kw_only=True):
    """The position behind which runs of a chain go on, e.g. `completed:order/pay`."""

    flow: Text
    to: Text

    def arguments(self) -> dict[str, Any]:
        """The position, and the runs."""
        return ManyRuns.arguments(self) | {"flow": self.flow, "to": self.to}


class RewindMany(ManyRuns, frozen=True, kw_only=True):
    """The step before which each run goes back: its name, path or position, the key of a workflow's call, or a flow function."""

    step: Text

    def arguments(self) -> dict[str, Any]:
        """The step, and the runs."""
        return ManyRuns.arguments(self) | {"step": self.step}


class ForkMany(RewindMany, frozen=True, kw_only=True):
    """The new run of each run has its id with the `suffix` behind it; a run whose fork exists is skipped."""

    suffix: Text

    def arguments(self) -> dict[str, Any]:
        """The suffix, the step, and the runs."""
        return RewindMany.arguments(self) | {"suffix": self.suffix}


@frozen
class AffectedRuns:
    """What was done, or with `dry_run` would be done: to how many runs, to which (at most 1,000 ids), and why others were left alone."""

    count: int
    ids: list[str]
    skipped: Mapping[str, str]
    skipped_count: int
    dry_run: bool


def answer_of(done: Affected) -> AffectedRuns:
    """The answer, with as much as fits a page."""
    some = dict(islice(done.skipped.items(), SHOWN))
    return AffectedRuns(done.count, done.ids[:SHOWN], some, len(done.skipped), done.dry_run)


def _on_runs(name: str, text: str, do: Callable[..., Awaitable[Affected]]) -> Callable[..., Awaitable[AffectedRuns]]:
    async def change(call: OperatorCall) -> AffectedRuns:
        return answer_of(await do(call.engine, call.body.runs(), dry_run=call.body.dry_run, report=call.report))

    change.__name__, change.__doc__ = name, text
    return change


async def publish_to_runs(call: OperatorCall) -> AffectedRuns:
    """Give an event to each of the runs."""
    body: PublishToMany = call.body
    return answer_of(
        await call.engine.publish(
            body.runs(), body.event, body.payload, id=body.event_id, dry_run=body.dry_run, report=call.report
        )
    )


async def move_runs(call: OperatorCall) -> AffectedRuns:
    """Let open runs of a chain go on at another position."""
    body: MoveMany = call.body
    flow: Any = known_flow(call.engine, body.flow)
    return answer_of(await call.engine.move(body.runs(), flow, body.to, dry_run=body.dry_run, report=call.report))


async def fork_runs(call: OperatorCall) -> AffectedRuns:
    """Start a new run where each of the runs was before a step."""
    body: ForkMany = call.body
    return answer_of(
        await call.engine.fork(body.runs(), body.step, suffix=body.suffix, dry_run=body.dry_run, report=call.report)
    )


async def rewind_runs(call: OperatorCall) -> AffectedRuns:
    """Let runs that no worker holds go back to before a step."""
    body: RewindMany = call.body
    return answer_of(await call.engine.rewind(body.runs(), body.step, dry_run=body.dry_run, report=call.report))


cancel_runs = _on_runs("cancel_runs", "End runs as cancelled.", AsyncEngine.cancel)
redrive_runs = _on_runs("redrive_runs", "Let failed runs go on at the step that failed.", AsyncEngine.redrive)
wake_runs = _on_runs("wake_runs", "Let runs that sleep, poll or are blocked be looked at now.", AsyncEngine.wake)
pause_runs = _on_runs("pause_runs", "Hold runs back until they are resumed.", AsyncEngine.pause)
resume_runs = _on_runs("resume_runs", "Let paused runs go on.", AsyncEngine.resume)


def _operation(path: str, call: Callable[..., Awaitable[Any]], body: type[ManyRuns] = ManyRuns) -> Operation:
    return Operation(
        path=path, scope="operate", kind="runs", call=call, answer=AffectedRuns, body=body, admin_for=ManyRuns.changes, refusals=(404, 409)
    )  # fmt: skip


OPERATIONS = (
    _operation("/runs/cancel", cancel_runs),
    _operation("/runs/redrive", redrive_runs),
    _operation("/runs/wake", wake_runs),
    _operation("/runs/pause", pause_runs),
    _operation("/runs/resume", resume_runs),
    _operation("/runs/publish", publish_to_runs, PublishToMany),
    _operation("/runs/move", move_runs, MoveMany),
    _operation("/runs/fork", fork_runs, ForkMany),
    _operation("/runs/rewind", rewind_runs, RewindMany),
)
