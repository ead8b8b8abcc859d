"""A transaction that another session keeps open: claims do not walk over what they took before, and miss nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Dequeue, Enqueue, Owner
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.step import Step
from stepflow.drivers.port.store import Store
from stepflow.drivers.postgres import PostgresDriver, claim_start
from stepflow.drivers.postgres.claim_start import LATE, LOOK_EVERY, LOOKS, SECOND, WHOLE, ClaimStarts, Ranges
from stepflow.drivers.postgres.rows import Shards
from tests.postgres.hot import ENDED, FLOWS, NOW, creation, flush, session
from tests.postgres.server import Server

LATER = NOW + 10 * SECOND
TWO = {**FLOWS, "g.v1": "two"}
HIT = "select sum(heap_blks_hit + idx_blks_hit)::bigint from pg_statio_user_tables where schemaname = %s and relname = 'queue'"


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The starts are used however few dead rows there are."""
    monkeypatch.setattr(claim_start, "DEAD", -1)


@pytest.fixture
def stores(server: Server, always: None) -> Iterator[tuple[Store, Store]]:
    """Two sessions; the first one ended a run a second ago, and 30 s ago, and looked from the beginning just now."""
    driver = PostgresDriver(server.url())
    one, two = (driver.connect("", Owner(name, "host", 1), NOW) for name in ("one", "two"))
    one.commit([creation("early", due=LATER - 30 * SECOND), creation("just now", due=LATER - SECOND)], NOW)
    assert _claimed(one, LATER) == ["early", "just now"]
    yield one, two
    one.close()
    two.close()


def _claimed(store: Store, now: int, limit: int = 10, flows: dict[str, str] = FLOWS) -> list[str]:
    return [claim.fence.id for claim in store.claim(flows, now, limit)]


@pytest.mark.parametrize("flows", [FLOWS, TWO])
def test_a_claim_reads_no_more_while_a_snapshot_is_held(server: Server, always: None, flows: dict[str, str]) -> None:
    schema = server.schema()
    url = server.url(schema)
    with (
        session(url, "worker") as store,
        psycopg.connect(server.uri) as other,
        psycopg.connect(server.uri, autocommit=True) as admin,
    ):
        other.execute("set transaction isolation level repeatable read")
        other.execute(f"select count(*) from {schema}.states")
        costs = []
        for turn in range(4):
            now = NOW + turn * SECOND // 8
            for first in range(0, 1_200, 600):
                new = [creation(f"{turn}-{n:04}", due=now - 5 * SECOND) for n in range(first, first + 600)]
                store.commit(new, now)
                claims = store.claim(flows, now, 600)
                records = zip(claims, store.load([claim.fence.id for claim in claims]), strict=True)
                steps = [
                    Step(
                        c.fence.id, c.fence.epoch, r.state.rev, ENDED, {}, {}, None, Dequeue(c.fence.id), r.state.labels
                    )
                    for c, r in records
                    if r is not None
                ]
                store.commit(steps, now)
            store.commit([creation(f"{turn}-one", due=now)], now)
            flush(store)
            before = _hit(admin, schema)
            assert _claimed(store, now, flows=flows) == [f"{turn}-one"]
            store.next_due(flows, now)
            flush(store)
            costs.append(_hit(admin, schema) - before)
    assert costs[-1] <= 2 * costs[0]


def _hit(admin: psycopg.Connection[tuple[int]], schema: str) -> int:
    row = admin.execute(HIT, (schema,)).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("flows", [FLOWS, TWO])
def test_a_row_of_another_session_that_was_due_before_is_found_by_the_next_look(
    stores: tuple[Store, Store], flows: dict[str, str]
) -> None:
    one, two = stores
    two.commit([creation("behind", due=LATER - 20 * SECOND)], LATER)
    assert one.next_due(flows, LATER).next_due is None
    assert _claimed(one, LATER + LOOK_EVERY - 1, flows=flows) == []
    assert one.next_due(flows, LATER + LOOK_EVERY).next_due == LATER - 20 * SECOND
    assert _claimed(one, LATER + LOOK_EVERY, flows=flows) == ["behind"]


