"""A run that a request starts belongs to the trace of the request."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from stepflow.engine.instrument.request_trace import trace_given
from tests.instrument.told import Told
from tests.server.operating import operating

TRACE, SPAN = "ab" * 16, "cd" * 8
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.anyio
@pytest.mark.parametrize("providers", [False, True])
async def test_a_run_belongs_to_the_trace_of_the_request_that_starts_it(store, monkeypatch, providers):
    told = Told()
    if providers:
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: told.tracers)
    async with operating(store) as operator:
        operator.client.headers.update({"traceparent": PARENT, "tracestate": "shop=1"})
        await operator.post("/run/start", flow="order.v1", input={"amount": 7}, id="traced")
        operator.client.headers.update({"traceparent": "00-nonsense"})
        await operator.post("/run/start", flow="order.v1", input={"amount": 7}, id="other")
        state = await operator.engine.get_state("traced")
        assert (await operator.engine.get("traced").info()).trace_id == TRACE
        assert state.annotations["tracestate"] == "shop=1"
        assert (state.annotations["traceparent"] == PARENT) is not providers
        assert (await operator.engine.get("other").info()).trace_id != TRACE
    if providers:
        (span,) = [one for one in told.spans("start order.v1") if one.parent is not None]
        assert f"{span.parent.span_id:016x}" == SPAN
    told.close()


@pytest.mark.parametrize(
    "parents",
    [[], [PARENT, PARENT], ["x"], [PARENT.upper()], [f"ff{PARENT[2:]}"], [f"{PARENT}-x"], [PARENT.replace(TRACE, "0" * 32)],
     [PARENT.replace(SPAN, "0" * 16)], [PARENT + "\n"]],
)  # fmt: skip
def test_what_is_not_well_formed_is_ignored(parents):
    assert trace_given(parents, ["shop=1"]) == {}


@pytest.mark.parametrize(
    "states", [["Shop=1"], ["shop"], ["shop=" + "x" * 600], [",".join(f"k{n}=1" for n in range(33))]]
)
def test_a_bad_state_is_left_out_alone(states):
    assert trace_given([PARENT], states) == {"traceparent": PARENT}


def test_a_later_version_is_read_as_the_first_one():
    assert trace_given([f"01{PARENT[2:]}-more"], ["a=1", " b=2"]) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}
