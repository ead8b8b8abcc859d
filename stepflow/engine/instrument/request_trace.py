"""in_trace_of: the trace of a request, W3C's `traceparent` and `tracestate`, around what the request does."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from stepflow.model.state import TRACEPARENT

TRACESTATE = "tracestate"
MOST_STATE = 512  # characters, which each participant has to pass on
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-[\x21-\x7e]*)?")
_STATE = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}")
given: ContextVar[Mapping[str, str] | None] = ContextVar("stepflow_request_trace", default=None)


def trace_given(parents: Sequence[str], states: Sequence[str]) -> dict[str, str]:
    """What these headers say, as annotations of a run have it; empty if they are not well-formed. A bad state is left out alone."""
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == "00" and found[3]):
        return {}
    members = [member for one in ",".join(states).split(",") if (member := one.strip())]
    state = ",".join(members)
    fits = len(members) <= 32 and len(state) <= MOST_STATE and all(map(_STATE.fullmatch, members))
    return {TRACEPARENT: f"00-{found[2]}"} | ({TRACESTATE: state} if state and fits else {})


@contextmanager
def in_trace_of(parents: Sequence[str], states: Sequence[str]) -> Iterator[None]:
    """Runs that are started inside belong to the trace of these headers; with OpenTelemetry's API theirs is the current context, unless a span is."""
    trace = trace_given(parents, states)
    if not trace:
        yield
        return
    token = given.set(trace)
    try:
        if "opentelemetry.trace" not in sys.modules:
            yield
        else:
            with _current(trace):
                yield
    finally:
        given.reset(token)


@contextmanager
def _current(trace: Mapping[str, str]) -> Iterator[None]:
    from opentelemetry import context  # noqa: PLC0415 - an extra, which is there
    from opentelemetry import trace as traces  # noqa: PLC0415 - the same
    from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - the same

    if traces.get_current_span().get_span_context().is_valid:  # the application traces its requests itself
        yield
        return
    token = context.attach(tracecontext.TraceContextTextMapPropagator().extract(trace))
    try:
        yield
    finally:
        context.detach(token)