def test_it_is_found_while_the_clock_stands_still(stores: tuple[Store, Store]) -> None:
    one, two = stores
    two.commit([creation("behind", due=LATER - 20 * SECOND)], LATER)
    assert "behind" in [run_id for _look in range(LOOKS + 1) for run_id in _claimed(one, LATER)]


def test_rows_of_the_last_second_and_urgent_ones_are_found_at_once(stores: tuple[Store, Store]) -> None:
    one, two = stores
    urgent = creation("urgent", due=LATER - 20 * SECOND)
    row = urgent.queue[0]
    assert isinstance(row, Enqueue)
    two.commit([creation("late", due=LATER - LATE + 1), urgent._replace(queue=(row._replace(priority=-1),))], LATER)
    assert _claimed(one, LATER) == ["urgent", "late"]


def test_what_the_session_itself_commits_is_found_at_once(stores: tuple[Store, Store]) -> None:
    one, _two = stores
    one.commit([creation("old", due=LATER - 20 * SECOND)], LATER)
    assert one.next_due(FLOWS, LATER).next_due == LATER - 20 * SECOND
    assert _claimed(one, LATER) == ["old"]


def test_rows_that_sleep_are_found_when_they_are_due(stores: tuple[Store, Store]) -> None:
    one, two = stores
    two.commit([creation(f"s{n}", due=LATER + n) for n in range(1, 4)], LATER)
    assert one.next_due(FLOWS, LATER).next_due == LATER + 1
    assert _claimed(one, LATER + 1) == ["s1"]
    assert _claimed(one, LATER + 3, flows=TWO) == ["s2", "s3"]


def test_blocked_runs_are_listed_without_looking_at_the_open_ones(server: Server) -> None:
    schema = server.schema()
    with session(server.url(schema), "lister") as store, psycopg.connect(server.uri, autocommit=True) as admin:
        store.commit([creation(f"r{n:04}") for n in range(2_000)], NOW)
        flush(store)
        before = _hit(admin, schema)
        assert store.read(RunQuery(NOW, status="blocked")) == []
        flush(store)
        assert _hit(admin, schema) - before < 50


Row = tuple[int, int, str]
ROWS = st.lists(
    st.tuples(st.integers(-1, 1), st.integers(0, 40), st.sampled_from(["a", 'b"', "c\\", "é"])), max_size=6, unique=True
)


def _behind(ranges: Ranges, rows: set[Row], limit: int) -> list[Row]:
    """What the statement takes: the first rows behind each start."""
    priorities, dues, ids, ends = (json.loads(f"[{literal[1:-1]}]") for literal in ranges)
    found: list[Row] = []
    for *start, end in zip(priorities, dues, ids, ends, strict=True):
        found += sorted(row for row in rows if row > tuple(start) and row[0] < end)
    return found[:limit]


@settings(max_examples=200)
@given(st.lists(st.tuples(ROWS, st.integers(1, 4), st.integers(0, LOOK_EVERY)), max_size=12))
def test_every_row_is_taken_in_order_but_those_that_were_long_due_when_they_appeared(
    turns: list[tuple[list[Row], int, int]],
) -> None:
    starts, rows, hidden, now, whole = ClaimStarts(Shards("", 1)), set[Row](), set[Row](), NOW, NOW
    starts.used = True
    for new, limit, passed in turns:
        now += passed
        appeared = {(priority, now - age * SECOND // 10, run_id) for priority, age, run_id in new} - rows
        rows |= appeared
        hidden |= {row for row in appeared if row[1] <= now - LATE}
        ranges, _sleepers = starts.ranges("/0", "f.v1", now)
        taken = _behind(ranges, rows, limit)
        whole = now if ranges is WHOLE else whole
        assert now - whole < LOOK_EVERY
        expected = sorted(rows) if ranges is WHOLE else sorted(rows - (hidden - set(taken)))
        assert taken == expected[:limit]
        answers = [("", 0, "", due, 0, priority) for priority, due, _id in taken]
        answers = [(row[2], *answer[1:]) for row, answer in zip(taken, answers, strict=True)]
        starts.took("/0", "f.v1", now, ranges, answers, more=len(taken) == limit)
        rows -= set(taken)
        hidden = (hidden & rows) if ranges is not WHOLE or len(taken) == limit else set()
