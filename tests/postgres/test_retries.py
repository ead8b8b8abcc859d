"""A transaction that the server rolled back is tried again: after pauses with jitter, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from stepflow import StoreError, Unavailable
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.transactions import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    RETRIES_S,
    TransactionRunner,
    pauses,
)
from stepflow.drivers.postgres.url import target_of
from tests.postgres.server import Server


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_pauses_grow_have_jitter_and_an_end(chance: float) -> None:
    made = list(pauses(lambda: chance))
    assert made[:3] == [FIRST_PAUSE_S * (0.5 + chance) * factor for factor in (1, 2, 4)]
    assert max(made) == LONGEST_PAUSE_S * (0.5 + chance)
    assert RETRIES_S <= sum(made) < RETRIES_S + 2 * LONGEST_PAUSE_S


class Rounds:
    """Runs transactions of which the first `failures` are rolled back; notes the pauses."""

    def __init__(self, server: Server, failures: int, error: type[psycopg.Error]) -> None:
        self.connector = Connector(target_of(server.url()), Route())
        self.runner = TransactionRunner(self.connector, 1, chance=lambda: 0.5, wait=self._wait)
        self.left, self.error, self.pauses, self.closing = failures, error, list[float](), False

    def _wait(self, pause_s: float) -> bool:
        self.pauses.append(pause_s)
        return self.closing

    def run(self) -> str:
        return self.runner.run(self._work)

    def _work(self, connection: Connection) -> str:
        connection.execute("begin")
        if self.left:
            self.left -= 1
            raise self.error("in the way")
        connection.execute("commit")
        return "done"


@pytest.fixture
def rounds(server: Server) -> Iterator[list[Rounds]]:
    made: list[Rounds] = []
    yield made
    for one in made:
        one.runner.pool.close()


TRANSIENT = [psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected]


@pytest.mark.parametrize("error", TRANSIENT)
def test_twenty_failures_in_a_row_are_survived_with_a_pause_after_each(
    server: Server, rounds: list[Rounds], error: type[psycopg.Error]
) -> None:
    rounds.append(one := Rounds(server, 20, error))
    assert one.run() == "done"
    assert len(one.pauses) == 20
    assert one.pauses[:3] == [0.002, 0.004, 0.008]


@pytest.mark.parametrize("error", TRANSIENT)
def test_failures_without_end_are_told_after_a_while(
    server: Server, rounds: list[Rounds], error: type[psycopg.Error]
) -> None:
    rounds.append(one := Rounds(server, 1_000_000, error))
    with pytest.raises(Unavailable, match="kept getting into each other's way"):
        one.run()
    assert RETRIES_S <= sum(one.pauses) < RETRIES_S + 1


def test_a_session_that_closes_tries_no_more(server: Server, rounds: list[Rounds]) -> None:
    rounds.append(one := Rounds(server, 1_000_000, TRANSIENT[0]))
    one.closing = True
    with pytest.raises(StoreError):
        one.run()
    assert len(one.pauses) == 1
