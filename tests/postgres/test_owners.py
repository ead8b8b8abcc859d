"""Who is taken for dead: a process that is gone at once, one that lives and lost its network never, and no crash is counted for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from stepflow.drivers.port.queries import OwnerQuery
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.postgres.process import fate, identity
from stepflow.drivers.postgres.stall_detector import QUIET_S, SURE_S
from stepflow.testing.conformance.kit import NOW, Sessions, claim, creation, make, step
from tests.postgres.server import Server
from tests.processes.harness import eventually

CHILD = "import sys; from stepflow.drivers.postgres.process import identity; print(identity(), flush=True); sys.stdin.read()"


@pytest.fixture
def schema(server: Server) -> str:
    return server.schema()


@pytest.fixture
def sessions(server: Server, schema: str) -> Iterator[Sessions]:
    sessions = Sessions(PostgresDriver(server.url(schema)))
    yield sessions
    sessions.close()


def lose_lock(store: Any) -> None:
    """End the thread and the session that hold the owner's lock."""
    store._watch.close()


def lock_of(store: Any, mono: float) -> str:
    (peer,) = store.beat(NOW, mono=mono).peers
    return str(peer.lock)


def test_a_process_is_alive_until_it_has_ended() -> None:
    mine = identity()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        theirs = child.stdout.readline().strip()
        assert fate(mine, mine) == fate(theirs, mine) == "alive"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert fate(theirs, mine) == "gone"  # although its parent has not asked how it ended
    assert fate(theirs, mine) == "gone"


def test_only_a_process_of_this_machine_and_table_is_judged() -> None:
    mine = identity()
    boot, table, pid, started = mine.split(" ")
    assert fate(f"{boot} {table} {pid} {int(started) + 1}", mine) == "gone"  # the number is used again
    assert fate(f"other {table} {pid} {started}", mine) == "unknown"
    assert fate(f"{boot} pid:[1] {pid} {started}", mine) == "unknown"
    assert fate("", mine) == "unknown"
    assert fate("no identity", mine) == "unknown"
    assert fate(mine, "") == "unknown"


def test_a_process_that_is_gone_proves_death_at_once(server: Server, schema: str, sessions: Sessions) -> None:
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    one.beat(NOW)
    boot, table, _pid, started = identity().split(" ")
    server.execute(f"update {schema}.owners set process = '{boot} {table} 4194305 {started}' where id = 'one'")
    assert lock_of(two, 5.0) == "free"


def test_an_owner_elsewhere_that_lost_its_connection_is_not_shown_as_dead(
    server: Server, schema: str, sessions: Sessions
) -> None:
    """It opens another one, and beats; only one that is silent is dead for those who look once."""

    def shown() -> str:
        (peer,) = looker.read(OwnerQuery())
        return str(peer.lock)

    one, looker = sessions.session(owner="one"), sessions.session(owner="looker")
    one.beat(NOW)
    server.execute(f"update {schema}.owners set process = '' where id = 'one'")  # as if of another machine
    assert shown() == "held"
    lose_lock(one)
    eventually(lambda: shown() == "unknown")
    server.execute(f"update {schema}.owners set beat_at = beat_at - 6000000 where id = 'one'")
    assert shown() == "free"


def test_a_living_process_is_not_dead_because_its_lock_is_free(sessions: Sessions) -> None:
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    one.beat(NOW)
    lose_lock(one)
    assert [lock_of(two, 5.0), lock_of(two, 5.0 + QUIET_S), lock_of(two, 9.0)] == ["unknown"] * 3


def test_a_free_lock_of_another_machine_counts_when_its_beat_stands_still(
    server: Server, schema: str, sessions: Sessions
) -> None:
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    one.beat(NOW)
    server.execute(f"update {schema}.owners set process = 'elsewhere'")
    assert lock_of(two, 4.0) == "held"
    lose_lock(one)
    assert lock_of(two, 4.0 + SURE_S / 2) == "unknown"
    assert lock_of(two, 4.0 + SURE_S) == "free"
    one.beat(NOW)  # its process lives
    server.execute(f"update {schema}.owners set process = 'elsewhere'")
    assert lock_of(two, 5.0 + SURE_S) == "unknown"


def test_no_crash_is_counted_for_an_owner_that_comes_back(server: Server, schema: str, sessions: Sessions) -> None:
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    revs = make(one, creation("idle"), creation("moved"), creation("suspect"))
    held = claim(one)
    make(one, step(held["moved"], revs[1]))
    for crashes in range(1, 3):
        two.beat(NOW, dead=["one"])
        assert claimed(server, schema) == {"idle": crashes, "moved": crashes - 1, "suspect": crashes}
        assert not two.beat(NOW).peers  # reclaimed once
        if crashes == 1:
            held = claim(one)
            assert one.beat(NOW).reclaimed  # what it claimed since is its own
            assert claimed(server, schema) == {"idle": 0, "moved": 0, "suspect": 0}
            server.execute(f"update {schema}.queue set crashes = 1 where id in ('idle', 'suspect')")
    assert one.beat(NOW).reclaimed
    assert claimed(server, schema) == {"idle": 1, "moved": 0, "suspect": 1}
    assert not one.beat(NOW).reclaimed
    assert [peer.owner.id for peer in two.beat(NOW).peers] == ["one"]
    assert sorted(claim(two)) == ["idle", "moved", "suspect"]  # no suspect is left: all are in their usual places
    assert sessions.driver.maintenance("").check() == []


def claimed(server: Server, schema: str) -> dict[str, int]:
    with psycopg.connect(server.uri) as connection:
        return dict(connection.execute(f"select id, crashes from {schema}.queue").fetchall())
