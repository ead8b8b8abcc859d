"""PrometheusMeter: keeps what an engine tells of itself in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stepflow.engine.instrument.metrics import METRICS, Metric

_BY_NAME = {metric.name: metric for metric in METRICS}
Labels = Mapping[str, str] | None


class PrometheusInstrument:
    """A counter, or histogram, with the methods of those of OpenTelemetry; an attribute that is not given is empty."""

    def __init__(self, metric: Metric, made: Any) -> None:
        self._attributes, self._made = metric.attributes, made

    def add(self, amount: float, labels: Labels = None) -> None:
        """Add to a counter, or to a number that goes up and down."""
        self._of(labels).inc(amount)

    def record(self, value: float, labels: Labels = None) -> None:
        """Record a value of a histogram."""
        self._of(labels).observe(value)

    def _of(self, labels: Labels) -> Any:
        if not self._attributes:
            return self._made
        given = labels or {}
        return self._made.labels(*[given.get(name, "") for name in self._attributes])


class PrometheusMeter:
    """A meter whose instruments are kept in a registry of its own, which Prometheus reads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def create_counter(self, name: str, *_form: str) -> PrometheusInstrument:
        """A counter of the table of metrics."""
        return self._instrument(Counter, name)

    def create_up_down_counter(self, name: str, *_form: str) -> PrometheusInstrument:
        """A number of the table that goes up and down."""
        return self._instrument(Gauge, name)

    def create_histogram(self, name: str, *_form: str, **_more: Any) -> PrometheusInstrument:
        """A histogram of the table."""
        return self._instrument(Histogram, name, buckets=_BY_NAME[name].buckets)

    def _instrument(self, kind: Any, name: str, **more: Any) -> PrometheusInstrument:
        metric = _BY_NAME[name]
        made = kind(metric.prometheus, metric.description, metric.labels, registry=self.registry, **more)
        return PrometheusInstrument(metric, made)
