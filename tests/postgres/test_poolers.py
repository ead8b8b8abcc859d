"""Behind a pooler of either mode everything works, whatever the URL says, and what cannot be done is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import Engine, named
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.postgres.connector import SETTINGS, Connector
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.transactions import POOLER_RETRIES_S, TransactionRunner
from stepflow.drivers.postgres.url import target_of
from stepflow.errors import StoreError
from tests.postgres.pooler import Pooler
from tests.postgres.server import Server

RUNS = 20
MakePooler = Callable[..., Pooler]


@pytest.fixture
def pooler(server: Server) -> Iterator[MakePooler]:
    made: list[Pooler] = []

    def make(mode: str, *, turns: bool = False) -> Pooler:
        made.append(Pooler(Path(server.uri.partition("host=")[2]), mode, turns=turns))
        return made[-1]

    yield make
    for one in made:
        one.close()


def through(server: Server, pooler: Pooler, /, **options: object) -> str:
    return server.url(**options).replace(server.uri.partition("host=")[2], str(pooler.folder), 1)


def connector_for(url: str, route: Route | None = None) -> Connector:
    return Connector(target_of(url), route or Route())


def work(url: str) -> None:
    """Runs with waits for events, by two engines at the same time."""
    done: list[str] = []
    flow = (
        named("chain", dict)
        .do("a", lambda exchange: done.append(exchange["id"]))
        .wait_event("news", "news", int, lambda exchange, payload: exchange.update(news=payload))
        .compile()
    )
    with Engine(url) as engine, Engine(url) as other:
        for one in (engine, other):
            one.register(flow)
        with engine.worker(), other.worker():
            runs = [engine.start(flow, {"id": f"r{n}"}, id=f"r{n}") for n in range(RUNS)]
            for number, run in enumerate(runs):
                other.get(run.id).publish("news", number, id="once")
            assert [run.result(60)["news"] for run in runs] == list(range(RUNS))
    assert sorted(done) == sorted(f"r{n}" for n in range(RUNS))


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_everything_works_without_an_option(server: Server, pooler: MakePooler, mode: str, turns: bool) -> None:
    work(through(server, pooler(mode, turns=turns)))


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_everything_works_with_the_right_option(server: Server, pooler: MakePooler, mode: str) -> None:
    work(through(server, pooler(mode), pooler=mode))


@pytest.mark.parametrize(
    ("mode", "turns", "direct", "pooled"),
    [
        ("", False, True, False),
        ("session", False, False, False),
        ("session", True, False, False),
        ("transaction", False, False, True),
        ("transaction", True, False, True),
    ],
)
def test_the_route_is_found_out(
    server: Server, pooler: MakePooler, mode: str, turns: bool, direct: bool, pooled: bool
) -> None:
    url = through(server, pooler(mode, turns=turns)) if mode else server.url()
    for busy in range(4):  # connections of other clients, which the pooler has at hand afterwards
        others = [connector_for(url)._plain() for _ in range(busy)]
        for other in others:
            other.execute("begin")
        for other in others:
            other.execute("commit")
        found = connector_for(url)
        found.connect_once().close()
        assert (found.direct, found.pooled) == (direct, pooled), busy
        for other in others:
            other.close()


def test_a_wrong_option_is_refused(server: Server, pooler: MakePooler) -> None:
    driver = PostgresDriver(through(server, pooler("transaction"), pooler="session"))
    for _try in range(2):
        with pytest.raises(StoreError, match="write pooler=transaction, or leave it out"):
            driver.connect("", Owner("me", "host", 1), 0)


@pytest.mark.parametrize("mode", ["", "session"])
def test_the_settings_are_made_wherever_a_session_has_a_connection_of_its_own(
    server: Server, pooler: MakePooler, mode: str
) -> None:
    connection = connector_for(through(server, pooler(mode)) if mode else server.url()).connect_once()
    # Those of TCP show as 0 on the socket of a test.
    wanted = {name: value for name, value in SETTINGS.items() if not name.startswith("tcp_")}
    assert {name: connection.execute(f"show {name}").fetchall()[0][0] for name in wanted} == wanted
    connection.close()


def test_no_setting_reaches_the_sessions_of_others(
    server: Server, pooler: MakePooler, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a pooler of transactions the settings would stay on connections that others get: they are named instead."""
    one = pooler("transaction")
    driver = PostgresDriver(through(server, one))
    with caplog.at_level(logging.WARNING, "stepflow"):
        for name in ("a", "b"):
            driver.connect("", Owner(name, "host", 1), 0).close()
    (told,) = [record.getMessage() for record in caplog.records if "ALTER ROLE" in record.getMessage()]
    assert "ALTER ROLE postgres SET lock_timeout = '10s';" in told
    with psycopg.connect(f"postgresql://postgres@/postgres?host={one.folder}", autocommit=True) as other:
        assert other.execute("show lock_timeout", prepare=False).fetchall() == [("0",)]


def test_a_role_with_the_settings_is_not_told_of_them(
    server: Server, pooler: MakePooler, caplog: pytest.LogCaptureFixture
) -> None:
    server.execute("create role settled login")
    server.execute("grant create on database postgres to settled")
    for name, value in SETTINGS.items():
        server.execute(f"alter role settled set {name} = '{value}'")
    url = through(server, pooler("transaction"), pooler="transaction").replace("postgres:@", "settled:@")
    with caplog.at_level(logging.WARNING, "stepflow"):
        PostgresDriver(url).connect("", Owner("me", "host", 1), 0).close()
    assert not caplog.records


def test_a_pooler_is_waited_for_as_long_as_it_refuses_clients() -> None:
    """It tries its server again only after a while."""
    paused: list[float] = []

    def wait(seconds: float) -> bool:
        paused.append(seconds)
        return False

    def total(direct: bool) -> float:
        paused.clear()
        connector: Any = connector_for("postgresql://localhost/db", Route(known=True, direct=direct))
        runner = TransactionRunner(connector, 1, chance=lambda: 0.5, wait=wait)
        assert len(list(runner.pauses())) == len(paused)
        return sum(paused)

    assert total(direct=True) < 15 < POOLER_RETRIES_S <= total(direct=False)
