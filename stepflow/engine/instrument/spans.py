"""Spans: begins and ends spans by OpenTelemetry's API, and carries the context of a trace with a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from stepflow.model.state import TRACEPARENT

NAME = "stepflow"  # of the tracer and the meter
Kind = Literal["internal", "producer", "consumer"]


class OpenSpan:
    """A span that is current until it ends; it ends in the context in which it began, else it only stops."""

    __slots__ = ("context", "span", "token")

    def __init__(self, span: Any, context: Any, token: Any) -> None:
        self.span, self.context, self.token = span, context, token


class Spans:
    """Makes spans of a TracerProvider. Every method may raise what the application's provider raises."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - an extra, which is there: the provider is made of it
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - the same

        self._trace, self._contexts, self._w3c = trace, context, tracecontext.TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer(NAME)
        kinds = trace.SpanKind
        self._kinds = {"internal": kinds.INTERNAL, "producer": kinds.PRODUCER, "consumer": kinds.CONSUMER}

    def parent(self, annotations: Mapping[str, str]) -> Any:
        """The context of a run's trace, with nothing else in it; an empty one if it has none."""
        empty = self._contexts.Context()
        return self._w3c.extract(annotations, empty) if TRACEPARENT in annotations else empty

    def begin(
        self, name: str, kind: Kind, attributes: Mapping[str, Any], parent: Any = None, links: Iterable[str] = ()
    ) -> OpenSpan:
        """Begin a span and make it the current one; `parent` None is the current one, `links` are traceparents."""
        found = [self._trace.Link(one) for one in map(self._linked, links) if one.is_valid]
        span = self._tracer.start_span(name, parent, self._kinds[kind], attributes, found or None)
        before = self._contexts.get_current()
        context = self._trace.set_span_in_context(span, before if parent is None else parent)
        return OpenSpan(span, context, self._contexts.attach(context))

    def end(self, opened: OpenSpan, error: Mapping[str, str] | None = None) -> None:
        """End a span; `error` has the `type`, `message` and `traceback` of what made it fail."""
        try:
            if error is not None:
                self.failed(opened.span, error)
        finally:
            if self._contexts.get_current() is opened.context:  # else it is closed elsewhere, e.g. by the collector
                self._contexts.detach(opened.token)
            opened.span.end()

    def failed(self, span: Any, error: Mapping[str, str]) -> None:
        """Mark a span as failed."""
        status, text = self._trace.StatusCode.ERROR, f"{error['type']}: {error['message']}"
        span.set_status(self._trace.Status(status, text))
        span.set_attribute("error.type", error["type"])
        names = {"type": "exception.type", "message": "exception.message", "traceback": "exception.stacktrace"}
        span.add_event("exception", {names[name]: error[name] for name in names if name in error})

    def _linked(self, traceparent: str) -> Any:
        """The context of a span elsewhere."""
        context = self._w3c.extract({TRACEPARENT: traceparent}, self._contexts.Context())
        return self._trace.get_current_span(context).get_span_context()

    def link(self, traceparents: Iterable[str]) -> None:
        """Link the current span with these."""
        span = self._trace.get_current_span()
        for context in map(self._linked, traceparents):
            if context.is_valid:
                span.add_link(context)

    def traceparent(self, opened: OpenSpan | None = None) -> str:
        """The context of a span, or of the current one, as W3C's `traceparent`; empty without one."""
        found: dict[str, str] = {}
        self._w3c.inject(found, None if opened is None else opened.context)
        return found.get(TRACEPARENT, "")

    def past(self, name: str, parent: Any, attributes: Mapping[str, Any], began: int, ended: int) -> None:
        """A span that is over; times are microseconds UTC."""
        kind = self._kinds["internal"]
        span = self._tracer.start_span(name, parent, kind, attributes, start_time=began * 1000)
        span.end(max(began, ended) * 1000)

    def carried(self, opened: OpenSpan, annotations: Mapping[str, str]) -> Mapping[str, str]:
        """The annotations, with the context of the span, if they have none; W3C's `traceparent` and `tracestate`."""
        if TRACEPARENT in annotations:
            return annotations
        found: dict[str, str] = {}
        self._w3c.inject(found, opened.context)
        return {**annotations, **found} if found else annotations
