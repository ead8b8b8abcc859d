"""The operations on schedules: list, show, pause, resume, trigger, backfill, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from attrs import frozen
from msgspec import Meta

from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.schedule import AsyncSchedule, ScheduleInfo
from stepflow.server.operator_api.filters import When
from stepflow.server.operator_api.operation import Body, InNamespace, Operation, OperatorCall, Text
from stepflow.server.tokens import Scope

SHOWN = 1000  # ids of an answer


class ScheduleIdQuery(InNamespace, frozen=True, kw_only=True):
    """One schedule."""

    id: Annotated[Text, Meta(description="The id of the schedule.")]
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most this many of its runs.")] = 10


class OneSchedule(Body, frozen=True, kw_only=True):
    """The schedule that is changed."""

    id: Annotated[Text, Meta(description="The id of the schedule.")]

    def target(self) -> str:
        """The schedule."""
        return self.id


class BackfillBody(OneSchedule, frozen=True, kw_only=True):
    """The ticks from `start` to `end`, both included."""

    start: When
    end: When

    def arguments(self) -> dict[str, Any]:
        """The range."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}


@frozen
class ScheduleList:
    """All schedules of the namespace, by id."""

    schedules: list[ScheduleInfo]


@frozen
class ScheduleDetails:
    """A schedule, when it fires and why it did not, line by line, and the newest runs that it started."""

    info: ScheduleInfo
    explain: list[str]
    runs: list[RunInfo]


@frozen
class ScheduleChanged:
    """The schedule that was changed, and the runs of its ticks that were asked for, or the one that was started: how many, and at most 1,000 ids."""

    id: str
    count: int
    runs: list[str]


async def list_schedules(call: OperatorCall) -> ScheduleList:
    """List the schedules."""
    return ScheduleList(await call.engine.schedules())


async def get_schedule(call: OperatorCall) -> ScheduleDetails:
    """Read one schedule, and the newest runs that it started."""
    one = call.engine.get_schedule(call.query.id)
    return ScheduleDetails(await one.info(), (await one.explain()).splitlines(), await one.runs(call.query.limit))


async def trigger_schedule(call: OperatorCall) -> ScheduleChanged:
    """Start a run now, beside the ticks."""
    run = await call.engine.get_schedule(call.body.id).trigger()
    return ScheduleChanged(call.body.id, 1, [run.id])


async def backfill_schedule(call: OperatorCall) -> ScheduleChanged:
    """Start the runs of past ticks that have none."""
    body: BackfillBody = call.body
    ids = [run.id for run in await call.engine.get_schedule(body.id).backfill(body.start, body.end)]
    return ScheduleChanged(body.id, len(ids), ids[:SHOWN])


def _on_schedule(
    name: str, text: str, do: Callable[[AsyncSchedule[Any]], Awaitable[Any]]
) -> Callable[..., Awaitable[ScheduleChanged]]:
    async def change(call: OperatorCall) -> ScheduleChanged:
        await do(call.engine.get_schedule(call.body.id))
        return ScheduleChanged(call.body.id, 0, [])

    change.__name__, change.__doc__ = name, text
    return change


pause_schedule = _on_schedule("pause_schedule", "Let no tick start a run until it is resumed.", AsyncSchedule.pause)
resume_schedule = _on_schedule("resume_schedule", "Go on with the first tick after now.", AsyncSchedule.resume)
delete_schedule = _on_schedule("delete_schedule", "Delete a schedule; its runs go on.", AsyncSchedule.delete)


def _operation(
    path: str, call: Callable[..., Awaitable[Any]], scope: Scope = "operate", body: type[Body] = OneSchedule
) -> Operation:
    return Operation(
        path=path, scope=scope, kind="schedule", call=call, answer=ScheduleChanged, body=body, refusals=(404, 409)
    )


OPERATIONS = (
    Operation(path="/schedules", scope="read", kind="schedule", call=list_schedules, answer=ScheduleList),
    Operation(
        path="/schedule", scope="read", kind="schedule", call=get_schedule, answer=ScheduleDetails, query=ScheduleIdQuery, refusals=(404,)
    ),
    _operation("/schedule/pause", pause_schedule),
    _operation("/schedule/resume", resume_schedule),
    _operation("/schedule/trigger", trigger_schedule),
    _operation("/schedule/backfill", backfill_schedule, "admin", BackfillBody),
    _operation("/schedule/delete", delete_schedule, "admin"),
)  # fmt: skip
