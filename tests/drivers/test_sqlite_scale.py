"""What SQLite does for a claim or a list does not grow with rows that do not concern it: counted in steps of its machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Write
from stepflow.drivers.port.queries import HistoryQuery, LimitUsageQuery, RunQuery
from stepflow.drivers.port.step import Step
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State
from stepflow.testing.conformance.kit import FLOW, FLOWS, NOW, Sessions, creation, ended, going, make, write
from tests.drivers import rare

Count = Callable[[Callable[[], Any]], int]
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"  # answers: busy, pages in the log, pages of them in the file


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Count:
    """Counts the steps of all connections that are opened from now on."""
    steps = [0]
    connect = sqlite3.connect

    def counted(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)

        def step() -> int:
            steps[0] += 1
            return 0

        connection.set_progress_handler(step, 10)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)

    def count(work: Callable[[], Any]) -> int:
        before = steps[0]
        work()
        return 10 * (steps[0] - before)

    return count


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    sessions = Sessions(SqliteDriver(path))
    yield sessions.session()
    sessions.close()


def limited(run_id: str, limits: str) -> Commit:
    """The start of a run that is due, with limits."""
    write = Write(State(run_id, 0, going(), {}, {}), "1", Created(FLOW, "h", NOW))
    return Commit(writes=(write,), queue=(Enqueue(run_id, FLOW, NOW, limits=limits),))


def test_a_claim_among_many_keys_costs_as_much_as_among_some(tmp_path: Path, counting: Count) -> None:
    costs = {}
    for keys in (150, 3_000):
        with opened(tmp_path / str(keys)) as store:
            store.commit([limited(f"r{n:05}", dump([Limit(f"key-{n:05}", 2)])) for n in range(keys)], NOW)
            claims: list[Any] = []
            costs[keys] = counting(lambda store=store, claims=claims: claims.extend(store.claim(FLOWS, NOW, 32)))
            costs[keys] += counting(lambda store=store: store.next_due(FLOWS, NOW))
            assert [claim.fence.id for claim in claims] == [f"r{n:05}" for n in range(32)]
    assert costs[3_000] < 3 * costs[150]


def test_a_claim_among_many_ready_runs_costs_as_much_as_among_some(tmp_path: Path, counting: Count) -> None:
    costs = {}
    for runs in (200, 4_000):
        with opened(tmp_path / str(runs)) as store:
            store.commit([creation(f"r{n:05}") for n in range(runs)], NOW)
            costs[runs] = counting(lambda store=store: store.claim(FLOWS, NOW, 32))
    assert costs[4_000] < 1.5 * costs[200]


def test_a_window_of_many_starts_is_a_few_rows(tmp_path: Path, counting: Count) -> None:
    limits = dump([Limit("all", rate=10_000, per=60)])
    with opened(tmp_path / "store") as store:
        store.commit([limited(f"r{n:05}", limits) for n in range(2_100)], NOW)
        first = counting(lambda: store.claim(FLOWS, NOW, 100))
        for turn in range(19):
            assert len(store.claim(FLOWS, NOW + 1 + turn, 100)) == 100
        last = counting(lambda: store.claim(FLOWS, NOW + 30, 100))
        (usage,) = store.read(LimitUsageQuery(limits, NOW + 40))
    assert usage.begun == {
        "all": [NOW] * 100 + [NOW + 1 + turn for turn in range(19) for _run in range(100)] + [NOW + 30] * 100
    }
    assert last < 3 * first


LISTS = {
    "open": RunQuery(NOW, status="queued"),
    "no open one": RunQuery(NOW, status="waiting"),
    "no failed one": RunQuery(NOW, status="failed"),
    "unknown flow": RunQuery(NOW, flow="nobody.v1"),
    "unknown label": RunQuery(NOW, labels={"half": "c"}),
    "common label": RunQuery(NOW, labels={"half": "a"}),
    "all": RunQuery(NOW),
    "oldest": RunQuery(NOW, ascending=True),
    "several": RunQuery(NOW, status=("failed", "waiting"), scan=100_000),
    "open, bounded": RunQuery(NOW, status="sleeping", open=True, scan=100_000),
    "by id": RunQuery(NOW, order="id", ascending=True),
    "by id, the last": RunQuery(NOW, order="id"),
    "few ids": RunQuery(NOW, prefix="open-1"),
    "due": RunQuery(NOW, order="due", ascending=True),
    "created before all": RunQuery(NOW, until=NOW),
    "these": RunQuery(NOW, ids=("open-1", "open-2", "r00001")),
}


def test_lists_of_few_open_runs_do_not_grow_with_the_others(tmp_path: Path, counting: Count) -> None:
    with opened(tmp_path / "store") as store:
        rare.fill(store)
        costs = []
        for first, last in ((0, 500), (500, 6_000)):
            rare.sleepers(store, first, last)
            costs.append({name: counting(partial(store.read, query)) for name, query in rare.QUERIES.items()})
        rare.check(store)
    worse = {name: (costs[0][name], cost) for name, cost in costs[1].items() if cost > 1.5 * costs[0][name]}
    assert not worse


def test_lists_do_not_grow_with_runs_that_ended(tmp_path: Path, counting: Count) -> None:
    with opened(tmp_path / "store") as store:
        store.commit([creation(f"open-{n}") for n in range(20)], NOW)
        costs = []
        for first, last in ((0, 500), (500, 5_000)):
            some = [
                Write(State(f"r{n:05}", 0, ended(), {"half": "ab"[n % 2]}, {}), "1", Created(FLOW, "h", NOW))
                for n in range(first, last)
            ]
            store.commit([Commit(writes=(one,)) for one in some], NOW)
            costs.append({name: counting(lambda query=query: store.read(query)) for name, query in LISTS.items()})
    worse = {name: (costs[0][name], cost) for name, cost in costs[1].items() if cost > 3 * costs[0][name]}
    assert not worse


@pytest.mark.parametrize("exchange", [None, "2"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_step_writes_the_pages_of_its_run_and_of_its_revision(
    tmp_path: Path, exchange: str | None, alone: bool
) -> None:
    path = tmp_path / "store"
    with opened(path) as store:
        store.commit([creation(f"r{n}") for n in range(3)], NOW)
        claims = store.claim(FLOWS, NOW, 3)
        steps = [
            Step(claim.fence.id, claim.fence.epoch, claim.record.state.rev, going(), {}, {}, exchange)
            for claim in claims[: 1 if alone else 3]
        ]
        with closing(sqlite3.connect(path)) as program:
            program.execute(CHECKPOINT)  # the log begins again
            store.commit(steps, NOW)
            assert program.execute(CHECKPOINT).fetchone()[1] == 2  # no page of an index


@pytest.mark.parametrize("exchange", [None, "2"])
def test_steps_among_many_runs_cost_as_much_as_among_few_in_a_store_that_was_analyzed_with_one(
    tmp_path: Path, counting: Count, exchange: str | None
) -> None:
    path, costs = tmp_path / "store", []
    with opened(path) as store:
        make(store, creation("first", due=None))
    with closing(sqlite3.connect(path)) as program:
        program.execute("ANALYZE")
    with opened(path) as store:
        make(store, *[creation(f"r{n}") for n in range(64)])
        steps = [
            Step(claim.fence.id, claim.fence.epoch, claim.record.state.rev, going(), {}, {}, exchange)
            for claim in store.claim(FLOWS, NOW, 64)
        ]
        for others in (range(1), range(1, 2000)):
            make(store, *[creation(f"other-{n}", due=None) for n in others])
            revs = list[int]()
            costs.append(counting(lambda revs=revs: revs.extend(make(store, *steps))))
            for step, rev in zip(steps, revs, strict=True):
                step.rev = rev
    assert costs[1] <= 1.2 * costs[0]


def test_a_page_of_a_long_history_costs_the_same_wherever_it_is(tmp_path: Path, counting: Count) -> None:
    with opened(tmp_path / "store.db") as store:
        revs = make(store, creation("r", due=None))
        for turn in range(400):
            make(store, *[creation(f"{turn}-{number}", due=None) for number in range(20)])
            revs += make(store, write("r", revs[-1]))
        query = HistoryQuery("r", limit=50, last=True, exchange=False)
        newest = counting(lambda: store.read(query))
        for number in (380, 200, 60):
            page = evolve(query, until_rev=revs[number] - 1)
            assert [one.state.rev for one in store.read(page)] == revs[number - 50 : number]
            assert counting(lambda page=page: store.read(page)) <= 1.2 * newest
