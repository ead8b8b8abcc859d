"""A transaction that another session keeps open: claims do not walk over what they took before, and miss nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Cancel, Commit, Dequeue, Enqueue, Event, Owner, Release, Write
from stepflow.drivers.port.queries import EndedQuery, HistoryQuery, NotDueQuery, RunQuery
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery
from stepflow.drivers.port.store import Store
from stepflow.drivers.postgres import PostgresDriver, beat, claim_starts
from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.claim_limited import looks_of
from stepflow.drivers.postgres.claim_starts import ClaimStarts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.line_starts import SHIFT, UNKNOWN, Lines
from stepflow.drivers.postgres.ranges import LATE, LOOK_EVERY, LOOKS, SECOND, WHOLE, Ranges
from stepflow.drivers.postgres.rows import Shards
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State
from tests.postgres.held import EVERY, blocks_hit, end_all
from tests.postgres.hot import FLOWS, NOW, WAITS, creation, flush, session
from tests.postgres.server import Server

LATER = NOW + 10 * SECOND
TWO = {**FLOWS, "g.v1": "two"}
T = TypeVar("T")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The starts are used however few dead rows there are."""
    monkeypatch.setattr(claim_starts, "DEAD", -1)


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


KEYS = 20
LIMITS: dict[str, Callable[[int], str]] = {
    "none": lambda _n: "",
    "keys": lambda n: dump([Limit(f"key-{n % KEYS}", 1_000)]),
    "rate": lambda _n: dump([Limit("rate", rate=1_000_000, per=60)]),
}


@pytest.mark.parametrize(("flows", "limits"), [(FLOWS, "none"), (TWO, "none"), (FLOWS, "keys"), (TWO, "rate")])
def test_what_a_worker_repeats_reads_no_more_while_a_snapshot_is_held(
    server: Server, always: None, flows: dict[str, str], limits: str
) -> None:
    _reads_no_more(server, flows, limits)


def test_it_reads_no_more_on_an_older_server(older_server: Server, always: None) -> None:
    _reads_no_more(older_server, FLOWS, "none")


def _reads_no_more(server: Server, flows: dict[str, str], limits: str) -> None:
    """Each verb looks at hardly more blocks after 4,800 runs were finished than after 2,400."""
    of, schema = LIMITS[limits], server.schema()
    costs: dict[str, list[int]] = {}
    with (
        session(server.url(schema), "worker") as store,
        psycopg.connect(server.uri) as other,
        psycopg.connect(server.uri, autocommit=True) as admin,
    ):
        other.execute("set transaction isolation level repeatable read")
        other.execute(f"select count(*) from {schema}.states")

        def does(verb: str, work: Callable[[], T]) -> T:
            before = blocks_hit(admin, schema, EVERY)
            result = work()
            flush(store)
            costs.setdefault(verb, []).append(blocks_hit(admin, schema, EVERY) - before)
            return result

        def reads(verb: str, work: Callable[[], T]) -> T:
            """The smaller cost of two: the server may add what another session of the store has read to the first."""
            does(verb, work)
            result, cost = does(verb, work), costs[verb].pop()
            costs[verb][-1] = min(costs[verb][-1], cost)
            return result

        for turn in range(4):
            now = NOW + turn * SECOND // 8
            for first in range(0, 1_200, 600):
                new = [creation(f"{turn}-{n:04}", of(n), now - 5 * SECOND) for n in range(first, first + 600)]
                store.commit(new, now)
                end_all(store, store.claim(flows, now, 600), now)
            change = ScheduleChange(f"s-{turn}", 0, now + SECOND, "{}")
            store.commit([Commit(schedule=change)], now)
            flush(store)
            one, waits = f"{turn}-one", creation(f"{turn}-waits", due=now)
            does("start", lambda one=one, now=now: store.commit([creation(one, of(0), now)], now))
            claims = does("claim", lambda now=now: store.claim(flows, now, 10))
            assert [claim.fence.id for claim in claims] == [one]
            reads("load", lambda one=one: store.load([one]))
            does("end", lambda claims=claims, now=now: end_all(store, claims, now))
            reads("claim nothing", lambda now=now: store.claim(flows, now, 10))
            assert reads("next due", lambda now=now: store.next_due(flows, now)).next_due is None
            assert reads("not due", lambda now=now: store.read(NotDueQuery(tuple(flows), now))) == [turn, 0]
            reads("beat", lambda now=now: store.beat(now))
            reads("ended", lambda one=one: store.read(EndedQuery((one,))))
            reads("schedules", lambda now=now: store.read(ScheduleQuery(until=now, limit=10)))
            reads("history", lambda turn=turn: store.read(HistoryQuery(since_rev=turn * 2_000, limit=10)))
            _wait(store, waits, flows, now)
            event = Event(waits.writes[0].state.id, "later", "1", "1", now)
            does("publish", lambda event=event, now=now: store.commit([Commit(publish=(event,))], now))
    grown = {verb: found for verb, found in costs.items() if found[-1] > 1.3 * found[1] + 10}
    assert grown == {}


