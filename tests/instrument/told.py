"""Told: the spans and metrics that engines tell of, collected in memory by the SDK's own exporters."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stepflow import OpenTelemetry


class Told:
    """Providers, and what came to them."""

    def __init__(self, *metrics: Any) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader, *metrics])
        self.instrument = OpenTelemetry(self.tracers, self.meters)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The spans that ended, of this name, by the time at which they began."""
        found = [span for span in self._exporter.get_finished_spans() if not name or span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def span(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        (found,) = self.spans(name)
        return found

    def parent(self, span: ReadableSpan) -> str:
        """The name of its parent; empty for a root, `?` for one that was not told here."""
        if span.parent is None:
            return ""
        names = {one.context.span_id: one.name for one in self.spans() if one.context is not None}
        return names.get(span.parent.span_id, "?")

    def edges(self) -> list[tuple[str, str]]:
        """(parent, name) of each span, sorted."""
        return sorted((self.parent(span), span.name) for span in self.spans())

    def traces(self) -> set[int]:
        """The ids of all traces."""
        return {span.context.trace_id for span in self.spans() if span.context is not None}

    def _all(self) -> list[Any]:
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else ()
        return [metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics]

    def points(self, name: str) -> list[Any]:
        """The data points of a metric as the SDK has them."""
        return [point for metric in self._all() if metric.name == name for point in metric.data.data_points]

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Name -> values of the attributes -> the value, of a histogram how many there are."""
        found = dict[str, dict[tuple[str, ...], float]]()
        for metric in self._all():
            values = found[metric.name] = {}
            for point in metric.data.data_points:
                key = tuple(str(value) for _name, value in sorted(point.attributes.items()))
                values[key] = point.count if hasattr(point, "count") else point.value
        return found

    def attributes(self) -> dict[str, set[str]]:
        """Name -> the names of the attributes that any of its points has."""
        return {
            metric.name: {name for point in metric.data.data_points for name in point.attributes}
            for metric in self._all()
        }

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()
