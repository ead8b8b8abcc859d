"""A blocking engine's loop: the caller runs it and calls the steps; when more is to be done at once it is handed to a thread."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow import Engine, RunFailed, Status, StepflowError, named
from stepflow.engine import session as sessions
from tests.engine.flows import Order, chain, note

WAIT_S = 60.0
ME = threading.get_ident
_before: list[threading.Thread] = []  # threads that other tests have left behind


@pytest.fixture(autouse=True)
def before() -> None:
    _before[:] = threading.enumerate()


def ours() -> list[str]:
    started = [thread.name for thread in threading.enumerate() if thread not in _before]
    return sorted(name for name in started if name.startswith("stepflow-"))


def seen(where: list[int], *names: str) -> Any:
    flow = named("x", Order)
    for name in names:
        flow = flow.do(name, lambda order: where.append(ME()))
    return flow.compile()


@contextmanager
def in_thread(work: Callable[[], Any]) -> Iterator[list[Any]]:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    try:
        yield result
    finally:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_the_caller_does_everything_and_no_thread_is_started_but_the_watch(store, monkeypatch):
    monkeypatch.setattr("stepflow.engine.threads.loop_thread.TICK_S", WAIT_S)  # a disk may take longer for a commit
    where: list[int] = []
    flow = seen(where, "a", "b", "c")
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        assert set(ours()) <= {"stepflow-postgres-listen"}  # that of the store
        assert engine.run_until_idle().completed == 1
        assert run.result(WAIT_S) == Order()
        assert where == [ME()] * 3
        assert set(ours()) <= {"stepflow-loop", "stepflow-heartbeat", "stepflow-changes", "stepflow-postgres-listen"}
    assert ours() == []


def test_several_runs_are_advanced_by_threads_at_the_same_time(store):
    meet = threading.Barrier(3)
    flow = named("x", Order).do("a", lambda: meet.wait(WAIT_S) and None).compile()
    with Engine(store) as engine:
        engine.register(flow)
        for n in range(3):
            engine.start(flow, Order(), id=f"{n}")
        assert engine.run_until_idle().completed == 3


def test_a_step_that_lasts_gives_the_loop_to_other_callers_and_other_runs(store):
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    slow = named("slow", Order).do("wait", wait).do("next", lambda: None).compile()
    quick = named("quick", Order).do("a", go_on.set).compile()

    with Engine(store) as engine:
        engine.register(slow, quick)
        run = engine.start(slow, Order(), id="slow")

        def other() -> str:
            assert begun.wait(WAIT_S)
            assert run.status() is Status.RUNNING
            return engine.start(quick, Order(), id="quick").result(WAIT_S) and "ended"

        with in_thread(other) as result:
            idle = engine.run_until_idle()
        assert result == ["ended"]
        assert idle.completed == 2


def test_a_timer_fires_although_the_caller_is_in_a_step(store):
    """Nobody calls meanwhile: the thread notices that the step lasts, and takes the loop."""
    fired = threading.Event()
    slow = named("slow", Order).do("wait", lambda: None if fired.wait(WAIT_S) else 1 / 0).compile()
    late = named("late", Order).do("fire", fired.set).compile()
    with Engine(store) as engine:
        engine.register(slow, late)
        engine.start(slow, Order(), id="slow")
        engine.start(late, Order(), id="late", at=datetime.now(UTC) + timedelta(seconds=0.3))
        assert engine.run_until_idle().failed == 0
        assert fired.is_set()


def test_a_step_may_call_its_engine(store):
    child = chain("child", "a")
    with Engine(store) as engine:

        def start_and_wait(order: Order) -> None:
            order.log += engine.start(child, Order(), id="child").result(WAIT_S).log

        parent = named("parent", Order).do("child", start_and_wait).compile()
        engine.register(parent, child)
        run = engine.start(parent, Order())
        assert engine.run_until_idle().completed == 2
        assert run.result(WAIT_S).log == ["a"]
        where: list[int] = []
        flow = seen(where, "a")
        engine.register(flow)
        while ME() not in where:  # the loop is given back when the thread has nothing to do
            engine.start(flow, Order())
            assert engine.run_until_idle().completed == 1


def test_many_threads_share_one_engine(store):
    flow = chain("x", "a", "b")
    with Engine(store) as engine:
        engine.register(flow)

        def client(first: int) -> int:
            ended = 0
            for n in range(first, first + 20):
                run = engine.start(flow, Order(), id=f"{n}")
                engine.get(f"{n}").status()
                ended += len(run.result(WAIT_S).log)
            return ended

        with engine.worker():
            results: list[list[int]] = []
            with in_thread(lambda: client(100)) as one, in_thread(lambda: client(200)) as two:
                results += [one, two]
                assert client(300) == 40
            assert results == [[40], [40]]
        assert engine.tally()["x"] == {"completed": 60}


def test_a_background_worker_goes_on_between_two_calls(store):
    done, where = threading.Event(), []

    def step() -> None:
        where.append(ME())
        done.set()

    flow = named("x", Order).do("a", step).compile()
    with Engine(store) as engine:
        engine.register(flow)
        with engine.worker():
            engine.start(flow, Order())
            assert done.wait(WAIT_S)
        assert where != [ME()]


def test_context_variables_that_a_step_sets_are_seen_by_the_next_one_and_not_by_the_caller(store):
    var: ContextVar[str] = ContextVar("var", default="none")
    flow = (
        named("x", Order).do("a", lambda: var.set("step") and None).do("b", lambda o: o.log.append(var.get())).compile()
    )
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        engine.run_until_idle()
        assert run.result(WAIT_S).log == ["step"]
        assert var.get() == "none"


def test_an_engine_works_where_another_loop_runs(store):
    """As in a notebook: the calling thread's loop stands still during the call."""
    flow = chain("x", "a")

    async def cell() -> list[str]:
        with Engine(store) as engine:
            engine.register(flow)
            run = engine.start(flow, Order())
            engine.run_until_idle()
            return run.result(WAIT_S).log

    assert asyncio.run(cell()) == ["a"]
    assert ours() == []


