"""Random failures at every point of a transaction: the user's rows and the run's record are both there, or both absent."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, RetryPolicy, Steps, named, workflow
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.store import Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.drivers.sqlite.session import SqliteStore
from stepflow.errors import OutcomeUnknown, StepflowError, Unavailable
from stepflow.testing import VirtualClock
from tests.postgres.banks import Bank, sqlite_bank

RUNS, CALLS = 60, 3
POINTS = ("begin", "before", "statement", "after", "finish", "commit", "answer")


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return sqlite_bank(tmp_path / "runs.db")


class Broken(Exception):
    """What a function raises."""


class Chaos:
    """Decides, from a seed, at which points something fails; looks at the store after each call."""

    def __init__(self, seed: int) -> None:
        self.random, self.hits = random.Random(seed), dict.fromkeys(POINTS, 0)

    def fails(self, point: str) -> bool:
        """Whether something fails here, this time."""
        hit = self.random.random() < 0.07
        self.hits[point] += hit
        return hit

    def write(self, connection: Any, name: str) -> str:
        """The user's function."""
        if self.fails("before"):
            raise Broken
        connection.execute(f"insert into bank values ('{name}')")
        if self.fails("statement"):
            connection.execute("insert into nowhere values (1)")
        if self.fails("after"):
            raise Broken
        return name

    @contextmanager
    def in_store(self, monkeypatch: pytest.MonkeyPatch, kind: type[Store]) -> Iterator[None]:
        """Let the transactions of this store fail, too."""
        begin: Callable[..., UserTransaction] = kind.begin
        chaos = self

        def failing(store: Store, *, awaited: bool = False) -> UserTransaction:
            if chaos.fails("begin"):
                raise Unavailable("no connection")
            opened = begin(store, awaited=awaited)
            finish, commit = opened.finish, opened.commit

            def failing_finish() -> None:
                if chaos.fails("finish"):
                    opened.roll_back()
                    raise Unavailable("the connection broke")
                finish()

            def failing_commit(member: Any, now: int) -> Any:
                if chaos.fails("commit"):
                    opened.roll_back()
                    raise Unavailable("the connection broke")
                done = commit(member, now)
                if chaos.fails("answer"):
                    raise OutcomeUnknown("the connection broke in COMMIT")
                return done

            opened.finish, opened.commit = failing_finish, failing_commit  # type: ignore[method-assign]
            return opened

        with monkeypatch.context() as patch:
            patch.setattr(kind, "begin", failing)
            patch.setattr("stepflow.engine.worker.worker.MAX_SLEEP_S", 0.01)  # a worker pauses so long after an error
            yield


def until_ended(engine: Engine, runs: list[Any]) -> None:
    """Work until all runs have ended; what the store refuses ends a call of the worker."""
    while any(not run.info().status.final for run in runs):
        try:
            engine.run_until_idle(advance=True)
        except StepflowError:
            continue


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_workflow_and_its_rows(bank: Bank, monkeypatch: pytest.MonkeyPatch, is_async: bool) -> None:
    chaos = Chaos(1)
    retry = RetryPolicy(max_attempts=2, delay=0.5)

    @workflow("w")
    def flow(wf: Context, n: int) -> list[str]:
        done = []
        for call in range(CALLS):
            try:
                done.append(wf.transaction(f"call {call}", chaos.write, f"{n}-{call}", retry=retry))
            except Exception:
                continue
        return done

    @workflow("w")
    async def aflow(wf: AsyncContext, n: int) -> list[str]:
        done = []
        for call in range(CALLS):
            try:
                done.append(await wf.transaction(f"call {call}", chaos.write, f"{n}-{call}", retry=retry))
            except Exception:
                continue
        return done

    both: Any = aflow if is_async else flow
    size = RUNS // 2  # sync and async
    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(both)
        runs = [engine.start(both, n, id=f"r{n}") for n in range(size)]
        with chaos.in_store(monkeypatch, SqliteStore):
            until_ended(engine, runs)
        expected = sorted(name for run in runs for name in run.result())
    assert bank.names() == expected
    _check_journals(bank, size, expected)
    assert 0 < len(expected) < size * CALLS
    assert all(chaos.hits.values()), chaos.hits


def test_a_chain_and_its_rows(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    chaos = Chaos(2)

    def step(order: dict[str, Any], connection: Any) -> None:
        order["done"].append(chaos.write(connection, f"{order['id']}-{len(order['done'])}"))

    inner = Steps(dict)
    for call in range(CALLS):
        inner = inner.do(f"s{call}", step, transaction=True)
    flow = named("order", dict).retry("again", lambda _order, _error: chaos.random.random() < 0.9, inner).compile()
    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        runs = [engine.start(flow, {"id": n, "done": []}, id=f"r{n}") for n in range(RUNS)]
        with chaos.in_store(monkeypatch, SqliteStore):
            until_ended(engine, runs)
        newest = [run.history()[-1].exchange for run in runs]
    assert bank.names() == sorted(name for exchange in newest for name in exchange["done"])
    assert all(chaos.hits.values()), chaos.hits


def _check_journals(bank: Bank, size: int, expected: list[str]) -> None:
    """The values that are recorded are those of the rows."""
    from stepflow.testing.conformance.kit import Sessions

    sessions = Sessions(bank.driver)
    with closing(sessions):
        journals = sessions.session().read(JournalQuery(tuple(f"r{n}" for n in range(size))))
    recorded = [
        row.text.strip('"') for rows in journals for row in rows if row.kind == "transaction" and not row.failed
    ]
    assert sorted(recorded) == expected
