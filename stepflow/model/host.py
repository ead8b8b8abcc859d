"""host: how the hosts of remote flows are registered in a store, and what callers read of them.

A registration is a run of the reserved flow `HOST`. It is open, and held by the engine of the host, for as long as the host serves: the beats of that
engine are the heartbeats of the registration. A host that leaves completes it; if a host dies, its claim is freed like any other one, so the
registration is not held any more, and some worker ends it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from math import isfinite
from typing import Any, ClassVar

from attrs import frozen

from stepflow.model.codec import Codec
from stepflow.model.flow import Flow, FlowOptions, Move
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import State, Transition

HOST = "stepflow.host"  # the flow of registrations, and the label with the URL of a host
FLOWS = "stepflow.host.flows"  # annotation: JSON object, name of a flow -> its options
REMOTE = {"flow.type": "remote"}  # labels of the States in which flowstate programs register their flows
FLOWSTATE_FLOW, FLOWSTATE_URL, FLOWSTATE_ACTION = (
    "flowstate.flow.transition_id",
    "flowstate.flow.http_host",
    "flowstate.flow.action",
)  # annotations of those States


@frozen
class FlowHost:
    """A host: its base URL, and the flows that it serves, with their options.

    `id` tells two registrations of one URL apart. One that `signs` speaks stepflow's form of the service: it answers with the command of the
    function. Another one takes the State over and commits by itself.
    """

    id: str
    url: str
    flows: Mapping[str, FlowOptions]
    signs: bool = True


def registration(run_id: str, host: str, flows: Mapping[str, FlowOptions], now: int) -> State:
    """The State by which a host registers itself."""
    text = json.dumps({name: _plain(options) for name, options in flows.items()}, sort_keys=True)
    return State(run_id, 0, Transition(HOST, {}), {HOST: host}, {FLOWS: text}, now)


def host_of(state: State) -> FlowHost:
    """The host of a registration; ValueError if it is none."""
    try:
        flows = {name: _options(plain) for name, plain in json.loads(state.annotations[FLOWS]).items()}
        return FlowHost(state.id, state.labels[HOST], flows)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def serves(state: State, flow: str) -> bool:
    """Whether a registration is that of a host which serves the flow."""
    try:
        return flow in host_of(state).flows
    except ValueError:
        return False


def flowstate_host_of(state: State) -> FlowHost | None:
    """The host of a State by which a flowstate program registers one flow; None if it withdrew it."""
    notes = state.annotations
    flow, url = notes.get(FLOWSTATE_FLOW, ""), notes.get(FLOWSTATE_URL, "")
    if notes.get(FLOWSTATE_ACTION) == "unset" or not flow or not url:
        return None
    return FlowHost(state.id, url.rstrip("/"), {flow: FlowOptions(hung_after_s=120.0)}, signs=False)


def _plain(options: FlowOptions) -> dict[str, Any]:
    """Options as JSON has them; which exceptions are retried is decided by the host."""
    retry = options.retry or RetryPolicy()
    plain = {name: getattr(retry, name) for name in ("max_attempts", "delay", "factor", "max_delay", "jitter")}
    return {
        "retry": plain,
        "concurrency": options.concurrency,
        "hung_after_s": options.hung_after_s,
        "max_crashes": options.max_crashes,
    }


def _options(plain: Mapping[str, Any]) -> FlowOptions:
    concurrency, hung_after_s, max_crashes = plain["concurrency"], plain["hung_after_s"], plain["max_crashes"]
    for value, kind in ((concurrency, int), (hung_after_s, float | int), (max_crashes, int)):
        if value is not None and not (isinstance(value, kind) and isfinite(value) and value > 0):
            raise ValueError(f"{value!r:.40} is no option of a flow")
    return FlowOptions(concurrency, RetryPolicy(**plain["retry"]), hung_after_s, int(max_crashes))


class HostFlow(Flow[Any, Any]):
    """The flow of all registrations; a worker that claims one ends it, since its host is gone."""

    kind: ClassVar[str] = "host"

    def __init__(self) -> None:
        self.name, self.options, self.inline = HOST, FlowOptions(), False
        self.codec: Codec[Any] = Codec(type(None))
        self.definition = sha256(HOST.encode()).hexdigest()

    def __repr__(self) -> str:
        return "<HostFlow>"

    def first(self) -> Move:
        """The Move of a new registration."""
        return Move(Transition(HOST), ())

    def resume(self, transition: Transition) -> Move:
        """The Move to the stored transition: a registration has no position."""
        return Move(transition, ())


HOST_FLOW = HostFlow()
