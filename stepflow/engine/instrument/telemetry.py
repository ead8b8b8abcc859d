"""Telemetry: what an engine tells of itself, span by span and metric by metric; whatever a provider does, runs do not notice it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from stepflow.drivers.port.commit import Commit, CommitResult, Event, Record
from stepflow.drivers.port.step import Member
from stepflow.engine.clock import NEVER, SECOND, Clock
from stepflow.engine.execution.attempt import Attempt
from stepflow.engine.instrument import metrics as m
from stepflow.engine.instrument.request_trace import given
from stepflow.engine.instrument.spans import NAME, Kind, OpenSpan, Spans
from stepflow.engine.threads.raised import own_error
from stepflow.errors import StepflowError
from stepflow.model import outcome as outcomes
from stepflow.model.error_text import kind_of
from stepflow.model.keywords import keywords
from stepflow.model.state import DEADLINE, ERROR, TRACEPARENT, WAITING, State
from stepflow.model.topic import TOPIC

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

log = logging.getLogger("stepflow")
INSTALL = "instrument=: OpenTelemetry's API is not installed: pip install 'stepflow[otel]'"
API = ("opentelemetry.trace", "opentelemetry.metrics")  # whose own providers do nothing
RUN, RUNS, ATTEMPT_NUMBER, LAG = "stepflow.run.id", "stepflow.run.count", "stepflow.attempt", "stepflow.queue.lag"
FINAL = ("completed", "failed", "cancelled")


@keywords()
@frozen
class OpenTelemetry:
    """The providers that an engine uses, for `Engine(..., instrument=OpenTelemetry(...))`; one that is left out is the application's.

    The application's provider is the one that it sets by `opentelemetry.trace.set_tracer_provider` or
    `opentelemetry.metrics.set_meter_provider`, before the engine is opened or later.
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None


@frozen
class ServerMetrics(OpenTelemetry):
    """The application's providers, if it has set some, and a meter that is always told: that of a server's own endpoint."""

    meter: Any = field(default=None, kw_only=True)


def checked_instrument(given: Any) -> OpenTelemetry | bool | None:
    """What an engine is told of its providers; raises StepflowError for what cannot be meant."""
    if given is not None and not isinstance(given, OpenTelemetry | bool):
        raise StepflowError(
            f"instrument={given!r:.80}: give OpenTelemetry(tracer_provider=..., meter_provider=...), True or False, or leave it out"
        )
    return given


def telemetry_for(given: OpenTelemetry | bool | None, clock: Clock) -> Telemetry | None:
    """The telemetry of an engine that is about to be opened, None if there is none.

    None stands for the application's providers, if it has set some; False for none at all, True for those that it sets.
    Raises StepflowError if OpenTelemetry's API is asked for and not installed.
    """
    if given is False:
        return None
    tracers, meters = _set("trace", "get_tracer_provider"), _set("metrics", "get_meter_provider")
    if isinstance(given, ServerMetrics):
        return Telemetry(clock, tracers, [] if meters is None else [meters], given.meter)
    if given is None:
        if tracers is None and meters is None:
            return None
        return Telemetry(clock, tracers, [] if meters is None else [meters])
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StepflowError(INSTALL) from error
    chosen = OpenTelemetry() if given is True else given
    tracers = chosen.tracer_provider or trace.get_tracer_provider()
    return Telemetry(clock, tracers, [chosen.meter_provider or metrics.get_meter_provider()])


def _set(module: str, getter: str) -> Any:
    """The application's provider; None if it has set none. A program that has not imported OpenTelemetry does not pay for that."""
    imported = sys.modules.get(f"opentelemetry.{module}")
    provider = None if imported is None else getattr(imported, getter)()
    return None if provider is None or type(provider).__module__.startswith(API) else provider


class StepScope:
    """A call of a step that is being made."""

    __slots__ = ("_began", "_labels", "_span", "_telemetry")

    def __init__(self, telemetry: Telemetry, span: OpenSpan | None, labels: dict[str, str]) -> None:
        self._telemetry, self._span, self._labels = telemetry, span, labels
        self._began = telemetry.clock.monotonic()

    def end(self, error: BaseException | None = None) -> None:
        """The call has returned, or raised `error`."""
        telemetry, labels = self._telemetry, self._labels
        telemetry.add(m.STEPS_ACTIVE, -1, {m.FLOW: labels[m.FLOW]})
        if error is not None:
            labels = {**labels, m.ERROR: kind_of(own_error(error))}
        telemetry.record(m.STEP_DURATION, telemetry.clock.monotonic() - self._began, labels)
        telemetry.end(self._span, error)


