"""One trace over several processes: the one that asks for a run, the one that is killed in a step, and the one that goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine
from tests.instrument.told import Told
from tests.processes.harness import Nursery
from tests.processes.traced import chain, signup


def spans_of(path: Path) -> list[dict[str, Any]]:
    """The spans that a process wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def request(told: Told) -> Any:
    """The span of a request of an application."""
    return told.tracers.get_tracer("app").start_as_current_span("request")


@pytest.mark.parametrize("style", ["chain", "workflow"])
def test_a_run_that_outlives_its_process_is_one_trace(nursery: Nursery, style: str, tmp_path: Path) -> None:
    told = Told()
    with Engine(nursery.url, instrument=told.instrument) as engine, request(told):
        if style == "chain":
            engine.start(chain, {}, id="one")
        else:
            engine.start(signup, 1, id="one")
    started = told.spans()[-1]
    assert told.parent(started) == "request"
    assert started.context is not None
    first = nursery.run("first", "tests.processes.traced", "first", nursery.url)
    nursery.log.wait(what="waits")
    first.kill()
    nursery.gate.open()
    second = nursery.run("second", "tests.processes.traced", "second", nursery.url)
    assert second.wait() == 0, second.stderr()
    before, after = spans_of(tmp_path / "first.spans"), spans_of(tmp_path / "second.spans")
    trace = f"0x{started.context.trace_id:032x}"
    assert {span["context"]["trace_id"] for span in before + after} == {trace}
    flow = "order" if style == "chain" else "signup"
    attempts = [span for span in before + after if span["name"] == f"attempt {flow}"]
    assert {span["parent_id"] for span in attempts} == {f"0x{started.context.span_id:016x}"}
    interrupted = "stepflow.interrupted"
    taken_over = [span for span in attempts if any(event["name"] == interrupted for event in span["events"])]
    (event,) = [event for span in attempts for event in span["events"] if event["name"] == interrupted]
    assert event["attributes"]["stepflow.unfinished"] == 1
    steps = [span for span in after if span["name"].startswith("step ")]
    assert [span["attributes"]["stepflow.step"] for span in steps] == ["wait", "last"]
    assert steps[0]["parent_id"] == taken_over[0]["context"]["span_id"]
    assert [span["attributes"]["stepflow.step"] for span in before if span["name"].startswith("step ")] == ["first"]
    told.close()
