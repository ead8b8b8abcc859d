"""Which providers an engine uses, and that nothing which a provider does hurts a run."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    MemoryDriver,
    OpenTelemetry,
    RetryPolicy,
    StateCtx,
    StepflowError,
    flow,
    named,
    park,
    workflow,
)
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Store
from stepflow.engine.instrument.parts import Parts, parts_for
from stepflow.engine.instrument.store import MeasuredStore
from stepflow.engine.instrument.telemetry import Telemetry
from stepflow.testing import VirtualClock
from tests.engine.flows import Flaky, Order, anote, note
from tests.house.pages import ROOT
from tests.instrument.told import Told

CHAIN = named("order", Order).do("pay", note("pay")).do("ship", anote("ship")).compile()


class Unusable:
    """A provider, tracer, and instrument; everything that is called raises, but for what `good` names."""

    def __init__(self, inside: Any, *good: str) -> None:
        self._inside, self._good = inside, good

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(self._good):
            return self._fail
        return lambda *args, **more: Unusable(getattr(self._inside, name)(*args, **more), *self._good)

    def _fail(self, *_args: Any, **_more: Any) -> Any:
        raise ValueError("the provider is broken")


class BrokenSpans:
    """A tracer provider whose tracer begins spans that fail in all that comes later."""

    def __init__(self, inside: TracerProvider) -> None:
        self._inside = inside

    def get_tracer(self, *_args: Any, **_more: Any) -> Any:
        return self

    def start_span(self, *args: Any, **more: Any) -> Any:
        span: Any = self._inside.get_tracer("x").start_span(*args, **more)
        for name in ("set_status", "set_attribute", "add_event", "end"):
            setattr(span, name, self._fail)
        return span

    def _fail(self, *_args: Any, **_more: Any) -> None:
        raise ValueError("the span is broken")


def _work(number: int) -> int:
    return number + 1


async def _awork(number: int) -> int:
    return number + 1


@workflow("child")
def child(wf: Context, number: int) -> int:
    return wf.execute("work", _work, number)


@workflow("signup")
def signup(wf: Context, number: int) -> int:
    wf.map("mails", _work, [1, 2])
    handle = wf.start_child("kid", child, number)
    wf.sleep("short", 0.01)
    return wf.result("end", handle)


@workflow("asignup")
async def asignup(wf: AsyncContext, number: int) -> int:
    await wf.gather(wf.execute("a", _awork, 1), wf.execute("b", _work, 2))
    return await wf.execute("c", _awork, number)


@flow("mutex")
def mutex(ctx: StateCtx) -> Any:
    return park(ctx)


def all_of_it(engine: Engine) -> list[str]:
    """Runs of every style, one that is tried again and one that fails; their statuses."""
    tried = named("tried", Order).do("charge", Flaky(1)).compile(retry=RetryPolicy(2, delay=0.01))
    fails = named("fails", Order).do("charge", Flaky(9)).compile()
    engine.register(CHAIN, tried, fails, signup, child, asignup, mutex)
    runs: list[Any] = [engine.start(definition, Order()) for definition in (CHAIN, tried, fails)]
    runs += engine.start_many(CHAIN, [(None, Order()), (None, Order())])
    runs += [engine.start(signup, 1), engine.start(asignup, 1), engine.start(mutex)]
    parked = engine.start(signup, 5)
    parked.cancel()
    engine.run_until_idle(advance=True)
    return [run.status() for run in [*runs, parked]]


EXPECTED = [
    "completed",
    "completed",
    "failed",
    "completed",
    "completed",
    "completed",
    "completed",
    "parked",
    "cancelled",
]


def providers(kind: str) -> OpenTelemetry:
    """Providers of which these fail: all calls, all but the first ones, or all those of spans."""
    inside = Told().instrument
    if kind == "spans":
        broken: Any = BrokenSpans(TracerProvider())
        return OpenTelemetry(broken, NoOpMeterProvider())
    good = ("get_", "create_") if kind == "instruments" else ("nothing",)
    tracers: Any = Unusable(inside.tracer_provider, *good)
    meters: Any = Unusable(inside.meter_provider, *good)
    return OpenTelemetry(tracers, meters)


@pytest.mark.parametrize("kind", ["everything", "instruments", "spans"])
def test_a_provider_that_raises_never_hurts_a_run(kind, caplog):
    with Engine("memory://", clock=VirtualClock(), instrument=providers(kind)) as engine:
        assert all_of_it(engine) == EXPECTED
    failures = [r for r in caplog.records if r.getMessage().startswith("telemetry failed")]
    assert failures[0].exc_info is not None
    assert len(failures) < 12  # the first one, the second, the fourth, ...


def test_the_same_without_and_with_providers_that_work(told):
    for instrument in (False, told.instrument):
        with Engine("memory://", clock=VirtualClock(), instrument=instrument) as engine:
            assert all_of_it(engine) == EXPECTED


def test_runs_that_are_not_sampled_stay_so(told):
    off = TracerProvider(sampler=ALWAYS_OFF)
    with Engine("memory://", clock=VirtualClock(), instrument=OpenTelemetry(off, told.meters)) as client:
        client.start(CHAIN, Order(), id="one")
        client.register(CHAIN)
        client.run_until_idle()
    assert told.spans() == []
    assert told.metrics()["stepflow.runs.ended"] == {("order", "completed"): 1}


@pytest.mark.parametrize("given", ["yes", 1, object()])
def test_what_cannot_be_meant_is_refused(given):
    with pytest.raises(StepflowError, match="instrument="):
        Engine("memory://", instrument=given)


def test_an_engine_without_providers_has_the_plain_parts():
    clock = VirtualClock()
    assert parts_for(False, clock) == Parts()
    assert parts_for(None, clock) == Parts()  # the tests import the API, and set no provider


def test_the_wrapped_store_forwards_all_that_a_store_has():
    """A method with a default in the port would else hide that of the store."""
    of_stores = {name for name, member in vars(Store).items() if callable(member) and not name.startswith("_")}
    assert of_stores - vars(MeasuredStore).keys() == set()
    inside = MemoryDriver().connect("", Owner("one", "host", 1), 0)
    wrapped = MeasuredStore(inside, Telemetry(VirtualClock(), None, []))
    values = {
        name for name in vars(Store).keys() | Store.__annotations__.keys() if not name.startswith("_")
    } - of_stores
    assert {name for name in values if getattr(wrapped, name) != getattr(inside, name)} == set()
    assert values == {"guards", "takes_deltas"}


def run(*lines: str) -> str:
    """What a program prints that begins with these lines, and ends with a run on an engine that was given nothing."""
    program = "\n".join(
        [
            *lines,
            "from stepflow import Engine, named",
            "chain = named('order', dict).do('pay', lambda order: None).compile()",
            "with Engine('memory://') as engine:",
            "    engine.register(chain); engine.start(chain, {}, id='one'); engine.run_until_idle()",
            "import sys",
            "print(sorted(span.name for span in out.get_finished_spans()) if 'out' in globals() else 'opentelemetry' in sys.modules)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_providers_that_the_application_has_set_are_used():
    printed = run(
        "from opentelemetry import trace",
        "from opentelemetry.sdk.trace import TracerProvider",
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor",
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter",
        "out, provider = InMemorySpanExporter(), TracerProvider()",
        "provider.add_span_processor(SimpleSpanProcessor(out))",
        "trace.set_tracer_provider(provider)",
    )
    assert printed == "['attempt order', 'start order', 'step pay']"


def test_a_program_without_providers_does_not_import_the_api():
    assert run() == "False"


def test_without_the_api_the_error_names_what_to_install():
    printed = run(
        "import sys",
        "sys.modules['opentelemetry'] = None",
        "from stepflow import Engine, StepflowError",
        "try:",
        "    Engine('memory://', instrument=True).open()",
        "except StepflowError as error:",
        "    print(error)",
    )
    assert "pip install 'stepflow[otel]'" in printed


def test_the_failures_of_a_provider_are_logged_as_warnings(caplog):
    caplog.set_level(logging.WARNING, "stepflow")
    with Engine("memory://", clock=VirtualClock(), instrument=providers("everything")) as engine:
        engine.start(CHAIN, Order())
    assert {r.levelno for r in caplog.records} == {logging.WARNING}
