"""Retention: runs that ended long ago are deleted with their history and events; open runs never are."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from stepflow import Engine, NotFound, Status, named
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.engine.clock import Clock
from tests.engine.flows import Flaky, Order, chain


def test_prune_deletes_ended_runs_only(engine, clock):
    done, failed = chain("done", "a"), named("failed", Order).do("f", Flaky(1)).compile()
    waiting = named("waiting", Order).wait_event("w", "paid", int, lambda _o, _p: None).compile()
    engine.register(done, failed, waiting)
    runs = {flow.name: engine.start(flow, Order(), id=flow.name) for flow in (done, failed, waiting)}
    runs["cancelled"] = engine.start(done, Order(), id="cancelled")
    runs["cancelled"].cancel()
    runs["waiting"].publish("other", 1)
    engine.run_until_idle()
    runs["queued"] = engine.start(chain("nobody", "a"), Order(), id="queued")
    clock.advance(timedelta(days=30))
    assert engine.prune(timedelta(days=30)) == 0  # ended 30 days ago, not longer
    clock.advance(0.000001)
    assert engine.prune(timedelta(days=30)) == 3
    assert {run.id for run in engine.runs()} == {"waiting", "queued"}
    for name in ("done", "failed", "cancelled"):
        with pytest.raises(NotFound):
            runs[name].history()
    assert engine.prune(timedelta(0)) == 0
    runs["waiting"].publish("paid", 1)
    assert engine.run_until_idle().completed == 1


def test_a_pruned_id_can_be_started_again_and_revisions_go_on(engine, clock):
    flow = chain("x", "a")
    engine.register(flow)
    before = engine.start(flow, Order(1), id="one")
    engine.run_until_idle()
    rev = before.info().rev
    clock.advance(1)
    assert engine.prune(timedelta(0)) == 1
    run = engine.start(flow, Order(2), id="one")
    assert run.info().rev > rev
    engine.run_until_idle()
    assert run.result() == Order(2, ["a"])
    assert len(run.history()) == 2


def test_a_redriven_run_is_safe(engine, clock):
    flow = named("x", Order).do("f", Flaky(1)).wait_event("w", "paid", int, lambda _o, _p: None).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    run.redrive()
    engine.run_until_idle()
    clock.advance(timedelta(days=99))
    assert engine.prune(timedelta(days=1)) == 0
    assert run.status() is Status.WAITING


class LateClock(Clock):
    """The time of another clock, some days later; with real threads, so that the worker prunes automatically."""

    def __init__(self, days: int) -> None:
        from stepflow.engine.clock import SystemClock

        self._clock, self._ahead = SystemClock(), days * 86_400_000_000

    def now(self) -> int:
        return self._clock.now() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def random_bytes(self, n: int) -> bytes:
        return self._clock.random_bytes(n)


class Swept(Driver, Maintenance):
    """Forwards all calls to a driver, and reports when the pruner has found no more runs."""

    def __init__(self, driver: Driver) -> None:
        self.url, self._driver, self.over = driver.url, driver, threading.Event()

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        return self._driver.connect(namespace, owner, now)

    def maintenance(self, namespace: str) -> Maintenance:
        self._port = self._driver.maintenance(namespace)
        return self

    def prune(self, before: int, limit: int) -> int:
        deleted = self._port.prune(before, limit)
        if not deleted:
            self.over.set()
        return deleted

    def check(self) -> list[str]:
        return self._port.check()


@pytest.mark.parametrize(("keep", "days", "kept"), [(30, 31, False), (30, 29, True), (None, 999, True)])
def test_a_worker_prunes_by_itself(store, keep, days, kept):
    flow = chain("x", "a")
    options: dict[str, Any] = {"retention": None if keep is None else timedelta(days=keep)}
    with Engine(store, **options) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="old")
        engine.run_until_idle()
    swept = Swept(store)
    with Engine(swept, clock=LateClock(days), **options) as engine:
        engine.register(flow)
        with engine.worker():
            engine.start(flow, Order(), id="new").result(timeout=20)
            assert keep is None or swept.over.wait(20)
        assert [run.id for run in engine.runs()] == (["new", "old"] if kept else ["new"])
