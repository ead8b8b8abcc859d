"""Law 25: what a function writes through the connection that it got is durable together with our commit, or not at all."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepflow.drivers.port.commit import Committed, Fence
from stepflow.drivers.port.step import Append
from stepflow.drivers.port.store import Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.errors import LostClaim, RevMismatch, StepflowError, StoreError
from stepflow.testing.conformance.kit import (
    NOW,
    Sessions,
    answered,
    as_member,
    begun,
    creation,
    going,
    journal,
    make,
    record,
    step,
)
from stepflow.testing.conformance.laws.journal import rows

INSERT = "insert into bank (name) values ('{}')"


def _bank(sessions: Sessions) -> Store:
    """A session on a store with a table of the user's, which is not made if the store has no transactions: the law is that it says so."""
    store = sessions.session()
    if sessions.driver.transactions == "none":
        with pytest.raises(StoreError, match="no transactions for functions"):
            store.begin()
        with pytest.raises(StoreError, match="no transactions for async functions"):
            store.begin(awaited=True)
        return store
    held, _rev = begun(store, "founder")
    opened = store.begin()
    opened.connection.execute("drop table if exists bank")
    opened.connection.execute("create table bank (name text)")
    opened.finish()
    assert isinstance(opened.commit(Append(*held.fence, rows("made")), NOW), Committed)
    return store


def _names(store: Store) -> list[str]:
    """The rows of the table, in a transaction of their own."""
    opened = store.begin()
    try:
        return [row[0] for row in opened.connection.execute("select name from bank order by name").fetchall()]
    finally:
        opened.roll_back()


def _insert(opened: UserTransaction, name: str) -> None:
    opened.connection.execute(INSERT.format(name))


def _end(opened: UserTransaction, text: str) -> None:
    """Try to end the transaction by a statement: that, or `finish`, tells it."""
    opened.connection.execute(text)
    opened.finish()