def _wait(store: Store, run: Commit, flows: dict[str, str], now: int) -> None:
    """Start this run, and let it wait for an event."""
    store.commit([run], now)
    (claim,) = store.claim(flows, now, 10)
    (record,) = store.load([claim.fence.id])
    assert record is not None
    state = State(claim.fence.id, record.state.rev, WAITS, record.state.labels, {})
    store.commit([Commit(fence=claim.fence, writes=(Write(state),), queue=(Dequeue(claim.fence.id),))], now)


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


def test_rows_with_limits_are_found_in_their_lines_as_those_without(stores: tuple[Store, Store]) -> None:
    one, two = stores
    a, b, c = (dump([Limit(key, 1)]) for key in "abc")
    one.commit([creation("a1", a, LATER - 30 * SECOND), creation("a2", a, LATER - 30 * SECOND)], LATER)
    (held,) = one.claim(FLOWS, LATER, 10)
    assert held.fence.id == "a1"
    urgent = creation("urgent", c, LATER - 20 * SECOND)
    row = urgent.queue[0]
    assert isinstance(row, Enqueue)
    two.commit(
        [
            creation("late", b, LATER - LATE + 1),
            creation("behind", dump([Limit("d", 1)]), LATER - 20 * SECOND),
            urgent._replace(queue=(row._replace(priority=-1),)),
        ],
        LATER,
    )
    assert one.next_due(FLOWS, LATER).next_due == LATER - 20 * SECOND
    assert _claimed(one, LATER) == ["urgent", "late"]
    one.release([Release(held.fence, LATER - 30 * SECOND)], LATER)
    assert "behind" in _claimed(one, LATER + LOOK_EVERY)


def test_another_session_counts_what_was_claimed_meanwhile(stores: tuple[Store, Store]) -> None:
    one, two = stores
    key = dump([Limit("key", 2)])
    one.commit([creation(f"k{n}", key, LATER) for n in range(5)], LATER)
    held = one.claim(FLOWS, LATER, 1)
    assert _claimed(two, LATER) == ["k1"]
    assert _claimed(one, LATER) == _claimed(two, LATER) == []
    one.release([Release(held[0].fence, LATER)], LATER)
    assert _claimed(two, LATER) == ["k0"]
    assert _claimed(one, LATER) == []
    assert one.next_due(FLOWS, LATER).next_due is None


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
        before = blocks_hit(admin, schema)
        assert store.read(RunQuery(NOW, status="blocked")) == []
        flush(store)
        assert blocks_hit(admin, schema) - before < 50


def _blocks(connection: Connection, text: str, values: Sequence[object]) -> int:
    """The blocks that a statement looks at, read or found in memory."""
    ((plan,),) = connection.execute(f"explain (analyze, buffers, format json) {text}", values).fetchall()
    found = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


