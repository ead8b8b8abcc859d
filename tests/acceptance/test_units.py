"""C15, C16, S02, S03, S05, W02, W03: what needs no run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from stepflow import Engine, RunKey
from stepflow.drivers.port.store import Driver
from stepflow.model.cron import parse_cron
from stepflow.model.timetable import CronTimes
from tests.acceptance.flows import simple

IDS = [str(UUID(int=(n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4)) for n in range(1000)]


def test_c15_and_c16_the_same_expression_has_the_same_ticks_one_after_the_other() -> None:
    at = datetime(2026, 3, 12, 10, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    now = at // timedelta(microseconds=1)
    found = []
    for _ in range(2):
        times, tick, ticks = CronTimes(parse_cron("*/15 * * * *"), UTC), now, []
        for _n in range(4):
            tick = times.after(tick) or 0
            ticks.append((tick - now) // 60_000_000)
        found.append(ticks)
    assert found == [[15, 30, 45, 60]] * 2


def test_s02_s03_and_s05_labels_are_the_same_each_time_in_the_list_and_spread() -> None:
    labels = [RunKey.of("order", run, 8).shard for run in IDS]
    assert labels == [RunKey.of("order", run, 8).shard for run in IDS]
    assert set(Counter(labels)) == set(RunKey.shards("order", 8))
    assert min(Counter(labels).values()) >= 50
    assert {RunKey.of("order", run, 32).shard for run in IDS} <= set(RunKey.shards("order", 32))


def test_w03_the_number_of_claims_does_not_grow_with_the_slots(store: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for concurrency in (1, 8):
        with Engine(store, concurrency=concurrency) as engine:
            engine.register(simple)
            claims: list[str] = []
            session = engine._engine._session.store

            def counted(name: str, session: Any = session, claims: list[str] = claims) -> Any:
                claim = getattr(session, name)
                return lambda *args, **options: (claims.append(name), claim(*args, **options))[1]

            for name in ("claim", "claim_if_free"):
                monkeypatch.setattr(session, name, counted(name))
            engine.run_until_idle()
            seen.append(len(claims))
    assert 0 < seen[1] <= 2 * seen[0]
