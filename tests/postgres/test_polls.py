"""A poll that finds nothing costs two updates of one row, whatever else the run has."""

from __future__ import annotations

import psycopg
import pytest

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Release, Write
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State, Transition
from tests.postgres.hot import FLOWS, NOW, creation, flush, session
from tests.postgres.server import Server

RUNS, POLLS = 20, 10
POLLING = Transition("f.v1", {"stepflow.waiting": "poll"})
UPDATED = "select relname, n_tup_upd + n_tup_ins + n_tup_del from pg_stat_user_tables where schemaname = %s"


def updates(admin: psycopg.Connection[tuple[str, int]], schema: str) -> dict[str, int]:
    return dict(admin.execute(UPDATED, (schema,)).fetchall())


@pytest.mark.parametrize("flows", [FLOWS, {**FLOWS, "g.v1": "two"}], ids=["one flow", "two flows"])
@pytest.mark.parametrize("limits", ["", dump([Limit("key", 1_000)])], ids=["plain", "limited"])
def test_an_empty_poll_updates_its_queue_row_twice(server: Server, flows: dict[str, str], limits: str) -> None:
    schema = server.schema()
    url, now = server.url(schema), NOW
    with psycopg.connect(server.uri, autocommit=True) as admin:
        with session(url, "starts") as store:
            row = [Enqueue(f"r{n}", "f.v1", now + 1, limits=limits) for n in range(RUNS)]
            made = [Write(State(one.id, 0, POLLING), "1", Created("f.v1", "h", NOW)) for one in row]
            store.commit([Commit(writes=(w,), queue=(q,)) for w, q in zip(made, row, strict=True)], now)
        before = updates(admin, schema)
        with session(url, "polls") as store:
            for _poll in range(POLLS):
                now += 10
                claims = store.claim(flows, now, RUNS)
                assert len(claims) == RUNS
                assert store.release([Release(one.fence, now + 1) for one in claims], now) == [True] * RUNS
        after = updates(admin, schema)
    spent = {table: after[table] - before[table] for table in after if after[table] != before[table]}
    promoted = POLLS * RUNS if limits else 0  # runs with limits wait in an order of their own
    assert spent == {"queue": 2 * RUNS * POLLS + promoted, "owners": spent["owners"]}


@pytest.mark.parametrize("flows", [FLOWS, {**FLOWS, "g.v1": "two"}], ids=["one flow", "two flows"])
@pytest.mark.parametrize("ready", [0, 5])
def test_polls_that_a_worker_does_not_keep_up_with_cost_no_more(
    server: Server, flows: dict[str, str], ready: int
) -> None:
    """300 polls are due together, and ready runs beside them; ten are claimed at a time, in their order."""
    schema, polls, limit = server.schema(), 300, 10
    with psycopg.connect(server.uri, autocommit=True) as admin, session(server.url(schema), "polls") as store:
        rows = [Enqueue(f"r{n:03}", "f.v1", NOW + n // 7, -(n == polls - 1)) for n in range(1, polls)]
        made = [Write(State(one.id, 0, POLLING), "1", Created("f.v1", "h", NOW)) for one in rows]
        store.commit([Commit(writes=(w,), queue=(q,)) for w, q in zip(made, rows, strict=True)], NOW)
        now = NOW + 1_000
        store.commit([creation(f"new-{n}", due=NOW + 20) for n in range(ready)], now)
        flush(store)
        before = updates(admin, schema)["queue"]
        claims = [one for _turn in range(-(-(polls + ready) // limit)) for one in store.claim(flows, now, limit)]
        keys = [(one.row.priority, one.row.due, one.fence.id) for one in claims]
        assert len(keys) == polls - 1 + ready
        assert keys == sorted(keys)
        flush(store)
        assert updates(admin, schema)["queue"] - before == len(keys)
