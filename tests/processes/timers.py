"""Delays with several workers, for any store: each fires once, and soon after its time."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any

from stepflow import Engine, StateCtx, delay, transit
from stepflow import commit as committed
from tests.processes.harness import Nursery


def fire(
    nursery: Nursery, *, delays: int, workers: int, apart_s: float, early_s: float = 0.0, **options: Any
) -> list[float]:
    """Delays that are due one after another, two at a time, with a commit and without: how late each fired.

    None may fire earlier than by `early_s`, which is for the error of an engine that reads its store's clock.
    """
    staff = [nursery.spawn("forever", "late", **options) for _ in range(workers)]
    for child in staff:
        nursery.log.wait(what="ready", who=child.name)
    with Engine(nursery.url) as engine:
        begin = datetime.now(UTC) + timedelta(seconds=1)
        for number in range(delays):
            ctx, due = StateCtx(f"d{number}"), begin + timedelta(seconds=number // 2 * apart_s)
            if number % 2:
                engine.do(committed(transit(ctx, "elsewhere"), delay(ctx, "late", due)))
            else:
                engine.do(delay(ctx, "late", due, commit=False))
        fired = nursery.log.wait(delays, what="fired")
        nursery.log.pause(0.5)  # for a second time that must not come
        assert len(nursery.log.entries("fired")) == delays
        assert {entry.run for entry in fired} == {f"d{n}" for n in range(delays)}
    for child in staff:
        child.send(signal.SIGTERM)
        assert child.wait() == 0, child.stderr()
    late = [entry.note for entry in fired]
    show(late)
    assert min(late) >= -early_s
    return late


def show(late: list[float]) -> None:
    """Print how late delays fired."""
    print(
        f"late by {median(late) * 1e3:.1f} ms, p95 {quantiles(late, n=20)[-1] * 1e3:.1f} ms, most {max(late) * 1e3:.1f}"
    )
