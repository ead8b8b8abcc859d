"""payload_check: refuses a payload that no wait of a known flow can take."""

from __future__ import annotations

from typing import Any

from stepflow.errors import CodecError
from stepflow.model.flow import Flow


def check_payload(flow: Flow[Any, Any] | None, event: str, payload: str) -> None:
    """Raises CodecError if the flow waits for such events, but for none with this payload (JSON text). None: the flow is not known, all is accepted.

    A name that the flow does not know is accepted: a newer definition may wait for it.
    """
    if flow is not None and event in flow.events and (why := flow.event_problem(event, payload)):
        raise CodecError(f"event {event!r} of flow {flow.name!r}: {why.replace('the stored value', 'the payload')}")
