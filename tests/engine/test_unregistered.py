"""An engine that has registered no flow says so once, beside runs that it cannot advance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stepflow import Engine, named
from stepflow.model.flow import Flow
from stepflow.testing import VirtualClock

Warned = Callable[[], list[str]]


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Warned:
    return lambda: [one.getMessage() for one in caplog.records if getattr(one, "event", "") == "unregistered"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def flow(name: str) -> Flow[None, None]:
    return named(name).do("go", lambda: None).wait_event("said", "said", str, lambda _text: None).compile()


def test_the_flows_are_named_once_with_the_most_runs_first(store: str, warned: Warned) -> None:
    with Engine(store, clock=VirtualClock()) as engine:
        for number in range(7):
            for run in range(number + 1):
                engine.start(flow(f"f{number}"), id=f"{number}-{run}")
        idle = engine.run_until_idle()
        assert (idle.completed, idle.failed, engine.run_until_idle()) == (0, 0, idle)
        most = ", ".join(f"{number + 1} of flow 'f{number}'" for number in (6, 5, 4, 3, 2))
        (text,) = warned()
        assert text.startswith("run_until_idle() advances no run: no flow is registered in this engine; the store has ")
        assert text.endswith(f"{most}, those of 2 more flows: call engine.register(FLOW) before")
    with Engine(store, clock=VirtualClock()) as engine:
        engine.run_until_idle()
        assert len(warned()) == 2  # once for each engine


def test_an_engine_that_has_registered_one_or_has_nothing_to_do_is_quiet(store: str, warned: Warned) -> None:
    said = flow("said")
    with Engine(store, clock=VirtualClock()) as engine:
        engine.run_until_idle()  # an empty store
        engine.register(said)
        run = engine.start(said, id="a")
        engine.start(flow("other"), id="b")
        engine.run_until_idle()
        run.publish("said", "x")
        engine.run_until_idle()
        engine.cancel(["b"], dry_run=False)
    with Engine(store, clock=VirtualClock()) as engine:  # runs that have ended
        engine.run_until_idle()
    assert warned() == []