class UserTransactionLaws:
    """A function's writes and a member: both or neither."""

    def test_law_25_the_functions_writes_and_the_member_are_durable_together(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, rev = begun(store, "a")
        before, opened = record(store, "a"), store.begin()
        _insert(opened, "first")
        assert (record(store, "a"), journal(store, "a")) == (before, [])
        opened.finish()
        assert opened.commit(Append(*held.fence, rows("memo")), NOW + 1) == Committed(committed_at=NOW + 1)
        assert (_names(store), journal(store, "a")) == (["first"], list(rows("memo")))
        for number, member in enumerate(
            (step(held, rev, going("x"), "[1]"), as_member(step(held, 0, going("y"), "[2]")))
        ):
            state = record(store, "a").state
            opened = store.begin()
            _insert(opened, f"step {number}")
            opened.finish()
            done = answered(opened.commit(_at(member, state.rev), NOW + 2))
            assert done == (record(store, "a").state.rev, NOW + 2)
            assert done[0] > state.rev
        assert record(store, "a").exchange == "[2]"
        assert _names(sessions.session()) == ["first", "step 0", "step 1"]
        make(store, step(held, record(store, "a").state.rev, going("z")))  # the session's own commits go on
        assert sessions.driver.maintenance("").check() == []

    def test_law_25_a_member_that_is_refused_takes_the_functions_writes_back(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, rev = begun(store, "a")
        for member, refusal in (
            (Append("a", held.fence.epoch + 1, rows("x")), LostClaim),
            (step(Fence("nobody", 1), rev), LostClaim),
            (as_member(step(Fence("a", held.fence.epoch - 1), rev)), LostClaim),
            (step(held, rev + 1), RevMismatch),
            (creation("a"), RevMismatch),
        ):
            opened = store.begin()
            _insert(opened, "lost")
            opened.finish()
            assert isinstance(opened.commit(member, NOW), refusal)
        assert (_names(store), journal(store, "a"), record(store, "a").state.rev) == ([], [], rev)

    def test_law_25_a_claim_that_is_lost_while_the_function_runs_takes_its_writes_back(
        self, sessions: Sessions
    ) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions != "async":  # others keep all other writers out meanwhile
            return
        held, rev = begun(store, "a")
        opened = store.begin()
        _insert(opened, "lost")
        sessions.session().beat(NOW, dead=[record(store, "a").row.owner])  # type: ignore[union-attr]
        opened.finish()
        assert isinstance(opened.commit(step(held, rev), NOW), LostClaim)
        assert (_names(store), record(store, "a").state.rev) == ([], rev)

    def test_law_25_without_a_commit_nothing_was_written(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, rev = begun(store, "a")
        opened = store.begin()
        _insert(opened, "undone")
        opened.roll_back()
        opened.roll_back()
        with pytest.raises(StoreError, match="has ended"):
            opened.commit(Append(*held.fence, rows("x")), NOW)
        make(store, step(held, rev))
        assert (_names(store), journal(store, "a")) == ([], [])

    def test_law_25_the_function_cannot_end_the_transaction_unnoticed(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        opened = store.begin()
        _insert(opened, "undone")
        for method in ("commit", "rollback", "close"):
            with pytest.raises(StepflowError, match="belongs to stepflow"):
                getattr(opened.connection, method)()
        opened.roll_back()
        for text in ("commit", "rollback", "commit; begin"):
            opened = store.begin()
            with pytest.raises(Exception, match=r"belongs to stepflow|not authorized|one statement"):
                _end(opened, text)
            opened.roll_back()
        assert _names(store) == []

    def test_law_25_a_statement_that_failed_may_be_undone_by_a_savepoint(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, _rev = begun(store, "a")
        opened = store.begin()
        _insert(opened, "kept")
        opened.connection.execute("savepoint mine")
        _insert(opened, "undone")
        with pytest.raises(Exception, match="nowhere"):
            opened.connection.execute("insert into nowhere (x) values (1)")
        opened.connection.execute("rollback to savepoint mine")
        opened.finish()
        assert isinstance(opened.commit(Append(*held.fence, rows("x")), NOW), Committed)
        assert _names(store) == ["kept"]

    def test_law_25_the_connection_is_refused_after_the_end(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, _rev = begun(store, "a")
        ended = []
        for _ in range(2):
            opened = store.begin()
            ended.append(opened)
            opened.finish()
            assert isinstance(opened.commit(Append(*held.fence, rows("x")), NOW), Committed)
        ended.append(store.begin())
        ended[-1].roll_back()
        for opened in ended:
            with pytest.raises(Exception, match=r"has ended|closed"):
                _insert(opened, "late")
        assert _names(store) == []

    def test_law_25_an_abandoned_function_writes_no_more_and_keeps_no_one_out(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, rev = begun(store, "a")
        opened, inside, go_on = store.begin(), threading.Event(), threading.Event()
        raised: list[BaseException] = []

        def function() -> None:
            try:
                _insert(opened, "lost")
                inside.set()
                go_on.wait()
                _insert(opened, "late")
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                raised.append(error)

        thread = threading.Thread(target=function)
        thread.start()
        inside.wait()
        opened.abandon()
        make(store, step(held, rev))
        go_on.set()
        thread.join()
        assert len(raised) == 1
        with pytest.raises(StoreError, match="has ended"):
            opened.commit(Append(*held.fence, rows("x")), NOW)
        assert (_names(store), journal(store, "a")) == ([], [])

    def test_law_25_what_a_function_sets_for_its_session_is_gone_for_the_next_one(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        held, _rev = begun(store, "a")
        for _ in range(2):
            opened = store.begin()
            opened.connection.execute("create temporary table mine (x integer)")
            opened.connection.row_factory = lambda *_any: lambda *_row: "changed"
            opened.finish()
            assert isinstance(opened.commit(Append(*held.fence, rows("x")), NOW), Committed)
        assert _names(store) == []

    def test_law_25_an_async_function_gets_a_connection_whose_statements_are_awaited(self, sessions: Sessions) -> None:
        store = _bank(sessions)
        if sessions.driver.transactions == "none":
            return
        if sessions.driver.transactions == "sync":
            with pytest.raises(StoreError, match="async"):
                store.begin(awaited=True)
            return
        held, _rev = begun(store, "a")

        async def write(opened: Any, name: str) -> None:
            await opened.connection.execute(INSERT.format(name))

        for name, commits in (("kept", True), ("undone", False), ("more", True)):
            opened = store.begin(awaited=True)
            asyncio.run(write(opened, name))
            if commits:
                opened.finish()
                assert isinstance(opened.commit(Append(*held.fence, rows(name)), NOW), Committed)
            else:
                opened.roll_back()
        assert (_names(store), journal(store, "a")) == (["kept", "more"], list(rows("kept", "more")))


def _at(member: Any, rev: int) -> Any:
    """The same step of another revision."""
    if hasattr(member, "writes"):
        (write,) = member.writes
        state = write.state
        moved = type(state)(state.id, rev, state.transition, state.labels, state.annotations)
        return member._replace(writes=(write._replace(state=moved),))
    member.rev = rev
    return member
