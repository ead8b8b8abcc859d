"""payload_check: refuses an input that does not fit its flow, and a payload that no wait of a known flow can take, or that the present wait of the run cannot."""

from __future__ import annotations

import json
from typing import Any

from stepflow.drivers.port.commit import Record
from stepflow.errors import CodecError
from stepflow.model.flow import Flow
from stepflow.model.json_schema import json_schema
from stepflow.model.schema_check import problem_of
from stepflow.model.state import PAYLOADS


def read_input(flow: Flow[Any, Any], text: str) -> Any:
    """The input of a flow from JSON text. Raises CodecError, also for what only its codec would take: the text of a number as one."""
    try:
        given = flow.codec.decode(text)
    except CodecError as error:
        why = str(error).replace("the stored value does", "it does").removesuffix(f"; {flow.codec.remedy}")
        raise _unfit(flow, why) from error
    schema = json_schema(flow.codec.type)
    if schema and (why := problem_of(json.loads(text), schema, schema, strict=True)):
        raise _unfit(flow, why)
    return given


def _unfit(flow: Flow[Any, Any], why: str) -> CodecError:
    return CodecError(f"the input does not fit flow {flow.name!r}: {why}")


def check_payload(flow: Flow[Any, Any] | None, event: str, payload: str, record: Record | None, now: int) -> None:
    """Raises CodecError if the flow waits for such events, but for none with this payload (JSON text). None: the flow is not known.

    Where no code tells the type, as that of workflows, the JSON schema counts that the run stored with its wait, if the record is given. A name that the flow does
    not know is accepted: a newer definition may wait for it. So is what comes behind an event that the wait has already: another wait may take it.
    """
    if flow is not None and event in flow.events:
        if why := flow.event_problem(event, payload):
            raise CodecError(f"event {event!r} of flow {flow.name!r}: {why.replace('the stored value', 'the payload')}")
        return
    schema = None if record is None else _schemas(record, event, now).get(event)
    if record and schema and (why := problem_of(json.loads(payload), schema, schema)):
        raise CodecError(
            f"event {event!r} of run {record.state.id!r}: the payload does not fit what it waits for: {why}"
        )


def _schemas(record: Record, event: str, now: int) -> dict[str, Any]:
    """The schemas of the payloads that end the present wait, by name; empty if the run does not wait any more, or has such an event already."""
    text, row = record.state.transition.annotations.get(PAYLOADS), record.row
    if text is None or (row is not None and row.due <= now) or any(one.name == event for one in record.events):
        return {}
    found: dict[str, Any] = json.loads(text)
    return found
