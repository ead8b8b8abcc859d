"""Signals that come while a call of a blocking engine begins, waits, or ends: the engine stays usable, and handlers stay in place."""

from __future__ import annotations

import _signal
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepflow import Engine, Status, current, named
from stepflow.engine.threads import loop_thread
from tests.engine.flows import Order, chain
from tests.engine.test_caller import WAIT_S, in_thread


def test_a_signal_while_work_is_given_to_the_thread_leaves_the_engine_usable(store, monkeypatch):
    flow, entered = chain("x", "a", "b"), threading.Event()
    give = loop_thread.future_of

    def interrupted(make: Any, loop: Any) -> Any:
        given = give(make, loop)
        monkeypatch.undo()
        assert entered.wait(WAIT_S)
        signal.raise_signal(signal.SIGINT)
        return given

    with Engine(store) as engine:
        engine.register(flow)
        lifetime = engine._engine._session.lifetime
        began = lifetime.work_began

        def noted() -> None:
            began()
            entered.set()

        waiting = engine.start(flow, Order(), id="one")
        lifetime.work_began = noted  # type: ignore[method-assign]
        with in_thread(lambda: waiting.result(WAIT_S)):
            while not (engine._loop_thread._awaited or engine._loop_thread._caller):
                threading.Event().wait(0.001)
            engine.tally()  # from now on the thread runs the loop
            monkeypatch.setattr(loop_thread, "future_of", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.run_until_idle()
            engine.run_until_idle()
        assert waiting.status() is Status.COMPLETED
        assert not engine._loop_thread._awaited


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_what_a_handler_raises_in_a_long_step_is_raised_although_the_loop_moved(store, number):
    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    def step() -> None:
        moved = engine._loop_thread
        while not (moved._threaded and moved._runs):
            threading.Event().wait(0.001)
        signal.raise_signal(number)

    flow, before = named("x", Order).do("a", step).compile(), signal.signal(number, stop)
    try:
        with Engine(store) as engine:
            engine.register(flow)
            engine.start(flow, Order(), id="one")
            with pytest.raises(Stopped):
                engine.run_until_idle()
    finally:
        signal.signal(number, before)


def test_a_handler_that_raises_while_handlers_are_replaced_leaves_all_of_them_as_they_were(store, monkeypatch):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before, place = [signal.getsignal(number) for number in numbers], _signal.signal

    def interrupted(number: Any, handler: Any) -> Any:
        replaced = place(number, handler)
        if handler is stop:
            monkeypatch.undo()
            signal.raise_signal(number)
        return replaced

    def stop(*_: object) -> None:
        raise InterruptedError

    place(signal.SIGTERM, stop)
    place(signal.SIGALRM, stop)
    try:
        with Engine(store) as engine:
            monkeypatch.setattr(_signal, "signal", interrupted)
            with pytest.raises(InterruptedError):
                engine.tally()
            assert [signal.getsignal(number) for number in numbers] == [signal.default_int_handler, stop, stop]
            assert engine.tally() == {}
            with pytest.raises(InterruptedError):
                signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_signal_just_before_a_step_interrupts_the_step(store):
    def step() -> None:
        assert not threading.Event().wait(WAIT_S)

    flow = named("x", Order).do("a", step).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        threads = engine._engine._session.executor._pool
        do = threads.do

        def interrupted(work: Callable[[], None]) -> None:
            signal.raise_signal(signal.SIGINT)
            do(work)

        threads.do = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        assert run.status() is Status.QUEUED


def test_the_next_call_waits_for_the_work_that_an_interrupt_ends(store):
    release, begun = threading.Event(), threading.Barrier(2)

    def step() -> None:
        if begun.wait(WAIT_S) == 0:
            os.kill(os.getpid(), signal.SIGINT)
        assert release.wait(WAIT_S)

    slow, quick = named("slow").do("a", step).compile(), chain("quick", "a")
    with Engine(store) as engine:
        engine.register(slow, quick)
        runs: list[Any] = [engine.start(slow) for _ in range(2)]  # in threads, because there are two
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        runs.append(engine.start(quick, Order()))
        threading.Timer(0.1, release.set).start()
        engine.run_until_idle()
        assert [run.status() for run in runs] == [Status.COMPLETED] * 3


@pytest.mark.parametrize("real", [True, False], ids=["real", "virtual"])
def test_an_interrupt_in_a_step_is_no_crash_of_its_run(store, clock, real):
    attempts: list[int] = []

    def step() -> None:
        attempts.append(current().attempt)
        if len(attempts) == 1:
            signal.raise_signal(signal.SIGINT)

    flow = named("x").do("a", step).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        assert (run.status(), run.info().crashes) == (Status.QUEUED, 0)
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED
    assert attempts == [1, 2]  # it was interrupted, which counts as an attempt of the step


def test_a_request_to_stop_that_came_before_the_work_does_not_end_the_next_work(store, monkeypatch):
    install = signal.signal

    def installed(number: int, handler: Any) -> Any:
        before = install(number, handler)
        if number == signal.SIGINT and signal.getsignal(signal.SIGTERM) == handler:  # `run_forever` has installed both
            monkeypatch.undo()
            signal.raise_signal(signal.SIGTERM)
        return before

    flow = chain("x", "a", "b")
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        monkeypatch.setattr(signal, "signal", installed)
        engine.run_forever()
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED
