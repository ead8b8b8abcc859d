"""Law 12: what is posted through a caller's transaction happens if that commits, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow.drivers.port.commit import Cancel, Commit, Dequeue, Event
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.store import Driver
from stepflow.errors import StoreError
from stepflow.testing.conformance.kit import (
    FLOWS,
    NOW,
    Sessions,
    awaiting,
    claim,
    creation,
    make,
    publish,
    record,
    write,
)


class InboxLaws:
    """A store without transactions that a caller could join refuses; the others keep the law."""

    def begin(self, driver: Driver) -> Any:  # noqa: ARG002
        """A caller's open transaction on the driver's store, with `commit()`, `rollback()` and `close()`; None: it has none."""
        return None

    @pytest.fixture
    def tx(self, sessions: Sessions) -> Any:
        """The caller's transaction."""
        sessions.session()  # makes the schema
        found = self.begin(sessions.driver)
        yield found
        if found is not None:
            found.close()

    def _post(self, sessions: Sessions, tx: Any, *commits: Commit) -> bool:
        """Post the commits; False, after a look at the refusal, when the store takes none."""
        store = sessions.session()
        for commit in commits:
            if tx is None:
                with pytest.raises(StoreError, match="tx="):
                    store.post(object(), commit)
            else:
                store.post(tx, commit)
        return tx is not None

    def test_law_12_a_posted_start_happens_with_the_transaction(self, sessions: Sessions, tx: Any) -> None:
        if self._post(
            sessions, tx, creation("a", exchange='"ü\\u0000"', labels={"k": "v\x00"}, priority=3, created_at=7)
        ):
            store = sessions.session()
            assert store.load(["a"]) == [None]
            tx.commit()
            found = record(store, "a")
            assert (found.exchange, dict(found.state.labels)) == ('"ü\\u0000"', {"k": "v\x00"})
            assert (found.created.created_at, found.row and found.row.priority) == (7, 3)
            assert set(claim(store)) == {"a"}

    def test_law_12_a_rollback_takes_it_back(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, creation("a")):
            tx.rollback()
            store = sessions.session()
            assert claim(store) == {}
            assert store.load(["a"]) == [None]

    def test_law_12_every_call_sees_what_was_posted(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, creation("a"), creation("b"), publish("a", "e", "1")):
            tx.commit()
            store = sessions.session()
            assert store.next_due(FLOWS, NOW).next_due == NOW
            assert len(store.read(RunQuery(NOW))) == 2
            assert set(claim(store)) == {"a", "b"}
            assert len(record(store, "a").events) == 1

    def test_law_12_a_claim_alone_sees_it_too(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, creation("a")):
            tx.commit()
            assert set(claim(sessions.session())) == {"a"}

    def test_law_12_a_commit_builds_on_it(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, creation("a")):
            tx.commit()
            (result,) = sessions.session().commit([creation("a", exchange="[2]")], NOW)
            assert isinstance(result, Exception)

    def test_law_12_a_posted_start_of_an_id_that_exists_is_dropped(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, creation("a", exchange="[2]"), creation("b"), creation("b", exchange="[3]")):
            tx.commit()
            store = sessions.session()
            assert record(store, "b").exchange == "{}"
            make(store, creation("c"))
            assert len(store.read(RunQuery(NOW))) == 3

    def test_law_12_a_posted_publish_wakes_the_run(self, sessions: Sessions, tx: Any) -> None:
        waiting = creation("a", due=None, transition=awaiting("paid"))
        if self._post(sessions, tx, waiting, publish("a", "paid", "1"), publish("nobody", "paid", "1")):
            tx.commit()
            store = sessions.session()
            assert [event.id for event in record(store, "a").events] == ["1"]
            assert set(claim(store)) == {"a"}

    def test_law_12_other_commits_are_refused(self, sessions: Sessions, tx: Any) -> None:
        store = sessions.session()
        late = Commit(publish=(Event("a", "e", "1", "\ud800", NOW),))
        bad = [
            write("a", 5),
            Commit(unowned=("a",)),
            Commit(cancel=(Cancel("a"),)),
            Commit(queue=(Dequeue("a"),)),
            late,
        ]
        for commit in bad:
            with pytest.raises(Exception, match=r"tx=|surrogate"):
                store.post(tx, commit)
        with pytest.raises(StoreError, match="tx="):
            store.post("no connection", creation("a"))
