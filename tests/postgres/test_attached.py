"""Delays and data with several shards, several committers at once, and in a store that was made before there were any."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, delay_key
from stepflow.drivers.port.queries import HistoryQuery, RunQuery
from stepflow.drivers.postgres import PostgresDriver
from stepflow.model.state import State
from stepflow.testing.conformance.kit import NOW, Sessions, claim, creation, ended, going, make, numbers, step
from stepflow.testing.conformance.laws.data import DataLaws
from stepflow.testing.conformance.laws.delays import DelayLaws
from stepflow.testing.conformance.laws.pruning import PruningLaws
from stepflow.testing.conformance.laws.revisions import RevisionLaws
from tests.postgres.server import Server

pytestmark = pytest.mark.usefixtures("forking")


@pytest.fixture
def sessions(driver: PostgresDriver) -> Iterator[Sessions]:
    sessions = Sessions(driver)
    yield sessions
    sessions.close()


class TestSharded(DelayLaws, DataLaws, RevisionLaws, PruningLaws):
    # It counts on the revisions of a batch being in its order, which a law gives to commits, not to members of a batch.
    test_law_15_what_lies_far_back_is_found = None  # type: ignore[assignment]
    # A blob lies in one shard: TestPostgres stores it.
    test_law_14_a_large_blob_is_kept_or_refused = None  # type: ignore[assignment]
    # Each combination of filters is asked with one group of labels, or two: TestPostgres asks it with all.
    filters_step = 5

    @pytest.fixture
    def driver(self, server: Server) -> PostgresDriver:
        return PostgresDriver(server.url(shards=3))


def test_numbers_are_dense_however_many_commit_at_once(sessions: Sessions) -> None:
    def work(number: int) -> list[tuple[int, ...]]:
        store, run_id = sessions.session(owner=f"o{number}"), f"r{number}"
        one = Commit(data=(DataWrite(run_id, b"1", {}),), delays=(Delay(State(run_id, 0, going()), NOW),))
        return [numbers(store, one) for _turn in range(15)]

    with ThreadPoolExecutor(3) as pool:
        given = [pair for pairs in pool.map(work, range(3)) for pair in pairs]
    for one in zip(*given, strict=True):
        assert sorted(one) == list(range(1, 46))


def test_a_run_that_ends_in_the_commit_of_its_delay_is_not_pruned(sessions: Sessions) -> None:
    store, upkeep = sessions.session(), sessions.driver.maintenance("")
    rev = make(store, creation("a"))[0]
    move = step(claim(store)["a"].fence, rev, ended(), end=True)
    make(store, move._replace(delays=(Delay(State("a", rev, going()), NOW + 9),)))
    assert upkeep.prune(NOW + 1, 10) == 0
    assert upkeep.check() == []


def test_a_store_of_the_first_schema_is_migrated(server: Server) -> None:
    schema = server.schema()
    sessions = Sessions(PostgresDriver(server.url(schema)))
    rev = make(sessions.session(), creation("a", labels={"k": "v"}), creation("b", labels={"k": "v"}, created_at=1))[0]
    sessions.close()
    server.execute(
        f"drop index {schema}.states_waiting, {schema}.queue_turns, {schema}.states_polling, {schema}.queue_paused, {schema}.queue_marked, {schema}.inbox_starts"
    )
    server.execute(
        f"alter table {schema}.labels drop constraint labels_pkey, drop column created_at, add primary key (shard, label, id)"
    )
    server.execute(f"alter table {schema}.states drop column delay, drop column limits")
    server.execute(f"create index states_created on {schema}.states (shard, created_at, id)")
    server.execute(f"create index states_ended on {schema}.states (shard, status, created_at, id) where status <> ''")
    server.execute(
        f"alter table {schema}.queue drop column limits, drop column epoch, drop column unfinished, drop column paused, drop column holding"
    )
    server.execute(f"alter table {schema}.events drop column traceparent")
    later = ", ".join(
        f"drop column {name}" for name in ("flows", "process", "boot", "reclaimed_at", "counted", "beat_at")
    )
    server.execute(f"alter table {schema}.owners {later}")
    new = (
        "journal",
        "conflicts",
        "schedules",
        "counters",
        "delays",
        "data",
        "begun",
        "dedup_keys",
        "tallied",
        "paused_flows",
    )
    server.execute("drop table " + ", ".join(f"{schema}.{name}" for name in new))
    server.execute(f"alter table {schema}.queue rename column partition to lane")
    server.execute(f"update {schema}.meta set value = 1 where name = 'schema'")
    store = sessions.session()
    assert [r.state.rev for r in store.read(HistoryQuery(labels=({"k": "v"},)))] == [rev, rev + 1]
    assert [r.state.id for r in store.read(RunQuery(NOW, labels={"k": "v"}, since=1))] == ["a", "b"]
    assert [r.state.id for r in store.read(RunQuery(NOW, labels={"k": "v"}, since=2))] == ["a"]
    late = Delay(State("a", rev, going()), NOW)
    assert numbers(store, Commit(data=(DataWrite("a", b"1", {}),), delays=(late,))) == (1, 1)
    assert set(claim(store)) == {"a", "b", delay_key("a", 1)}
    assert store.read(DataQuery(1))[0].blob == b"1"
    assert [delay.offset for delay in store.read(DelayQuery(NOW))] == [1]
    assert sessions.driver.maintenance("").check() == []
    sessions.close()
