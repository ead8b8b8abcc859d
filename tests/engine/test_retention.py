"""Retention: runs that ended long ago are deleted with their history and events; open runs never are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from stepflow import Engine, NotFound, ReadOnly, RunExists, Status, StepflowError, named
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.pruning import Pruned
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.engine.clock import Clock, SystemClock
from stepflow.engine.worker import retention
from stepflow.engine.worker.retention import Pruner
from stepflow.testing import VirtualClock
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

    follows_store = False

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

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        yield from self._port.pruning(before, limit, now=now, keep_until=keep_until)
        self.over.set()

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
            engine.start(flow, Order(), id="new").result(timeout=60)
            assert keep is None or swept.over.wait(60)
        assert [run.id for run in engine.runs()] == (["new", "old"] if kept else ["new"])


class Refusing(Swept):
    """Does not allow to prune; reports when that was tried twice."""

    tried = 0

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        self.tried += 1
        if self.tried == 2:
            self.over.set()
        raise ReadOnly("only others may prune")


def test_a_worker_that_may_not_prune_is_well_and_says_so_once(store, caplog):
    refusing = Refusing(store)
    with Engine(refusing, retention=timedelta(seconds=1)) as engine:
        engine.register(chain("x", "a"))
        with engine.worker():
            assert refusing.over.wait(60)
            assert engine.health().ok
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["old runs are not pruned from here: only others may prune"]


class Hanging(Swept):
    """A piece takes until `go_on`; tells when its pruning was closed."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        try:
            self.begun.set()
            self.go_on.wait(60)
            yield Pruned(1, 1)
            yield Pruned(1, 1)
        finally:
            self.over.set()


def test_a_pruning_that_is_cancelled_while_a_piece_hangs_ends_and_is_closed_behind_the_piece(store, monkeypatch):
    """For long after a cancellation a server may not answer; a worker that stops waits for the end of its pruning."""
    monkeypatch.setattr(retention, "LAST_PIECE_S", 0.0)
    hanging = Hanging(store)

    async def test() -> None:
        pruner = Pruner(hanging.maintenance, "", SystemClock(), timedelta(days=1))
        task = asyncio.create_task(pruner.run())
        try:
            assert await asyncio.to_thread(hanging.begun.wait, 60)
            task.cancel()
            await asyncio.wait([task], timeout=60)
            assert task.cancelled()
            assert pruner.guard.health.failures == 0
            assert not hanging.over.is_set()
        finally:
            hanging.go_on.set()
        assert await asyncio.to_thread(hanging.over.wait, 60)

    asyncio.run(test())


def test_an_id_that_is_kept_is_not_done_again_and_says_why(store, clock):
    flow = chain("x", "a")
    with Engine(store, clock=clock, keep=timedelta(days=1), keep_ids=timedelta(days=9)) as engine:
        engine.register(flow)
        engine.start(flow, Order(1), id="one")
        engine.run_until_idle()
        clock.advance(timedelta(days=2))
        assert engine.prune(timedelta(days=1)) == 1
        for start in (
            lambda: engine.start(flow, Order(1), id="one"),
            lambda: engine.start_many(flow, [("two", Order(2)), ("one", Order(1))]),
        ):
            with pytest.raises(RunExists, match=r"'one' ended, was pruned, .* kept until 2000-01-12T.*\(keep_ids=\)"):
                start()
        assert engine.run_until_idle().completed == 1
        with pytest.raises(NotFound):
            engine.get("one").publish("e", 1)
        clock.advance(timedelta(days=9))
        assert engine.prune(timedelta(days=1)) == 1
        assert engine.start(flow, Order(1), id="one").status() is Status.QUEUED


@pytest.mark.parametrize("many", [False, True])
def test_an_id_is_free_when_its_time_is_over_whether_or_not_anything_prunes(store, clock, many):
    flow = chain("x", "a")
    with Engine(store, clock=clock, keep=timedelta(days=1), keep_ids=timedelta(days=9)) as engine:
        engine.register(flow)
        engine.start_many(flow, [(run_id, Order(1)) for run_id in ("one", "two")])
        engine.run_until_idle()
        clock.advance(timedelta(days=2))
        assert engine.prune(timedelta(days=1)) == 2
        clock.advance(timedelta(days=9) - timedelta(microseconds=1))
        with pytest.raises(RunExists):
            engine.start(flow, Order(1), id="one")
        clock.advance(timedelta(microseconds=1))
        runs = (
            engine.start_many(flow, [("one", Order(1)), ("two", Order(2))])
            if many
            else [engine.start(flow, Order(1), id="one"), engine.start(flow, Order(2), id="two")]
        )
        assert engine.run_until_idle().completed == 2
        assert [run.status() for run in runs] == [Status.COMPLETED] * 2


def test_what_was_deleted_is_reported_after_each_transaction(engine, clock):
    flow = chain("x", "a", "b")
    engine.register(flow)
    engine.start_many(flow, [(None, Order()) for _n in range(3)])
    engine.run_until_idle()
    clock.advance(1)
    reports: list[tuple[int, int]] = []
    assert engine.prune(timedelta(0), lambda runs, revisions: reports.append((runs, revisions))) == 3
    assert reports[-1] == (3, 9)


@pytest.mark.parametrize("keep_s", [0, 1, 20, 600, 3600, 86_400, 2_592_000])
def test_runs_are_kept_ten_percent_longer_at_most(keep_s):
    pruner = Pruner(MemoryDriver().maintenance, "", VirtualClock(), timedelta(seconds=keep_s))
    assert pruner.every_s <= max(keep_s / 10, 0.1)
    assert pruner.every_s >= 0.1


def test_keep_and_retention_are_one_option(store):
    with pytest.raises(StepflowError, match="two names of one option"):
        Engine(store, keep=timedelta(days=1), retention=timedelta(days=1))
