"""broadcast: every run with the labels that exists and has not ended gets the event, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepflow import Context, Engine, MemoryDriver, StepflowError, workflow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.engine.commit import broadcast
from stepflow.testing import VirtualClock


@workflow("w")
def flow(wf: Context) -> int:
    return wf.wait_for_event("e", "price", int)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return MemoryDriver() if request.param == "memory" else SqliteDriver(tmp_path / "runs.db")


def test_it_reaches_the_runs_that_have_the_labels_and_have_not_ended(
    store: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "AT_ONCE", 3)
    with Engine(store, clock=VirtualClock()) as engine:
        engine.register(flow)
        mine = engine.start_many(flow, [(f"a{n}", None) for n in range(8)], labels={"tenant": "a", "zone": "x"})
        others = [engine.start(flow, id="b", labels={"tenant": "b"}), engine.start(flow, id="none")]
        mine[3].publish("price", 1)
        mine[4].cancel()
        engine.run_until_idle()
        assert engine.broadcast({"tenant": "a"}, "price", 7, id="one") == 6
        assert engine.broadcast({"tenant": "a"}, "price", 7, id="one") == 6
        assert engine.broadcast({"tenant": "a", "zone": "y"}, "price", 8) == 0
        later = engine.start(flow, id="later", labels={"tenant": "a"})
        engine.run_until_idle()
        assert [run.result() for run in mine if run.id != "a4"] == [7, 7, 7, 1, 7, 7, 7]
        assert {run.status() for run in [*others, later]} == {"waiting"}


def test_a_run_that_ends_or_is_started_meanwhile(store: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "AT_ONCE", 2)
    with Engine(store, clock=VirtualClock()) as engine:
        engine.register(flow)
        labels = {"tenant": "a"}
        engine.start_many(flow, [(f"a{n}", None) for n in range(5)], labels=labels)
        session = engine._engine._session
        give = broadcast.Broadcast._give
        calls: list[int] = []

        async def meanwhile(self: Any, events: Any) -> None:
            if not calls:
                calls.append(1)
                await session.client.cancel(events[0].run_id)
                await engine._engine.start(flow, id="new", labels=labels)
            await give(self, events)

        monkeypatch.setattr(broadcast.Broadcast, "_give", meanwhile)
        assert engine.broadcast(labels, "price", 3) == 5
        engine.run_until_idle()
        assert engine.get(flow, "new").result() == 3
        assert engine.tally() == {"w": {"completed": 5, "cancelled": 1}}


@pytest.mark.parametrize(("labels", "name"), [({}, "price"), ({"a": 1}, "price"), (None, "price"), ({"a": "b"}, "")])
def test_wrong_uses_are_refused(labels: Any, name: str) -> None:
    with Engine("memory://") as engine, pytest.raises(StepflowError):
        engine.broadcast(labels, name)
