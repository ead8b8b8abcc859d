"""The first step of a blocking engine's call is made before the loop runs; most calls need no more."""

from __future__ import annotations

import math
import threading

from stepflow import Engine, Status
from stepflow.engine.threads import loop_thread
from stepflow.engine.threads.caller_loop import CallerLoop
from tests.engine.flows import Order, chain

WAIT_S = 60.0


def test_a_call_that_waits_for_nothing_does_not_run_the_loop(store, monkeypatch):
    turns: list[int] = []
    run_once = CallerLoop.run_forever
    monkeypatch.setattr(loop_thread, "TURN_S", math.inf)
    monkeypatch.setattr(CallerLoop, "run_forever", lambda loop: (turns.append(1), run_once(loop))[1])
    flow = chain("x", "a")
    with Engine(store) as engine:
        engine.register(flow)
        turns.clear()
        run = engine.start(flow, Order())
        assert run.info().status is Status.QUEUED
        assert [found.id for found in engine.runs()] == [run.id]
        assert not turns
        engine.run_until_idle()
        ran = len(turns)
        assert 0 < ran < 4
        assert run.result() == Order(1, ["a"])
        assert len(turns) == ran


def test_timers_fire_although_no_call_waits_for_anything(store):
    fired = threading.Event()
    with Engine(store) as engine:
        loop = engine._loop_thread._loop
        loop.call_later(0.001, fired.set)
        until = loop.time() + WAIT_S
        while not fired.is_set() and loop.time() < until:
            assert engine.tally() == {}
        assert fired.is_set()