def test_a_step_may_run_a_loop_of_its_own(store):
    async def inner() -> str:
        return "inner"

    flow = named("x", Order).do("a", lambda order: order.log.append(asyncio.run(inner()))).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        engine.run_until_idle()
        assert run.result(WAIT_S).log == ["inner"]


def test_what_a_signal_handler_raises_in_a_step_is_no_error_of_the_run(store):
    calls: list[int] = []

    def step() -> None:
        calls.append(ME())
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not threading.Event().wait(WAIT_S)

    flow, before = named("x", Order).do("a", step).compile(), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, handler := lambda *_: sys.exit(3))
    try:
        with Engine(store) as engine:
            engine.register(flow)
            run = engine.start(flow, Order())
            with pytest.raises(SystemExit, match="3"):
                engine.run_until_idle()
            assert signal.getsignal(signal.SIGTERM) is handler
            assert run.status() is Status.QUEUED
            assert engine.run_until_idle().completed == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == [ME()] * 2


def test_ctrl_c_in_a_step_releases_the_run_and_is_raised(store):
    calls: list[int] = []

    def step(order: Order) -> None:
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            assert not threading.Event().wait(WAIT_S)
        order.log.append("a")

    flow = named("x", Order).do("a", step).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert run.status() is Status.QUEUED
        assert engine.run_until_idle().completed == 1
        assert run.result(WAIT_S).log == ["a"]


def test_ctrl_c_while_the_store_writes_is_raised_when_it_has_written(store):
    flow = chain("x", "a", "b")
    with Engine(store) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        session = engine._engine._session
        commit, interrupted = session.store.commit, []

        def interrupting(*args: Any, **options: Any) -> Any:
            if not interrupted:
                interrupted.append(1)
                os.kill(os.getpid(), signal.SIGINT)
            return commit(*args, **options)

        session.store.commit = interrupting  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
    with Engine(store) as engine:
        engine.register(flow)
        engine.run_until_idle()  # unless the first engine has ended it while it closed
        assert engine.get(flow, "one").result(WAIT_S).log == ["a", "b"]


def test_ctrl_c_ends_a_wait_for_a_result(store):
    flow = chain("x", "a")
    with Engine(store) as engine:
        run = engine.start(flow, Order(), id="one")
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            run.result(WAIT_S)
        assert run.status() is Status.QUEUED


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt("enough")])
def test_what_a_step_raises_does_not_break_the_loop(store, raised):
    first = [1]

    def step() -> None:
        if first:
            first.clear()
            raise raised

    flow = named("x", Order).do("a", step).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        if isinstance(raised, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt, match="enough"):
                engine.run_until_idle()
            assert engine.run_until_idle().completed == 1
        else:
            assert engine.run_until_idle().failed == 1
            with pytest.raises(RunFailed, match="SystemExit"):
                run.result(WAIT_S)


def test_a_step_goes_on_in_the_callers_thread_if_no_thread_can_be_started(store, monkeypatch):
    where: list[int] = []
    flow = seen(where, "a", "b")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Engine(store) as engine:
        engine.register(flow)
        engine.start(flow, Order())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert engine.run_until_idle().completed == 1
    assert where == [ME()] * 2


def test_a_forked_child_that_ends_leaves_its_parents_loop_alone(tmp_path):
    program = f"""
        import gc, os, sys
        from stepflow import Engine, named
        flow = named("x").do("a", lambda: None).compile()
        engine = Engine("sqlite:///{tmp_path}/x.db")
        with engine:
            engine.register(flow)
            engine.start(flow, id="one")
            if (pid := os.fork()) == 0:
                engine.__exit__(None, None, None)
                del engine
                gc.collect()
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            with engine.worker():
                print(engine.get("one").result(timeout=60))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "None\n")


def test_no_step_begins_after_the_timeout_and_the_next_call_goes_on(store):
    timed_out = threading.Event()

    def until_timeout(order: Order) -> None:
        order.log.append("a")
        assert timed_out.wait(WAIT_S)

    flow = named("x", Order).do("a", until_timeout).do("b", note("b")).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        worker = engine._engine._session.worker
        quit_worker = worker.quit
        worker.quit = lambda: (quit_worker(), timed_out.set())  # type: ignore[method-assign]
        idle = engine.run_until_idle(timeout=0.05)
        assert (idle.completed, run.status()) == (0, Status.QUEUED)
        assert idle.next_due is not None
        assert engine.run_until_idle(timeout=WAIT_S).completed == 1
        assert run.result(WAIT_S).log == ["a", "b"]


def test_a_timeout_that_is_none_is_refused(store):
    with Engine(store) as engine, pytest.raises(StepflowError, match="give seconds or a timedelta"):
        engine.run_until_idle(timeout="soon")  # type: ignore[arg-type]


def test_a_step_that_outlasts_the_timeout_and_the_grace_does_not_keep_the_caller(store, monkeypatch):
    monkeypatch.setattr(sessions, "GRACE_S", 0.05)
    go_on = threading.Event()
    flow = named("x", Order).do("a", lambda: None if go_on.wait(WAIT_S) else 1 / 0).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        assert engine.run_until_idle(timeout=0.05).completed == 0
        assert not go_on.is_set()
        assert run.status() is Status.QUEUED
        go_on.set()
