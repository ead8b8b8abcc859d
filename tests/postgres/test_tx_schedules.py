"""Changes of one schedule in callers' transactions on PostgreSQL: the later one holds; of two that overlap, neither waits for the other."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from stepflow import Engine, named
from tests.postgres.server import Server

HOUR = timedelta(hours=1)
FLOW = named("x", dict[str, int]).do("a", lambda _d: None).compile()


@pytest.mark.parametrize("verbs", [("pause", "resume"), ("resume", "pause")])
@pytest.mark.parametrize("together", [True, False], ids=["one transaction", "two transactions"])
def test_the_later_of_two_changes_of_one_schedule_holds(server: Server, verbs: tuple[str, str], together: bool) -> None:
    with Engine(server.empty()) as engine, psycopg.connect(server.uri) as first, psycopg.connect(server.uri) as second:
        engine.register(FLOW)
        schedule = engine.schedule("s", FLOW, {"n": 0}, every=HOUR)
        for n, verb in enumerate(verbs, 1):
            tx = first if together or n == 1 else second
            getattr(schedule, verb)(tx=tx)
            engine.schedule("s", FLOW, {"n": n}, every=n * HOUR, tx=tx)
            if not together:
                tx.commit()
        first.commit()
        assert (schedule.info().paused, schedule.info().timing) == (verbs[-1] == "pause", "every 2:00:00")


def test_changes_of_transactions_that_overlap_take_place_one_after_the_other(server: Server) -> None:
    """Each is whole, and neither transaction waits; which one is the later is not said."""
    with Engine(server.empty()) as engine, psycopg.connect(server.uri) as first, psycopg.connect(server.uri) as second:
        engine.register(FLOW)
        schedule = engine.schedule("s", FLOW, {"n": 0}, every=HOUR)
        for n, tx in enumerate((first, second), 2):
            engine.schedule("s", FLOW, {"n": n}, every=n * HOUR, priority=n, tx=tx)
        second.commit()
        assert (schedule.info().timing, schedule.info().priority) == ("every 3:00:00", 3)
        first.commit()
        assert (schedule.info().timing, schedule.info().priority) in (("every 2:00:00", 2), ("every 3:00:00", 3))
