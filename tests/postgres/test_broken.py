"""Connections that break, servers that restart: nothing is lost, nothing is done twice, nobody is thought dead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow.drivers.port.commit import Commit, Committed, Owner
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.postgres import transactions as runner
from stepflow.errors import OutcomeUnknown, Unavailable
from stepflow.testing.conformance.kit import (
    FLOWS,
    NOW,
    Sessions,
    claim,
    creation,
    ended,
    make,
    publish,
    record,
    step,
    write,
)
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server

CREATIONS, STEPS = b"insert into ", b"set rev = u.rev"


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(Path(server.uri.partition("host=")[2]))
    yield proxy
    proxy.close()


@pytest.fixture
def sessions(server: Server, proxy: Proxy) -> Iterator[Sessions]:
    """Sessions that go through the proxy."""
    url = server.url().replace(server.uri.partition("host=")[2], str(proxy.folder), 1)
    sessions = Sessions(PostgresDriver(url))
    yield sessions
    sessions.close()


def test_a_commit_whose_answer_got_lost_is_recognised(sessions: Sessions, proxy: Proxy) -> None:
    store = sessions.session()
    proxy.cut(CREATIONS)
    created = make(store, creation("a"), creation("b"))
    held = claim(store)
    proxy.cut(STEPS)
    revs = make(store, *[step(held[run_id], rev) for run_id, rev in zip("ab", created, strict=True)])
    assert proxy.cuts == 2
    assert [[r.state.rev for r in store.read(HistoryQuery(run_id))] for run_id in "ab"] == [
        list(pair) for pair in zip(created, revs, strict=True)
    ]


def test_a_mixed_batch_whose_answer_got_lost_keeps_its_refusals(sessions: Sessions, proxy: Proxy) -> None:
    store = sessions.session()
    rev = make(store, creation("a", due=None))[0]
    proxy.cut(STEPS)
    stale, good, unknown = store.commit([write("b", 77), write("a", rev), publish("c", "e", "1")], NOW)
    assert proxy.cuts == 1
    assert [type(stale).__name__, type(unknown).__name__] == ["RevMismatch", "NotFound"]
    assert isinstance(good, Committed)
    assert good.revs == (record(store, "a").state.rev,)


def test_a_lost_publish_is_stored_once(sessions: Sessions, proxy: Proxy) -> None:
    store = sessions.session()
    make(store, creation("a"))
    proxy.cut(b".events (shard")
    make(store, publish("a", "e", "1"))
    assert proxy.cuts == 1
    assert len(record(store, "a").events) == 1


def test_a_claim_whose_answer_got_lost_is_handed_out_all_the_same(sessions: Sessions, proxy: Proxy) -> None:
    store = sessions.session(owner="me")
    make(store, creation("a"), creation("b"))
    first = store.claim(FLOWS, NOW, 1)
    proxy.cut(b"skip locked")
    make(store, *[creation(f"more{n}") for n in range(3)])
    store.close()
    again = sessions.session(owner="you")
    held = claim(again, 3)
    assert proxy.cuts == 1
    assert len(first) == 1
    assert len(held) == 3
    assert again.next_due(FLOWS, NOW).owned == {"you": 3}


def test_the_outcome_is_unknown_only_when_nobody_can_be_asked(
    sessions: Sessions, proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepflow.drivers.postgres.connector.PAUSES_S", (0.01,))
    store = sessions.session()
    proxy.cut(CREATIONS, then_refuse=True)
    with pytest.raises(OutcomeUnknown, match="read the runs again"):
        store.commit([creation("a")], NOW)
    with pytest.raises(Unavailable, match="try again"):
        store.load(["a"])
    proxy._refusing = False
    assert record(store, "a").state.id == "a"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("version", ["server", "older_server"])
def test_a_session_outlives_a_restart(request: pytest.FixtureRequest, version: str, mode: str) -> None:
    server: Server = request.getfixturevalue(version)
    sessions = Sessions(PostgresDriver(server.url()))
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    revs = make(one, creation("a"), creation("b"))
    held = claim(one)
    two.beat(NOW)
    token = two.wait_for_change(0, 0)
    server.restart(mode)
    revs += make(one, *[step(held[run_id], rev) for run_id, rev in zip("ab", revs, strict=True)])
    assert sorted(set(revs)) == revs
    assert two.wait_for_change(token, 60) != token
    assert [r.state.rev for r in two.read(HistoryQuery())] == revs
    (result,) = one.commit([step(held["a"], revs[2], ended(), end=True)], NOW)
    assert isinstance(result, tuple)
    sessions.close()


def test_a_restart_makes_nobody_dead(server: Server) -> None:
    sessions = Sessions(PostgresDriver(server.url()))
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    one.beat(NOW)
    monos = iter([number / 10 for number in range(30)])  # seconds, however long the looks take

    def look() -> str:
        return two.beat(NOW, mono=next(monos)).peers[0].lock

    assert [look() for _turn in range(20)] == ["held"] * 20  # longer than the patience with a beat that stands still
    server.restart("immediate")
    assert "free" not in [look() for _turn in range(5)]
    one.beat(NOW)
    assert "free" not in [look() for _turn in range(5)]
    sessions.close()


def test_a_server_that_stays_away_is_an_error_in_seconds(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepflow.drivers.postgres.connector.PAUSES_S", (0.05, 0.05))
    sessions = Sessions(PostgresDriver(server.url()))
    store = sessions.session()
    make(store, creation("a"))
    server.stop()
    try:
        with pytest.raises(Unavailable, match="try again"):
            store.load(["a"])
        with pytest.raises(Unavailable, match="try again"):
            sessions.driver.connect("", Owner("late", "host", 1), NOW)
    finally:
        server.start()
    assert record(store, "a").state.id == "a"
    sessions.close()


def test_transactions_that_get_into_each_others_way_are_done_again(server: Server) -> None:
    sessions = Sessions(PostgresDriver(server.url()))
    store = sessions.session()
    tries: list[int] = []
    running = store._runner  # type: ignore[attr-defined]

    def work(connection: runner.Connection) -> int:
        tries.append(1)
        if len(tries) < 3:
            connection.execute("do $$ begin raise exception 'in the way' using errcode = '40P01'; end $$")
        return len(tries)

    assert running.run(work) == 3
    (result,) = store.commit([Commit()], NOW)
    assert isinstance(result, Committed)
    sessions.close()


def test_a_claimed_run_that_cannot_be_read_says_so(server: Server) -> None:
    schema = server.schema()
    sessions = Sessions(PostgresDriver(server.url(schema)))
    store = sessions.session()
    make(store, creation("a"))
    server.execute(f"update {schema}.states set transition = 'no JSON'")
    record = claim(store)["a"].record  # the claim is known, and can be given back
    assert record is not None
    assert "Expecting value" in record.state.transition.problem
    (loaded,) = store.load(["a"])
    assert loaded is not None
    assert loaded.state == record.state
    sessions.close()
