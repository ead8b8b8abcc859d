"""The operations that change one run: start, publish, cancel, wake, redrive, pause, resume, fork, rewind, move, resolve."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from attrs import frozen
from msgspec import UNSET, Meta, Struct, UnsetType, field

from stepflow.engine.client.payload_check import read_input
from stepflow.engine.client.run import AsyncRun
from stepflow.errors import CodecError, StepflowError, UnknownFlow
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.model.limits import LONGEST_KEY, Limit
from stepflow.model.run_timeout import LONGEST_S, SHORTEST_S
from stepflow.model.suggest import suggest
from stepflow.server.namespaces import ServedEngine
from stepflow.server.operator_api.filters import OwnPairs, When
from stepflow.server.operator_api.operation import Body, EventName, Operation, OperatorCall, Text, not_reserved
from stepflow.server.operator_api.runs import Rev

PRINTABLE = r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$"  # as `str.isprintable` says
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class UnfitInput(CodecError):
    """The input of a start does not fit its flow, as the document says."""


class OneRun(Body, frozen=True, kw_only=True):
    """The run that is changed."""

    id: Annotated[Text, Meta(description="The id of the run.")]

    def target(self) -> str:
        """The run."""
        return self.id


class LimitBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit that all runs with this `key` share: how many are held at a time, or how many start within any `per` seconds."""

    key: Annotated[str, Meta(min_length=1, max_length=LONGEST_KEY, extra_json_schema={"pattern": PRINTABLE})]
    concurrency: Count | None = None
    rate: Count | None = None
    per: Annotated[float, Meta(ge=0.001, le=31 * 86_400)] = 1.0

    def __post_init__(self) -> None:
        self.limit()  # raises ValueError if it sets no limit, or if its key cannot be printed

    def limit(self) -> Limit:
        """The limit."""
        return Limit(self.key, self.concurrency, rate=self.rate, per=self.per)


RunTimeout = Annotated[
    float, Meta(ge=SHORTEST_S, le=LONGEST_S, description="Seconds after which the run fails if it has not ended.")
]


class StartBody(Body, frozen=True, kw_only=True):
    """A new run. The same `id` and `input` again return the same run."""

    flow: Text
    input: Annotated[Any, Meta(description="What the flow takes, as JSON.")] = None
    id: Annotated[Text | None, Meta(description="Default: a new UUID.")] = None
    labels: OwnPairs = field(default_factory=dict)
    at: Annotated[When | None, Meta(description="The earliest time of its first step.")] = None
    priority: Annotated[int, Meta(ge=-(2**31) + 1, le=2**31 - 1)] = 0
    limits: Annotated[list[LimitBody], Meta(max_length=10)] = field(default_factory=list)
    dedup_key: Text | None = None
    dedup_window: Annotated[float, Meta(ge=0.001, le=366 * 86_400, description="Seconds.")] = 300.0
    run_timeout: RunTimeout | None = None

    def __post_init__(self) -> None:
        not_reserved(*self.labels)

    def target(self) -> str:
        """The run, if its id is given."""
        return self.id or ""

    def arguments(self) -> dict[str, Any]:
        """The flow, and when."""
        return {"flow": self.flow} | ({} if self.at is None else {"at": self.at.isoformat()})


class PublishBody(OneRun, frozen=True, kw_only=True):
    """An event for a run. The same `event` and `event_id` twice is stored once."""

    event: EventName
    payload: Any = None
    event_id: Text | None = None

    def __post_init__(self) -> None:
        not_reserved(self.event)

    def arguments(self) -> dict[str, Any]:
        """The event without its payload."""
        return {"event": self.event} | ({} if self.event_id is None else {"event_id": self.event_id})


class PlaceBody(OneRun, frozen=True, kw_only=True):
    """A place in the past of a run: the revision `rev`, or the moment before `step` (its name, path or position, or the key of a call)."""

    one_of = ("rev", "step")
    rev: Rev | UnsetType = UNSET
    step: Text | UnsetType = UNSET

    def arguments(self) -> dict[str, Any]:
        """The one that is given."""
        return {"step": self.step} if self.rev is UNSET else {"rev": self.rev}


class ForkBody(PlaceBody, frozen=True, kw_only=True):
    """The new run: its id (default: a new UUID), and perhaps another input; that needs a flow which the server knows."""

    new_id: Text | None = None
    input: Any = UNSET


class MoveBody(OneRun, frozen=True, kw_only=True):
    """The position behind which a run of a chain goes on, e.g. `completed:order/pay`."""

    flow: Text
    to: Text

    def arguments(self) -> dict[str, Any]:
        """The position."""
        return {"flow": self.flow, "to": self.to}


class ResolveBody(OneRun, frozen=True, kw_only=True):
    """A call that is made at most once took place, and returned `value`: of a chain the exchange after the step, null: as it was."""

    step: Text
    value: Any = None

    def arguments(self) -> dict[str, Any]:
        """The step."""
        return {"step": self.step}


class ResolveFailedBody(OneRun, frozen=True, kw_only=True):
    """A call that is made at most once failed, or did not take place."""

    step: Text
    error: Annotated[str, Meta(min_length=1, max_length=10_000)]

    def arguments(self) -> dict[str, Any]:
        """The step."""
        return {"step": self.step}


@frozen
class RunChanged:
    """The run that was changed or made, and its status now."""

    id: str
    status: Status