@pytest.mark.parametrize("of_others", [False, True])
def test_a_beat_reads_no_more_while_a_snapshot_is_held(server: Server, always: None, of_others: bool) -> None:
    schema = server.schema()
    url = server.url(schema)
    with session(url, "worker") as worker, session(url, "other") as other, psycopg.connect(server.uri) as third:
        store: Any = worker
        third.execute("set transaction isolation level repeatable read")
        third.execute(f"select count(*) from {schema}.states")
        claimer, costs = (other if of_others else worker), []
        for turn in range(4):
            ids = [f"{turn}-{n:04}" for n in range(1_500)]
            claimer.commit([creation(run_id) for run_id in ids], NOW)
            claims = claimer.claim(FLOWS, NOW, len(ids))
            assert len(claims) == len(ids)
            claimer.release([Release(claim.fence, NOW + 10**12) for claim in claims], NOW)
            assert not worker.beat(NOW).cancels
            with store._runner.pool.use() as connection:
                costs.append(_beat_blocks(store, connection))
    assert costs[-1] <= costs[0] + 10


def _beat_blocks(store: Any, connection: Connection) -> int:
    owners = store._owners
    values = (*owners._row(), "[]", owners._process, "", "{}", texts(store._shards.all), claim_starts.DEAD)
    return _blocks(connection, owners._runner.sql(beat.AT_ONCE), values)


def test_a_cancelled_run_that_is_held_is_told_by_the_beat(server: Server) -> None:
    driver = PostgresDriver(server.url())
    one, two = (driver.connect("", Owner(name, "host", 1), NOW) for name in ("one", "two"))
    one.commit([creation(f"r{n}") for n in range(4)], NOW)
    mine = one.claim(FLOWS, NOW, 2)
    assert len(two.claim(FLOWS, NOW, 2)) == 2
    two.commit([Commit(cancel=(Cancel(f"r{n}"),)) for n in (1, 2)], NOW)
    assert [one.beat(NOW).cancels, two.beat(NOW).cancels] == [("r1",), ("r2",)]
    one.release([Release(mine[1].fence, NOW)], NOW)
    assert one.beat(NOW).cancels == ()
    one.close()
    two.close()


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


IN_LINES = st.lists(
    st.tuples(
        st.integers(-1, 1), st.integers(0, 40), st.sampled_from([f"{line}{name}" for line in "xyz" for name in "ab"])
    ),
    max_size=6,
    unique_by=lambda row: row[2],
)


def _told(known: Lines, rows: set[Row]) -> list[tuple[object, ...]]:
    """What the server tells of the lines: those there are, or the first fresh row of each line and priority."""
    if known is UNKNOWN:
        return [(line,) for line in {row[2][0] for row in rows}]
    fresh = sorted(_behind(known.fresh, rows, len(rows)), reverse=True)
    firsts = {(row[2][0], row[0]): row for row in fresh}
    return [(line, priority, f"{due + SHIFT:020}{run_id}") for (line, priority), (_p, due, run_id) in firsts.items()]


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(IN_LINES, st.integers(1, 4), st.integers(0, LOOK_EVERY), st.sets(st.sampled_from("xyz"))), max_size=12
    )
)
def test_the_first_rows_of_each_line_are_found_but_those_that_were_long_due_when_they_appeared(
    turns: list[tuple[list[Row], int, int, set[str]]],
) -> None:
    starts = ClaimStarts(Shards("", 1))
    rows, hidden, now = set[Row](), set[Row](), NOW
    starts.used = True
    for new, limit, passed, full in turns:
        now += passed
        there = {row[2] for row in rows}
        appeared = {(priority, now - age * SECOND // 10, i) for priority, age, i in new if i not in there}
        rows |= appeared
        known = starts.lines("/0", "f.v1", now)
        hidden = set() if known is UNKNOWN else hidden | {row for row in appeared if row[1] <= now - LATE}
        looks = looks_of(known, _told(known, rows))
        for line in set("xyz") - full:
            mine = sorted(row for row in rows if row[2][0] == line)
            found = [row for row in mine if line in looks.starts and row >= looks.starts[line]][:limit]
            assert set(mine[:limit]) - set(found) <= hidden
            if line in looks.starts:
                looks.asked[line] = limit
                looks.rows += [(row, "f.v1", line, None) for row in found]
        taken = sorted(one[0] for one in looks.rows)[:limit]
        starts.looked("/0", "f.v1", now, known, looks, [row[2] for row in taken])
        rows -= set(taken)
        hidden &= rows
