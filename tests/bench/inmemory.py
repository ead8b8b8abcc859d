"""Machines in memory: stepflow's `apply` beside the state machines of transitions and python-statemachine."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

STEPS = 10
NAMES = [f"s{n}" for n in range(STEPS)]


def _noop(*_: Any, **__: Any) -> None:
    return None


def _figures(done: int, spent: float) -> dict[str, Any]:
    return {"value": done / spent, "steps": done, "expected": done}


def applies(folder: Path, *, runs: int) -> dict[str, Any]:
    """Applies per second: each is one look-up and one call of a user function."""
    from stepflow import named

    chain = named("bench")
    for name in NAMES:
        chain = chain.do(name, lambda: None)
    flow, done = chain.compile(), 0
    began = perf_counter()
    for _ in range(runs):
        state: list[str] = []
        while not flow.is_completed(state):
            state = flow.apply(state)
            done += 1
    return _figures(done, perf_counter() - began)


def transitions(folder: Path, *, runs: int, callback: bool) -> dict[str, Any]:
    """Transitions per second around a ring of ten states, with or without a no-op callback per transition."""
    from transitions import Machine

    ring = [
        {"trigger": "go", "source": a, "dest": b, **({"after": _noop} if callback else {})}
        for a, b in zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True)
    ]
    machine = Machine(states=NAMES, transitions=ring, initial=NAMES[0], auto_transitions=False)
    go, began = machine.go, perf_counter()
    for _ in range(runs * STEPS):
        go()
    return _figures(runs * STEPS, perf_counter() - began)


def statemachine(folder: Path, *, runs: int) -> dict[str, Any]:
    """The same ring of ten states, without a callback."""
    from statemachine import State, StateMachine

    states = [State(name, initial=not n) for n, name in enumerate(NAMES)]
    go: Any = states[0].to(states[1])
    for a, b in zip(states[1:], [*states[2:], states[0]], strict=True):
        go |= a.to(b)
    ring = type("Ring", (StateMachine,), {**dict(zip(NAMES, states, strict=True)), "go": go})()
    began = perf_counter()
    for _ in range(runs * STEPS):
        ring.send("go")
    return _figures(runs * STEPS, perf_counter() - began)
