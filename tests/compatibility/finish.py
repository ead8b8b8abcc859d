"""Brings every run of the stores to its end: takes over from dead owners, publishes, redrives, moves States, lets time pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from stepflow import Engine, StateCtx, commit, transit
from stepflow.testing import VirtualClock
from tests.compatibility import flows

NAMESPACES = ("", "tenant-b", "crashes")
SILENCE_S = 11  # an owner that shows no life for longer than 10 s is dead
AT = datetime(2025, 1, 6, 8, 30, tzinfo=UTC)
BOB = flows.Signature("Bob", AT)

EVENTS: dict[str, list[tuple[str, str, Any, str]]] = {
    "": [
        ("approval", "order.approved", "by Ada", "letter-1"),
        ("unsigned", "signed", flows.Signature("Ada", AT), "first"),
        ("unsigned", "signed", BOB, "second"),
        ("half-signed", "signed", flows.Signature("Eve", AT), "first"),  # it took an event of this id already
        ("half-signed", "signed", BOB, "second"),
        ("server", "server.ready", "server 1", "server-1"),
        ("looping", "next", "go on", "next-1"),
    ],
    "tenant-b": [("unsigned", "signed", BOB, "first"), ("unsigned", "signed", BOB, "second")],
    "crashes": [],
}
FAILED = {"": ("failed", "mail-failed"), "tenant-b": (), "crashes": ()}
CARRIERS = {"": ("question", "question-data"), "tenant-b": (), "crashes": ()}


def take_over(engine: Engine, clock: VirtualClock) -> None:
    """Do what is due, and what dead owners held."""
    engine.run_until_idle()
    clock.advance(SILENCE_S)
    engine.run_until_idle()


def publish(engine: Engine, namespace: str) -> None:
    """Give the runs the events that they wait for."""
    for run, name, payload, id_ in EVENTS[namespace]:
        engine.get(run).publish(name, payload, id=id_)


def finish(engine: Engine, clock: VirtualClock, namespace: str) -> None:
    """All of it, until nothing is scheduled any more."""
    engine.register(*flows.ALL)
    take_over(engine, clock)
    publish(engine, namespace)
    for run in FAILED[namespace]:
        engine.get(run).redrive()
    for carrier in CARRIERS[namespace]:
        ctx: StateCtx = engine.get_state(carrier)
        engine.do(commit(transit(ctx, "answer.v1")))
        engine.execute(ctx)
    engine.run_until_idle(advance=True)
