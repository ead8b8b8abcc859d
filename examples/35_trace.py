"""A trace: one request, a sleep of three days and a second try of a step, in one tree of spans."""

from datetime import timedelta

from attrs import define
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stepflow import Context, Engine, OpenTelemetry, RetryPolicy, workflow
from stepflow.testing import VirtualClock

spans = InMemorySpanExporter()  # in production: OTLPSpanExporter() in a BatchSpanProcessor
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(spans))
failures = ["the mail server is busy"]


@define
class Signup:
    name: str


def create_user(signup: Signup) -> str:
    with tracers.get_tracer("shop").start_as_current_span("INSERT users"):  # as instrumented libraries do
        return f"user:{signup.name}"


def send_mail(user: str) -> str:
    if failures:
        raise ConnectionError(failures.pop())
    return f"welcome, {user}"


@workflow("signup.v1")
def signup(wf: Context, given: Signup) -> str:
    user = wf.execute("create", create_user, given)
    wf.sleep("cool-off", timedelta(days=3))
    return wf.execute("welcome", send_mail, user, retry=RetryPolicy(max_attempts=3, delay=60))


with Engine("memory://", clock=VirtualClock(), instrument=OpenTelemetry(tracer_provider=tracers)) as engine:
    engine.register(signup)
    with tracers.get_tracer("shop").start_as_current_span("POST /signup"):
        run = engine.start(signup, Signup("Ada"), id="signup-ada")
    engine.run_until_idle(advance=True)
    print(run.result())


def show(parent: int | None, depth: int) -> None:
    """Print the spans below a span, in the order in which they ended."""
    for span in found:
        if span.context and (span.parent.span_id if span.parent else None) == parent:
            print("   " * depth + span.name, note(span))
            show(span.context.span_id, depth + 1)


def note(span: ReadableSpan) -> str:
    """How an attempt ended, or why a step failed."""
    told = span.attributes or {}
    return str(told.get("error.type") or told.get("stepflow.outcome") or "")


found = spans.get_finished_spans()
show(None, 0)
print("traces:", len({span.context.trace_id for span in found if span.context}))
