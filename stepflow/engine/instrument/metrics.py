"""The table of metrics: every instrument, the docs, the dashboard and the server's endpoint are made from it, or checked against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

FLOW, STATUS, OUTCOME, STEP, EVENT, ERROR = (
    "stepflow.flow",
    "stepflow.status",
    "stepflow.outcome",
    "stepflow.step",
    "stepflow.event",
    "error.type",
)
QUICK_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
WORK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
LONG_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 3600, 21_600, 86_400, 604_800, 2_592_000)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SUFFIX = {"s": "_seconds"}  # of Prometheus names, by unit


@frozen
class Metric:
    """One instrument: its name and unit by the semantic conventions of OpenTelemetry, and the names of its attributes.

    An `updown` counter is how many of something there are at present. A `gauge` is read from the store, by a server that is asked for it.
    """

    name: str
    kind: Literal["counter", "updown", "histogram", "gauge"]
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    buckets: Sequence[float] = ()

    @property
    def prometheus(self) -> str:
        """The name that OpenTelemetry's exporters, and the server, give it in Prometheus; a histogram has three series with suffixes."""
        name = self.name.replace(".", "_") + _SUFFIX.get(self.unit, "")
        return f"{name}_total" if self.kind == "counter" else name

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its attributes in Prometheus."""
        return tuple(label(name) for name in self.attributes)


def label(attribute: str) -> str:
    """The name of an attribute in Prometheus."""
    return attribute.replace(".", "_")


RUNS_STARTED = Metric("stepflow.runs.started", "counter", "{run}", "Runs that this process created.", (FLOW,))
RUNS_ENDED = Metric(
    "stepflow.runs.ended", "counter", "{run}", "Runs that ended in this process, by final status.", (FLOW, STATUS)
)
RUN_DURATION = Metric(
    "stepflow.run.duration", "histogram", "s", "From the creation of a run to its end.", (FLOW, STATUS), LONG_S
)
RUNS_HELD = Metric("stepflow.runs.held", "updown", "{run}", "Runs that this process is advancing.", (FLOW,))
RUNS_INTERRUPTED = Metric(
    "stepflow.runs.interrupted",
    "counter",
    "{run}",
    "Claims of a run whose last holder died or was interrupted in a step.",
    (FLOW,),
)
RUNS_BLOCKED = Metric(
    "stepflow.runs.blocked",
    "counter",
    "{run}",
    "Runs that this process released because it cannot advance them.",
    (FLOW,),
)
ATTEMPTS = Metric("stepflow.attempts", "counter", "{attempt}", "Attempts that ended, by outcome.", (FLOW, OUTCOME))
QUEUE_LAG = Metric(
    "stepflow.queue.lag", "histogram", "s", "From the time at which a run is due to its claim.", (FLOW,), WORK_S
)
LIMIT_LAG = Metric(
    "stepflow.limit.lag",
    "histogram",
    "s",
    "The same of runs that have a limit of concurrency, which keeps them, or workers that are busy.",
    (FLOW,),
    LONG_S,
)
WATCH_LAG = Metric(
    "stepflow.watch.lag",
    "histogram",
    "s",
    "From the commit of a revision until the watchers of this process can read it; of each read the oldest one.",
    (),
    QUICK_S,
)
CLAIM_DURATION = Metric(
    "stepflow.claim.duration", "histogram", "s", "Of a call of the store that claims runs.", (), QUICK_S
)
CLAIM_SIZE = Metric("stepflow.claim.size", "histogram", "{run}", "Runs of a claim that found some.", (), SIZES)
COMMIT_DURATION = Metric("stepflow.commit.duration", "histogram", "s", "Of one transaction of the store.", (), QUICK_S)
COMMIT_SIZE = Metric(
    "stepflow.commit.size", "histogram", "{write}", "Writes that were committed in one transaction.", (), SIZES
)
WRITES_REFUSED = Metric(
    "stepflow.writes.refused", "counter", "{write}", "Writes that the store did not take, by error.", (ERROR,)
)
EVENTS_PUBLISHED = Metric("stepflow.events.published", "counter", "{event}", "Events given to runs, by name.", (EVENT,))
STEP_DURATION = Metric(
    "stepflow.step.duration",
    "histogram",
    "s",
    "Of one call of a step or flow function; failed ones have the type of their error.",
    (FLOW, STEP, ERROR),
    WORK_S,
)
STEPS_ACTIVE = Metric("stepflow.steps.active", "updown", "{step}", "Steps that are being called.", (FLOW,))
STEPS_RETRIED = Metric(
    "stepflow.steps.retried", "counter", "{step}", "Calls of a step after the first one.", (FLOW, STEP)
)
WORKER_SLOTS = Metric(
    "stepflow.worker.slots", "updown", "{run}", "Runs that the workers of this process can advance at the same time."
)
STORE_RUNS = Metric("stepflow.store.runs", "gauge", "{run}", "Runs in the store, by flow and status.", (FLOW, STATUS))
STORE_WORKERS = Metric("stepflow.store.workers", "gauge", "{worker}", "Engines that claim runs of the store.")

METRICS = (
    RUNS_STARTED,
    RUNS_ENDED,
    RUN_DURATION,
    RUNS_HELD,
    RUNS_INTERRUPTED,
    RUNS_BLOCKED,
    ATTEMPTS,
    QUEUE_LAG,
    LIMIT_LAG,
    WATCH_LAG,
    CLAIM_DURATION,
    CLAIM_SIZE,
    COMMIT_DURATION,
    COMMIT_SIZE,
    WRITES_REFUSED,
    EVENTS_PUBLISHED,
    STEP_DURATION,
    STEPS_ACTIVE,
    STEPS_RETRIED,
    WORKER_SLOTS,
    STORE_RUNS,
    STORE_WORKERS,
)


def instruments(meter: Any) -> Mapping[str, Any]:
    """The instruments of all metrics that an engine tells, by name, made by a meter of OpenTelemetry or one of the same form."""
    made = {}
    for metric in METRICS:
        if metric.kind == "counter":
            made[metric.name] = meter.create_counter(metric.name, metric.unit, metric.description)
        elif metric.kind == "updown":
            made[metric.name] = meter.create_up_down_counter(metric.name, metric.unit, metric.description)
        elif metric.kind == "histogram":
            made[metric.name] = _histogram(meter, metric)
    return made


def _histogram(meter: Any, metric: Metric) -> Any:
    """A histogram with the buckets of the table, which an early version of the API does not take."""
    try:
        return meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
    except TypeError:
        return meter.create_histogram(metric.name, metric.unit, metric.description)
