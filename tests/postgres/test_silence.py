"""A server that does not answer: every wait has a limit, and what waits on other connections of a lost network ends soon."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine, named
from stepflow.drivers.postgres import PostgresDriver, change_listener, connection, owners
from stepflow.drivers.postgres.connection import ANSWER_S, Silent
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.url import target_of
from stepflow.errors import OutcomeUnknown, Unavailable
from stepflow.testing.conformance.kit import NOW, Sessions, creation, make, record
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server

SHORT_S = 1.0  # a server on a busy machine needs a part of that


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(Path(server.uri.partition("host=")[2]))
    yield proxy
    proxy.close()


@pytest.fixture
def url(server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store behind the proxy; what is urgent waits for SHORT_S only."""
    for module in (change_listener, connection, owners):
        monkeypatch.setattr(module, "URGENT_ANSWER_S", SHORT_S)
    return server.url(connect_timeout=2).replace(server.uri.partition("host=")[2], str(proxy.folder), 1)


@pytest.fixture
def store(url: str) -> Iterator[Any]:
    sessions = Sessions(PostgresDriver(url))
    yield sessions.session()
    sessions.close()


def ask(connection: Connection) -> None:
    connection.execute("select pg_sleep(60)")


def ask_in_a_pipeline(connection: Connection) -> None:
    with connection.pipeline():
        connection.execute("select 1")
        connection.execute("select pg_sleep(60)")


@pytest.mark.parametrize("asking", [ask, ask_in_a_pipeline])
def test_a_silent_server_is_given_up(server: Server, asking: Callable[[Connection], None]) -> None:
    one = Connector(target_of(server.url()), Route()).connect_once()
    one.answer_s = SHORT_S
    with pytest.raises(Silent, match="did not answer"):
        asking(one)
    assert one.closed


def test_an_answer_that_comes_in_parts_is_waited_for(server: Server) -> None:
    """The limit is one of silence: a server that sends a row now and then may need much longer."""
    one = Connector(target_of(server.url()), Route()).connect_once()
    one.answer_s = SHORT_S
    wide = "select repeat('x', 20000) from generate_series(1, 8) as n where pg_sleep(0.2) is not null"
    assert len(one.execute(wide).fetchall()) == 8
    one.close()


def test_all_waits_end_when_one_connection_turned_out_to_be_lost(store: Any, proxy: Proxy) -> None:
    make(store, creation("a"))
    reading = threading.Thread(target=store.load, args=(["a"],))
    proxy.mute()
    reading.start()  # its limit alone is ANSWER_S
    store.beat(NOW)
    reading.join(ANSWER_S / 2)
    assert not reading.is_alive()
    assert record(store, "a").state.id == "a"


def test_changes_are_heard_again(store: Any, server: Server, url: str, proxy: Proxy) -> None:
    token = store.wait_for_change(0, 0)
    proxy.mute()
    assert store.wait_for_change(token, ANSWER_S / 2) != token


def test_a_close_ends_whatever_the_network_does(url: str, proxy: Proxy) -> None:
    sessions = Sessions(PostgresDriver(url))
    store = sessions.session()
    make(store, creation("a"))
    store.beat(NOW)
    proxy.mute()
    closing = threading.Thread(target=store.close)
    closing.start()
    closing.join(ANSWER_S / 2)
    assert not closing.is_alive()


def test_a_server_that_stays_silent_is_an_error(store: Any) -> None:
    """After two silences; where a commit may have been done, the error says so."""
    runner = store._runner

    with pytest.raises(Unavailable, match="did not answer"):
        runner.run(ask, answer_s=SHORT_S)
    with pytest.raises(OutcomeUnknown, match="read the runs again"):
        runner.run(ask, lambda _connection: None, answer_s=SHORT_S)


def test_a_session_that_ends_waits_once_for_a_server_that_takes_no_connections(store: Any, proxy: Proxy) -> None:
    """What an engine does at its end would else wait for each connection anew, and the stop take the sum."""
    make(store, creation("a"))
    proxy.hold()
    store.hurry(ending=True)
    for _part in range(5):
        with pytest.raises(Unavailable):
            store.load(["a"])
    assert proxy.held <= 2  # one for the calls, one of the thread that listens


def test_a_session_whose_work_ended_waits_again(store: Any, proxy: Proxy) -> None:
    make(store, creation("a"))
    proxy.hold()
    store.hurry(ending=True)
    with pytest.raises(Unavailable):
        store.load(["a"])
    store.hurry(ending=False)
    proxy.pass_on()
    assert record(store, "a").state.id == "a"


def test_a_session_that_ends_reaches_a_server_that_answers(store: Any, proxy: Proxy) -> None:
    make(store, creation("a"))
    proxy.mute()
    store.hurry(ending=True)
    assert record(store, "a").state.id == "a"


def test_a_worker_that_is_stopped_while_connections_hang_does_not_wait_for_each_part_anew(
    url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each thread waits for the connection that it is making; what comes after that is refused, and told in the log."""
    begun, go, waited, usual = threading.Event(), threading.Event(), Counter[str](), Connector.connect_once

    def step() -> None:
        begun.set()
        go.wait(ANSWER_S)

    def connect_once(connector: Connector) -> Connection:
        waited[threading.current_thread().name] += proxy.holds
        return usual(connector)

    def stop_while_connections_hang() -> None:
        with Engine(url) as engine:
            engine.register(flow := named("q").do("a", step).do("b", step).compile())
            engine.start(flow)
            with engine.worker():
                assert begun.wait(ANSWER_S)
                proxy.hold()
                go.set()

    monkeypatch.setattr(Connector, "connect_once", connect_once)
    stop_while_connections_hang()
    assert "the engine was closed without telling its store" in caplog.text
    del waited["stepflow-postgres-listen"]  # which goes on until the session closes, and keeps nothing waiting
    assert all(times <= 2 for times in waited.values()), waited
