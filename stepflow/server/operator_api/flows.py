"""The operations on flows: list them, with the schemas of their inputs, pause and resume."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from attrs import frozen
from msgspec import Meta

from stepflow.engine.checks import NAME_BYTES
from stepflow.model.json_schema import json_schema
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.server.operator_api.operation import Body, CountingQuery, Operation, OperatorCall

FlowName = Annotated[str, Meta(min_length=1, max_length=NAME_BYTES, pattern=r"^[^\u0000]+$")]
"""At most so many bytes, too: no flow has a longer name."""


class OneFlow(Body, frozen=True, kw_only=True):
    """The flow that is changed; the server need not know it."""

    flow: Annotated[FlowName, Meta(description="The name of the flow.")]

    def target(self) -> str:
        """The flow."""
        return self.flow


@frozen
class FlowDetails:
    """A flow of which there are runs, which is paused, or which the server knows: then with its kind and the JSON schema of its input.

    `runs` is their number by status; `paused_since` is null if it is not paused; `input` is null if there is no schema.
    """

    name: str
    known: bool
    kind: str
    events: list[str]
    runs: Mapping[str, int]
    paused_since: datetime | None
    input: Any


@frozen
class FlowList:
    """All flows, by name."""

    flows: list[FlowDetails]


@frozen
class FlowPaused:
    """The flow, and whether it is paused now."""

    flow: str
    paused: bool


async def list_flows(call: OperatorCall) -> FlowList:
    """List flows: how many runs they have, and what they take."""
    numbers, known = await call.counts(), call.engine.flows
    paused = {one.flow: one.since for one in await call.engine.paused_flows()}
    found = []
    for name in sorted({*numbers, *known, *paused} - OWN_FLOWS):
        flow = known.get(name)
        kind, events = ("", []) if flow is None else (flow.kind, sorted(flow.events))
        schema = None if flow is None else json_schema(flow.codec.type)
        found.append(FlowDetails(name, flow is not None, kind, events, numbers.get(name, {}), paused.get(name), schema))
    return FlowList(found)


async def pause_flow(call: OperatorCall) -> FlowPaused:
    """Let no worker take runs of a flow until it is resumed."""
    await call.engine.pause_flow(call.body.flow)
    return FlowPaused(call.body.flow, True)


async def resume_flow(call: OperatorCall) -> FlowPaused:
    """Let workers take runs of a paused flow again."""
    await call.engine.resume_flow(call.body.flow)
    return FlowPaused(call.body.flow, False)


OPERATIONS = (
    Operation(path="/flows", scope="read", kind="flow", call=list_flows, answer=FlowList, query=CountingQuery),
    Operation(
        path="/flow/pause", scope="admin", kind="flow", call=pause_flow, answer=FlowPaused, body=OneFlow, refusals=(404,)
    ),
    Operation(
        path="/flow/resume", scope="admin", kind="flow", call=resume_flow, answer=FlowPaused, body=OneFlow, refusals=(404,)
    ),
)  # fmt: skip