class Telemetry:
    """The spans and instruments of one engine. No method raises: what a provider raises is logged, now and then."""

    def __init__(self, clock: Clock, tracers: Any, meters: Iterable[Any], own: Any = None) -> None:
        """`tracers` is a TracerProvider or None, `meters` are MeterProviders, `own` is another meter."""
        self.clock, self._failures = clock, 0
        self._spans: Spans | None = None
        self._attempts: dict[str, OpenSpan] = {}  # by the id of the run: those that are under way
        made = [] if own is None else [m.instruments(own)]
        try:
            self._spans = None if tracers is None else Spans(tracers)
            made += [m.instruments(provider.get_meter(NAME)) for provider in meters]
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)
        told = [metric.name for metric in m.METRICS if metric.kind != "gauge"]
        self._instruments = {name: [one[name] for one in made] for name in told}

    def add(self, metric: m.Metric, amount: int, labels: Mapping[str, str] | None = None) -> None:
        """Add to a counter."""
        try:
            for counter in self._instruments[metric.name]:
                counter.add(amount, labels)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)

    def record(self, metric: m.Metric, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Record a value of a histogram."""
        try:
            for histogram in self._instruments[metric.name]:
                histogram.record(value, labels)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)

    def begin(
        self, name: str, kind: Kind, attributes: Mapping[str, Any], parent: Any = None, links: Iterable[str] = ()
    ) -> OpenSpan | None:
        """Begin a span, linked with those of these traceparents; None if there are no spans."""
        if self._spans is None:
            return None
        try:
            return self._spans.begin(name, kind, attributes, parent, links)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)
            return None

    def end(self, opened: OpenSpan | None, error: BaseException | None = None) -> None:
        """End a span, with what made it fail."""
        if opened is None or self._spans is None:
            return
        try:
            shown = None if error is None else json.loads(outcomes.describe(own_error(error)))
            self._spans.end(opened, shown)
        except Exception as trouble:  # noqa: BLE001 - logged
            self._note(trouble)

    def published(self, event: Event, opened: OpenSpan | None = None) -> Event:
        """The event with the context of this span, or of the current one: the step that takes it will be linked with that."""
        if self._spans is None:
            return event
        try:
            return evolve(event, traceparent=self._spans.traceparent(opened) or event.traceparent)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)
            return event

    def taken(self, events: Iterable[Event]) -> None:
        """Events are taken in the current span: it is linked with those that published them."""
        if self._spans is None:
            return
        try:
            self._spans.link(one.traceparent for one in events if one.traceparent)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)

    def committed(self, batch: Iterable[Member], results: Iterable[CommitResult], seconds: float, size: int) -> None:
        """A batch of this many members is durable: the span of each attempt that has one in it gets an event."""
        if not self._attempts:
            return
        told = {"stepflow.commit.duration": seconds, "stepflow.commit.size": size}
        try:
            for member, result in zip(batch, results, strict=False):
                run_id = member.fence.id if isinstance(member, Commit) and member.fence else getattr(member, "id", "")
                opened = self._attempts.get(run_id)
                if opened is not None and not isinstance(result, Exception):
                    opened.span.add_event("stepflow.commit", told)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)

    def step(
        self, run_id: str, flow: str, name: str, place: str, number: int, taken: Iterable[Event] = ()
    ) -> StepScope:
        """A step, or a flow function, is being called; `name` is what metrics call it, `place` where it is in its run, `taken` are the events that it gets."""
        self.add(m.STEPS_ACTIVE, 1, {m.FLOW: flow})
        labels = {m.FLOW: flow, m.STEP: name}
        if number > 1:
            self.add(m.STEPS_RETRIED, 1, labels)
        attributes = {m.FLOW: flow, RUN: run_id, m.STEP: place, ATTEMPT_NUMBER: number}
        links = [event.traceparent for event in taken if event.traceparent]
        return StepScope(self, self.begin(f"step {name}", "internal", attributes, None, links), labels)

    def starting(self, commit: Commit) -> tuple[OpenSpan | None, Commit]:
        """Runs are about to be created: a span for that, and the commit with its context. Other commits stay as they are."""
        made = [write for write in commit.writes if write.created is not None]
        if not made or self._spans is None:
            return None, self.carrying(None, commit)
        flow = made[0].created.flow  # type: ignore[union-attr]  # checked above
        attributes = {m.FLOW: flow, RUN: made[0].state.id} if len(made) == 1 else {m.FLOW: flow, RUNS: len(made)}
        name = "publish topic" if flow == TOPIC else f"start {flow}"
        return (opened := self.begin(name, "producer", attributes)), self.carrying(opened, commit)

    def carrying(self, opened: OpenSpan | None, commit: Commit) -> Commit:
        """The commit, whose new runs carry the context of this span, or without spans that of the request."""
        if (opened is None or self._spans is None) and given.get() is None:
            return commit
        try:
            writes = [
                write if write.created is None else write._replace(state=self._with_context(opened, write.state))
                for write in commit.writes
            ]
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)
            return commit
        return commit._replace(writes=tuple(writes))

    def _with_context(self, opened: OpenSpan | None, state: State) -> State:
        if opened is None or self._spans is None:
            kept = TRACEPARENT in state.annotations  # of a fork
            return state if kept else state._replace(annotations={**state.annotations, **(given.get() or {})})
        return state._replace(annotations=self._spans.carried(opened, state.annotations))

    def attempt(self, attempt: Attempt) -> OpenSpan | None:
        """A claim is about to be advanced; a run without a trace gets one with its next commit."""
        flow, row = attempt.flow.name, attempt.claim.row
        self.add(m.RUNS_HELD, 1, {m.FLOW: flow})
        now = self.clock.now()
        if row.due <= now:
            for metric in (m.QUEUE_LAG, m.LIMIT_LAG) if row.limits else (m.QUEUE_LAG,):
                self.record(metric, (now - row.due) / SECOND, {m.FLOW: flow})
        interrupted = bool(row.crashes or row.unfinished)
        if interrupted:
            self.add(m.RUNS_INTERRUPTED, 1, {m.FLOW: flow})
        if self._spans is None:
            return None
        try:
            return self._attempt(self._spans, attempt, interrupted, max(0, now - row.due), now)
        except Exception as error:  # noqa: BLE001 - logged
            self._note(error)
            return None

    def _attempt(self, spans: Spans, attempt: Attempt, interrupted: bool, lag: int, now: int) -> OpenSpan | None:
        state, row, flow = attempt.state, attempt.claim.row, attempt.flow.name
        parent, of_run = spans.parent(state.annotations), {m.FLOW: flow, RUN: state.id}
        if not interrupted and attempt.record.delay is None:
            _past(spans, parent, of_run, attempt.record, now)
        attributes = {**of_run, ATTEMPT_NUMBER: attempt.number, LAG: lag / SECOND}
        opened = spans.begin(f"attempt {flow}", "consumer", attributes, parent)
        if interrupted:
            counts = {"stepflow.crashes": row.crashes, "stepflow.unfinished": row.unfinished}
            opened.span.add_event("stepflow.interrupted", counts)
        if attempt.record.delay is None:
            attempt.state = self._with_context(opened, state)
        self._attempts[state.id] = opened
        return opened

    def attempt_ended(self, attempt: Attempt, opened: OpenSpan | None, outcome: str) -> None:
        """The claim is over, and what it did is durable."""
        flow = attempt.flow.name
        self.add(m.RUNS_HELD, -1, {m.FLOW: flow})
        self.add(m.ATTEMPTS, 1, {m.FLOW: flow, m.OUTCOME: outcome})
        if outcome == "blocked":
            self.add(m.RUNS_BLOCKED, 1, {m.FLOW: flow})
        if outcome in FINAL:
            self.ended(flow, outcome, attempt.record.created.created_at)
        if opened is None or self._spans is None:
            return
        if self._attempts.get(attempt.state.id) is opened:
            del self._attempts[attempt.state.id]
        try:
            opened.span.set_attribute(m.OUTCOME, outcome)
            error = json.loads(attempt.error) if outcome == "failed" and attempt.error else None
            self._spans.end(opened, error)
        except Exception as trouble:  # noqa: BLE001 - logged
            self._note(trouble)

    def ended(self, flow: str, status: str, created_at: int) -> None:
        """A run ended."""
        labels = {m.FLOW: flow, m.STATUS: status}
        self.add(m.RUNS_ENDED, 1, labels)
        self.record(m.RUN_DURATION, max(0, self.clock.now() - created_at) / SECOND, labels)

    def _note(self, error: Exception) -> None:
        """Log the first failure of a provider, then fewer and fewer of them."""
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:  # 1, 2, 4, 8, ...
            log.warning("telemetry failed, time %d; runs go on", self._failures, exc_info=error)


def _past(spans: Spans, parent: Any, of_run: Mapping[str, Any], record: Record, now: int) -> None:
    """The sleep or wait that ended with this claim, as a span of its own; a poll has an attempt for each look."""
    notes, since = record.state.transition.annotations, record.state.committed_at
    kind, _colon, event = notes.get(WAITING, "").partition(":")
    if kind == "event":
        events = record.state.transition.events
        if int(notes.get(DEADLINE, NEVER)) <= now or any(one.name in events for one in record.events):
            spans.past("wait", parent, {**of_run, m.EVENT: event}, since, now)
    elif kind == "delay":
        spans.past("back off" if ERROR in notes else "sleep", parent, of_run, since, now)
