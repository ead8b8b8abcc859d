"""A process whose engine tells of its spans: `python -m tests.processes.traced NAME URL`; each span that ended is a line of NAME.spans."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from stepflow import Context, Engine, OpenTelemetry, named, workflow
from tests.processes.flows import report


def _pass() -> None:
    os.read(int(os.environ["TEST_GATE"]), 1)


def first(order: dict[str, int]) -> None:
    order["first"] = 1


def wait(order: dict[str, int]) -> None:
    report("waits")
    _pass()


def last(order: dict[str, int]) -> None:
    order["last"] = 1


chain = named("order", dict[str, int]).do("first", first).do("wait", wait).do("last", last).compile()


def call(number: int) -> int:
    return number + 1


def slow(number: int) -> int:
    report("waits")
    _pass()
    return number + 1


@workflow("signup")
def signup(wf: Context, number: int) -> int:
    one = wf.execute("first", call, number)
    wf.sleep("short", 0.01)
    two = wf.execute("wait", slow, one)
    return wf.execute("last", call, two)


def line(span: ReadableSpan) -> str:
    return span.to_json(indent=None) + "\n"


def providers(path: Path) -> OpenTelemetry:
    """Providers that write each span to the file when it ends, for a process that may be killed."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=path.open("a"), formatter=line)))
    return OpenTelemetry(tracer_provider=tracers)


def main(name: str, url: str) -> None:
    with Engine(url, instrument=providers(Path(f"{name}.spans"))) as engine:
        engine.register(chain, signup)
        while any(run.status not in ("completed", "failed") for run in engine.runs()):
            engine.run_until_idle()
    report("idle", note=json.dumps([]))


if __name__ == "__main__":
    main(*sys.argv[1:])