async def start_run(call: OperatorCall) -> RunChanged:
    """Start a run of a flow that the server knows."""
    body: StartBody = call.body
    flow = known_flow(call.engine, body.flow)
    given = _input(flow, body.input)
    run = await call.engine.start(
        flow, given, id=body.id, labels=body.labels, at=body.at, priority=body.priority,
        limits=[one.limit() for one in body.limits], dedup_key=body.dedup_key, dedup_window=body.dedup_window,
        run_timeout=body.run_timeout,
    )  # fmt: skip
    return await _changed(run)


def _input(flow: Flow[Any, Any], value: Any) -> Any:
    """The input of a start. Raises UnfitInput."""
    try:
        return read_input(flow, json.dumps(value))
    except CodecError as error:
        raise UnfitInput(str(error)) from None


async def publish_event(call: OperatorCall) -> RunChanged:
    """Give a run an event."""
    body: PublishBody = call.body
    run = call.engine.get(body.id)
    await run.check_event(body.event, body.payload)
    await run.publish(body.event, body.payload, id=body.event_id)
    return await _changed(run)


async def fork_run(call: OperatorCall) -> RunChanged:
    """Start a new run where another one was at a revision, or before a step."""
    body: ForkBody = call.body
    run, place = call.engine.get(body.id), body.arguments()
    given: Any = ...
    if body.input is not UNSET:
        flow = known_flow(call.engine, (await run.info()).flow)
        given = read_input(flow, json.dumps(body.input))
    return await _changed(await run.fork(**place, id=body.new_id, input=given))


async def rewind_run(call: OperatorCall) -> RunChanged:
    """Let a run that no worker holds go back, and go on from there in a new revision."""
    run = call.engine.get(call.body.id)
    await run.rewind(**call.body.arguments())
    return await _changed(run)


async def move_run(call: OperatorCall) -> RunChanged:
    """Let an open run of a chain go on at another position."""
    body: MoveBody = call.body
    flow: Any = known_flow(call.engine, body.flow)
    done = await call.engine.move(body.id, flow, body.to)
    if why := done.skipped.get(body.id):
        await call.engine.client.load(body.id)  # NotFound, if there is no such run
        raise StepflowError(f"run {body.id!r}: {why}")
    return await _changed(call.engine.get(body.id))


async def resolve_call(call: OperatorCall) -> RunChanged:
    """Say that a call of unknown outcome took place."""
    run = call.engine.get(call.body.id)
    await run.resolve(call.body.step, call.body.value)
    return await _changed(run)


async def resolve_call_failed(call: OperatorCall) -> RunChanged:
    """Say that a call of unknown outcome failed, or did not take place."""
    run = call.engine.get(call.body.id)
    await run.resolve_failed(call.body.step, call.body.error)
    return await _changed(run)


async def _changed(run: AsyncRun[Any]) -> RunChanged:
    return RunChanged(run.id, await run.status())


def known_flow(engine: ServedEngine, name: str) -> Flow[Any, Any]:
    """A flow that the server knows. Raises UnknownFlow."""
    if (flow := engine.flows.get(name)) is None:
        similar = suggest(name, engine.flows)
        hint = f"did you mean {similar!r}?" if similar else "start it with --flows MODULE, or app(flows=[...])"
        raise UnknownFlow(f"this server does not know flow {name!r}: {hint}")
    return flow


def _on_run(
    name: str, text: str, do: Callable[[AsyncRun[Any]], Awaitable[Any]]
) -> Callable[..., Awaitable[RunChanged]]:
    """An operation that calls one method of the run."""

    async def change(call: OperatorCall) -> RunChanged:
        run = call.engine.get(call.body.id)
        await do(run)
        return await _changed(run)

    change.__name__, change.__doc__ = name, text
    return change


cancel_run = _on_run("cancel_run", "End a run as cancelled; if a worker holds it, when that has ended its step.", AsyncRun.cancel)  # fmt: skip
wake_run = _on_run("wake_run", "Let a run that sleeps, polls or is blocked be looked at now.", AsyncRun.wake)
redrive_run = _on_run("redrive_run", "Let a failed run go on at the step that failed; a blocked one be tried again.", AsyncRun.redrive)  # fmt: skip
pause_run = _on_run("pause_run", "Hold a run back until it is resumed.", AsyncRun.pause)
resume_run = _on_run("resume_run", "Let a paused run go on.", AsyncRun.resume)


def _operation(path: str, call: Callable[[OperatorCall], Awaitable[Any]], body: type[Body] = OneRun) -> Operation:
    return Operation(
        path=path, scope="operate", kind="run", call=call, answer=RunChanged, body=body, refusals=(404, 409)
    )


OPERATIONS = (
    _operation("/run/start", start_run, StartBody),
    _operation("/run/publish", publish_event, PublishBody),
    _operation("/run/cancel", cancel_run),
    _operation("/run/wake", wake_run),
    _operation("/run/redrive", redrive_run),
    _operation("/run/pause", pause_run),
    _operation("/run/resume", resume_run),
    _operation("/run/fork", fork_run, ForkBody),
    _operation("/run/rewind", rewind_run, PlaceBody),
    _operation("/run/move", move_run, MoveBody),
    _operation("/run/resolve", resolve_call, ResolveBody),
    _operation("/run/resolve-failed", resolve_call_failed, ResolveFailedBody),
)
