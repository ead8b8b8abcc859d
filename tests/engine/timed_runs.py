"""Flows whose runs wait long, and what is to hold of a run that its time limit has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from stepflow import (
    RetryPolicy,
    Run,
    RunInfo,
    Status,
    named,
)
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.store import Store
from tests.engine.flows import Broken, Order, note

WAIT_S, HOUR = 60.0, timedelta(hours=1)
FAR = 1 << 61


def open_ends(session: Callable[[str], Store]) -> list[str]:
    """The runs that are to end at some time."""
    rows = session(f"reader {uuid4()}").read(ScheduleQuery(until=FAR))
    return [row.id[1:] for row in rows]


def begun_in_time(start: Callable[[float], Run[Any]], begun: threading.Event) -> tuple[Run[Any], float]:
    """A run of this limit in seconds that a worker has begun before its end; with a longer one where the machine is too busy for a short one."""
    for limit in (0.3, 1.5, 6.0, 24.0):
        run = start(limit)
        while not begun.wait(0.01) and not run.status().final:
            pass
        if begun.is_set():
            return run, limit
    raise AssertionError("no run was begun before its end")


def wait_for_end(run: Run[Any]) -> None:
    """Wait until the time limit of the run, which is open, is over."""
    ends, tick = run.info().ends_at, threading.Event()
    assert ends is not None
    while datetime.now(UTC) < ends + timedelta(seconds=0.1):
        tick.wait(0.01)


def ended(run: Run[Any], text: str = "the run did not end within 1 h, its run_timeout") -> RunInfo:
    """The info of a run that its limit has ended."""
    info = run.info()
    assert info.status is Status.FAILED, info
    assert info.error is not None
    assert (info.error.type, info.error.message[: len(text)], info.error.traceback) == ("TimedOut", text, "")
    assert (info.due, info.ends_at, info.waiting_for) == (None, None, "")
    return info


def waiting_flow(kind: str) -> Any:
    """A flow whose runs go on by themselves only after a long time, or not at all."""
    base: Any = named("x", Order).do("a", note("a"))
    match kind:
        case "event":
            return base.wait_event("w", "paid", int, lambda _o, _p: None).compile()
        case "event with time limit":
            return base.wait_event("w", "paid", int, lambda _o, _p: None, timeout=timedelta(days=3)).compile()
        case "poll":
            return base.wait_for("w", lambda: False, every=7200).compile()
        case "back-off":
            retry = RetryPolicy(max_attempts=9, delay=7200, factor=1, max_delay=7200, jitter=0)
            return base.do("b", broken).compile(retry=retry)
    raise AssertionError(kind)


def broken() -> None:
    raise Broken("again")


WAITS = ["event", "event with time limit", "poll", "back-off"]
