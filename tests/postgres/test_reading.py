"""Reading costs what is asked for, not what the store holds: the server's own counters tell how many rows were read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.delays import Delay, DelayQuery
from stepflow.drivers.port.queries import HistoryQuery, RunQuery
from stepflow.drivers.port.store import Query
from stepflow.drivers.postgres import PostgresDriver, revisions
from stepflow.drivers.postgres.connector import Connection
from stepflow.model.state import State
from stepflow.testing.conformance.kit import NOW, Sessions, claim, creation, going, make, step
from stepflow.testing.conformance.laws.revisions import RevisionLaws
from tests.postgres.server import Server

RUNS, STEPS = 250, 3
RARE = ["r0003", "r0100", "r0101"]  # have labels that no other run has
# Tuples of these tables that this connection read, by index or not.
READ = (
    "select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_xact_user_tables"
    " where schemaname = $1 and relname in ('history', 'states', 'delays')"
)


@pytest.fixture(scope="module", params=[("server", 1, False), ("older_server", 1, False), ("server", 3, True)])
def sessions(request: pytest.FixtureRequest) -> Iterator[Sessions]:
    """A store with some thousand revisions, of which the server has no statistics yet, or has them."""
    version, shards, analyzed = request.param
    server: Server = request.getfixturevalue(version)
    sessions = Sessions(PostgresDriver(server.url(shards=shards)))
    store = sessions.session()
    ids = [f"r{n:04}" for n in range(RUNS)]
    labels = {run_id: {"of": "all", **({"rare": "yes"} if run_id in RARE else {})} for run_id in ids}
    revs = make(store, *[creation(run_id, labels=labels[run_id], created_at=NOW + n) for n, run_id in enumerate(ids)])
    held = claim(store, RUNS)
    for _turn in range(STEPS):
        steps = [step(held[run_id], rev, labels=labels[run_id]) for run_id, rev in zip(ids, revs, strict=True)]
        revs = make(store, *steps)
    make(store, *[Commit(delays=(Delay(State(run_id, 0, going()), NOW + n),)) for n, run_id in enumerate(ids)])
    schema = store._runner.place.schema  # type: ignore[attr-defined]
    if analyzed:
        server.execute(f"analyze {schema}.history, {schema}.states, {schema}.delays")
    yield sessions
    sessions.close()


def rows_read(store: Any, query: Query) -> tuple[list[Any], int]:
    """The answer to a query, and how many rows were read for it."""

    def so_far(connection: Connection) -> int:
        ((count,),) = connection.execute(READ, (store._runner.place.schema,)).fetchall()
        return int(count)

    def work(connection: Connection) -> tuple[list[Any], int]:
        connection.execute("begin")
        before = so_far(connection)  # of earlier transactions: they are added up at leisure
        found = store._reader(connection).answer(query)
        count = so_far(connection) - before
        connection.execute("rollback")
        return found, count

    return store._runner.run(work)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        (HistoryQuery("r0007", limit=50), STEPS + 1),
        (HistoryQuery("r0007", limit=1, last=True), 1),
        (HistoryQuery(limit=10), 10),
        (HistoryQuery(since_rev=300, limit=10), 10),
        (HistoryQuery(limit=10, last=True), 10),
        (HistoryQuery(limit=10, labels=({"of": "all"},)), 10),
        (RunQuery(NOW, limit=10), 10),
        (DelayQuery(NOW + 1000, limit=10), 10),
        (DelayQuery(NOW + 1000, since=NOW + 50, limit=10, pending=True), 10),
        (RunQuery(NOW, limit=10, after=(NOW + 100, "r0100")), 10),
    ],
)
def test_a_page_reads_about_as_many_rows_as_it_has(sessions: Sessions, query: Query, number: int) -> None:
    store = sessions._open[0]
    found, count = rows_read(store, query)
    assert len(found) == number
    assert count <= 3 * 4 * number + 20  # of at most three shards: the row, its exchange, the State


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("groups", "number"),
    [
        (({"rare": "yes"},), 3),
        (({"of": "all", "rare": "yes"}, {"rare": "yes"}), 3),
        (({"rare": "yes"}, {"rare": "no"}), 3),
        (({"rare": "no"},), 0),
    ],
)
def test_the_newest_revisions_with_rare_labels_cost_what_these_runs_do(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, groups: tuple[dict[str, str], ...], number: int, last: bool
) -> None:
    monkeypatch.setattr(revisions, "NEAR", 100)
    found, count = rows_read(sessions._open[0], HistoryQuery(labels=groups, latest_only=True, last=last))
    assert sorted(revision.state.id for revision in found) == RARE[:number]
    assert count <= 4 * number + 20


class TestLabelled(RevisionLaws):
    """The laws where the newest revisions of labels are found from the runs, however near they are."""

    test_law_15_what_lies_far_back_is_found = None  # type: ignore[assignment]  # for one shard
    test_law_15_what_steps_relabelled_long_ago_is_found = None  # type: ignore[assignment]  # not the newest ones
    filters_step = 5

    @pytest.fixture
    def sessions(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
        monkeypatch.setattr(revisions, "NEAR", -1)
        sessions = Sessions(PostgresDriver(server.url(shards=3)))
        yield sessions
        sessions.close()


def test_pages_of_several_shards_come_in_order(sessions: Sessions) -> None:
    store, since, seen = sessions._open[0], 0, []
    while found := store.read(HistoryQuery(since_rev=since, limit=37)):
        seen += [revision.state.rev for revision in found]
        since = seen[-1]
    assert seen == sorted(set(seen))
    assert len(seen) == RUNS * (STEPS + 1)
    newest = [revision.state.rev for revision in store.read(HistoryQuery(limit=37, last=True))]
    assert newest == seen[-37:]
    delays = store.read(DelayQuery(NOW + 1000, limit=RUNS))
    assert [delay.due for delay in delays] == [NOW + n for n in range(RUNS)]
    ids, query = [], RunQuery(NOW, limit=37)
    while page := store.read(query):
        ids += [record.state.id for record in page]
        query = evolve(query, after=query.key_of(page[-1]))
    assert ids == [f"r{n:04}" for n in reversed(range(RUNS))]
