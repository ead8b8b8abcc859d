"""What a workflow does after it has caught something: no call after a problem that blocks the run, every call that undoes a cancel."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, Fernet, Status, workflow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock

made: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    made.clear()
    yield
    made.clear()


def note(name: str) -> str:
    made.append(name)
    return name


def pay() -> int:
    made.append("pay")
    raise KeyboardInterrupt


def named_pay() -> int:
    made.append("pay")
    return 1


def renamed_pay() -> int:
    made.append("paid again")
    return 1


def test_no_call_follows_an_outcome_that_is_unknown(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.execute("pay", pay, at_most_once=True)
        except Exception:
            return wf.execute("refund", note, "refund")
        return wf.execute("ship", note, "ship")

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        assert engine.run_until_idle(advance=True).blocked == 1
        assert made == ["pay"]
        run.resolve("pay", 1)
        engine.run_until_idle(advance=True)
        assert (run.result(), made) == ("ship", ["pay", "ship"])


def test_no_call_follows_a_replay_that_goes_another_way(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    async def old(wf: AsyncContext) -> str:
        await wf.execute("pay", named_pay)
        await wf.sleep("pause", 5)
        return await wf.execute("ship", note, "ship")

    @workflow("w")
    async def new(wf: AsyncContext) -> str:
        try:
            await wf.execute("pay", renamed_pay)
            await wf.sleep("pause", 5)
        except Exception:
            return await wf.execute("refund", note, "refund")
        return await wf.execute("ship", note, "ship")

    for flow, status in ((old, Status.SLEEPING), (new, Status.BLOCKED), (old, Status.COMPLETED)):
        with Engine(store, clock=clock) as engine:
            engine.register(flow)
            run = engine.start(old, id="one")
            engine.run_until_idle()
            clock.advance(6 if status is Status.SLEEPING else 60)
            if status is Status.COMPLETED:
                engine.run_until_idle()
                assert (run.status(), made) == (status, ["pay", "ship"])
            else:
                assert run.status() in (status, Status.QUEUED)


@pytest.mark.parametrize("way", ["gather", "map", "nested"])
def test_calls_side_by_side_undo_a_cancel(store: Driver, clock: VirtualClock, way: str) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        try:
            await wf.sleep("long", 1000)
        finally:
            if way == "map":
                await wf.map("undo", note, ["a", "b"])
            elif way == "gather":
                await wf.gather(wf.execute("a", note, "a"), wf.execute("b", note, "b"))
            else:
                await wf.gather(inner(wf), wf.execute("b", note, "b"))

    async def inner(wf: AsyncContext) -> None:
        await wf.gather(wf.execute("a", note, "a"))

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        run.cancel()
        engine.run_until_idle(advance=True)
        assert (run.status(), sorted(made)) == (Status.CANCELLED, ["a", "b"])


def test_a_map_in_a_sync_workflow_undoes_a_cancel(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        try:
            wf.sleep("long", 1000)
        finally:
            wf.map("undo", note, ["a", "b"])

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        run.cancel()
        engine.run_until_idle(advance=True)
        assert (run.status(), sorted(made)) == (Status.CANCELLED, ["a", "b"])


@pytest.mark.parametrize("way", ["map", "results"])
def test_what_undoes_a_cancel_of_many_calls_may_sleep(store: Driver, way: str) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @workflow("child")
    def child(wf: Context, _n: int) -> None:
        entered.set()
        wf.sleep("long", 10_000)

    def item(n: int) -> int:
        entered.set()
        assert go_on.wait(60)
        return n

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        try:
            if way == "map":
                await wf.map("a", item, range(3), width=1)
            else:
                await wf.results("r", await wf.start_children("c", child, [1, 2]))
        finally:
            await wf.execute("undo", note, "undo")
            await wf.sleep("pause", 0.05)
            await wf.execute("undo2", note, "undo2")

    with Engine(store) as engine:
        engine.register(flow, child)
        run = engine.start(flow, id="one")
        with engine.worker():
            assert entered.wait(60)
            run.cancel()
            while way == "map" and not run.info().cancel_requested:
                threading.Event().wait(0.01)
            go_on.set()
            with pytest.raises(Exception, match="cancelled"):
                run.result(timeout=60)
        assert (run.status(), made) == (Status.CANCELLED, ["undo", "undo2"])


def test_a_cancel_reaches_a_branch_that_waits_beside_a_step(store: Driver) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        entered.set()
        assert go_on.wait(60)
        return 1

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        try:
            await wf.gather(wf.wait_for_event("b", "e", int), wf.execute("a", slow))
        finally:
            await wf.execute("undo", note, "undo")

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with engine.worker():
            assert entered.wait(60)
            run.cancel()
            while not run.info().cancel_requested:
                threading.Event().wait(0.01)
            go_on.set()
            with pytest.raises(Exception, match="cancelled"):
                run.result(timeout=60)
        assert (run.status(), made) == (Status.CANCELLED, ["undo"])


def test_a_branch_undoes_all_while_another_one_has_not_heard_of_the_cancel(store: Driver) -> None:
    """The sync step of the other branch ends in the middle of the undoing."""
    entered, go_on, results = threading.Event(), threading.Event(), list[bool]()

    def slow() -> None:
        entered.set()
        assert go_on.wait(60)

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        ended = asyncio.Event()

        async def undo(number: int) -> None:
            note(f"undo {number}")
            if number == 1:
                go_on.set()
                await ended.wait()

        async def hang() -> None:
            await asyncio.Event().wait()

        async def undone() -> None:
            try:
                await wf.execute("hang", hang)
            finally:
                results.extend(one.ok for one in await wf.map("undo", undo, range(4), width=1))

        async def beside() -> None:
            try:
                await wf.execute("slow", slow)
                await wf.execute("next", note, "next")
            finally:
                ended.set()

        await wf.gather(undone(), beside())

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with engine.worker():
            assert entered.wait(60)
            run.cancel()
            with pytest.raises(Exception, match="cancelled"):
                run.result(timeout=60)
    assert results == [True] * 4
    assert made == [f"undo {number}" for number in range(4)]


@pytest.mark.parametrize("transacted", [True, False])
def test_a_sync_step_that_exits_the_program_fails_its_run_and_not_the_worker(tmp_path: Any, transacted: bool) -> None:
    def leave(*_: Any) -> int:
        sys.exit(3)

    @workflow("w")
    def flow(wf: Context) -> int:
        return wf.transaction("t", leave) if transacted else wf.execute("t", leave, timeout=20)

    with Engine(SqliteDriver(tmp_path / "runs.db")) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with engine.worker(), pytest.raises(Exception, match="SystemExit"):
            run.result(timeout=60)
        assert run.status() is Status.FAILED


def test_children_are_found_again_behind_continue_as_new_although_inputs_are_sealed(
    tmp_path: Any, clock: VirtualClock
) -> None:
    @workflow("child")
    def child(_wf: Context, n: int) -> int:
        return n

    @workflow("w")
    def flow(wf: Context, n: int) -> int:
        one = wf.start_child("kid", child, 7)
        if n < 1:
            wf.continue_as_new(n + 1)
        return wf.result("r", one)

    stages = [Fernet([Fernet.generate_key()])]
    with Engine(f"sqlite:///{tmp_path}/runs.db", clock=clock, payload=stages) as engine:
        engine.register(flow, child)
        run = engine.start(flow, 0)
        engine.run_until_idle(advance=True)
        assert run.result() == 7
