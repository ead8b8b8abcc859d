"""Law 12: what is posted through a caller's transaction happens if that commits, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow.drivers.port.commit import Cancel, Commit, Created, Dequeue, Event, Fence, Release
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleEdit, ScheduleQuery
from stepflow.drivers.port.store import Driver
from stepflow.errors import StoreError
from stepflow.model.schedule_edit import parts_of
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    awaiting,
    claim,
    creation,
    ended,
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

    def test_law_12_a_start_that_is_posted_already_is_told_and_not_posted_again(
        self, sessions: Sessions, tx: Any
    ) -> None:
        first, second = creation("a"), creation("a", exchange="[3]")
        if self._post(sessions, tx, first):
            store, created = sessions.session(), first.writes[0].created
            assert store.post(tx, second) == [created]
            assert store.post(tx, creation("b"), second) == [None, created]
            tx.commit()
            assert record(store, "a").exchange == "{}"
            assert sessions.driver.maintenance("").conflicts(10) == []

    def test_law_12_a_commit_builds_on_it(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, creation("a")):
            tx.commit()
            (result,) = sessions.session().commit([creation("a", exchange="[2]")], NOW)
            assert isinstance(result, Exception)

    def test_law_12_what_cannot_take_place_is_kept_as_a_conflict(self, sessions: Sessions, tx: Any) -> None:
        other = creation("b", exchange="[3]")
        other = other._replace(writes=(other.writes[0]._replace(created=Created(FLOW, "another digest", NOW)),))
        if self._post(sessions, tx, creation("a"), publish("nobody", "paid", "1")):
            # none of these is there yet; two transactions may do that, too
            assert sessions.session().post(tx, creation("b"), creation("b"), other) == [None, None, None]
            tx.commit()
            store = sessions.session()
            assert record(store, "b").exchange == "{}"
            make(store, creation("c"))
            assert len(store.read(RunQuery(NOW))) == 3
            upkeep = sessions.driver.maintenance("")
            found = upkeep.conflicts(10)
            assert [(one.run_id, one.posted) for one in found] == [("b", "start"), ("nobody", "publish")]
            assert all(one.reason and one.at == NOW for one in found)
            assert [one.run_id for one in upkeep.conflicts(1)] == ["b"]
            assert sessions.driver.maintenance("other").conflicts(10) == []
            upkeep.prune(NOW + 1, 10)
            assert upkeep.conflicts(10) == []
        else:
            assert sessions.driver.maintenance("").conflicts(10) == []

    def test_law_12_a_posted_cancel_ends_the_run(self, sessions: Sessions, tx: Any) -> None:
        store = sessions.session()
        make(store, creation("free"), creation("waits", due=None, transition=awaiting("paid")), creation("held"))
        epochs = claim(store, limit=3)
        store.release([Release(Fence("free", epochs["free"].fence.epoch), NOW)], NOW)
        cancels = [
            Commit(cancel=(Cancel(run_id, NOW),)) for run_id in ("free", "waits", "held", "new", "free", "nobody")
        ]
        if self._post(sessions, tx, creation("new"), *cancels):
            assert record(store, "free").state.transition.status == ""
            tx.commit()
            other = sessions.session()
            ended = {run_id: record(other, run_id) for run_id in ("free", "waits", "held", "new")}
            assert [one.state.transition.status for one in ended.values()] == [
                "cancelled",
                "cancelled",
                "",
                "cancelled",
            ]
            held = ended["held"].row
            assert held is not None
            assert held.cancel
            assert [one.run_id for one in sessions.driver.maintenance("").conflicts(10)] == ["nobody"]

    def test_law_12_a_posted_cancel_of_a_run_that_ended_is_a_conflict(self, sessions: Sessions, tx: Any) -> None:
        make(sessions.session(), creation("a", due=None, transition=ended()))
        if self._post(sessions, tx, Commit(cancel=(Cancel("a", NOW),))):
            tx.commit()
            assert record(sessions.session(), "a").state.transition.status == "completed"
            assert [one.posted for one in sessions.driver.maintenance("").conflicts(10)] == ["cancel"]

    def test_law_12_a_run_is_seen_as_the_transaction_will_leave_it(self, sessions: Sessions, tx: Any) -> None:
        store = sessions.session()
        make(store, creation("old"), creation("waits", due=None, transition=awaiting("paid")))
        if not self._post(sessions, tx, creation('new"1', priority=3, labels={"k": "v"})):
            with pytest.raises(StoreError, match="tx="):
                store.load_in(object(), "old")
            return
        found = store.load_in(tx, 'new"1')
        assert found is not None
        assert (found.state.rev, found.state.labels, found.row and found.row.priority) == (0, {"k": "v"}, 3)
        assert store.load_in(tx, "new") is None
        assert store.load_in(tx, "old") == record(store, "old")._replace(exchange="", events=())
        store.post(tx, publish("waits", "paid", "1"))
        woken = store.load_in(tx, "waits")
        assert woken is not None
        assert woken.row is not None
        for run_id in ("old", 'new"1'):
            store.post(tx, Commit(cancel=(Cancel(run_id, NOW),)))
            gone = store.load_in(tx, run_id)
            assert gone is not None
            assert (gone.state.transition.status, gone.row) == ("cancelled", None)
        tx.rollback()
        assert record(store, "old").state.transition.status == ""

    def test_law_12_a_posted_edit_changes_a_schedule_as_it_then_is(self, sessions: Sessions, tx: Any) -> None:
        store = sessions.session()
        make(store, Commit(schedule=ScheduleChange("there", 0, NOW + 90, "body")))
        edits = (
            ScheduleEdit("there", NOW + 1, '"1"'),
            ScheduleEdit("made", NOW + 2, "2", "make"),
            ScheduleEdit("there", NOW + 3, "3"),
            ScheduleEdit("gone", NOW, "4", "make"),
            ScheduleEdit("gone", NOW),
            ScheduleEdit("absent", NOW, "5"),
            ScheduleEdit("ignored", NOW, "6", "ignore"),
        )
        started = creation("run")._replace(edit=ScheduleEdit("made", NOW + 4, "7", "ignore"))
        if self._post(sessions, tx, *(Commit(edit=edit) for edit in edits), started):
            seen = {name: store.load_schedule_in(tx, name) for name in ("there", "made", "gone", "absent")}
            (before,) = store.read(ScheduleQuery())
            assert (before.id, before.body) == ("there", "body")
            tx.commit()
            found = {row.id: row for row in store.read(ScheduleQuery())}
            bodies = {"there": ["body", '"1"', "3"], "made": [None, "2", "7"]}
            assert {name: parts_of(row.body) for name, row in found.items()} == bodies
            assert {name: row.due for name, row in found.items()} == {"there": NOW + 3, "made": NOW + 4}
            assert found["there"].version > before.version
            assert {name for name, row in seen.items() if row is not None} == {"there", "made"}
            assert store.next_due(FLOWS, NOW).schedule == NOW + 3
            assert record(store, "run").state.id == "run"
            (conflict,) = sessions.driver.maintenance("").conflicts(10)
            assert (conflict.run_id, conflict.posted) == ("absent", "change")

    def test_law_12_a_rollback_takes_an_edit_back(self, sessions: Sessions, tx: Any) -> None:
        if self._post(sessions, tx, Commit(edit=ScheduleEdit("made", NOW, "2", "make"))):
            tx.rollback()
            assert sessions.session().read(ScheduleQuery()) == []

    def test_law_12_a_posted_publish_wakes_the_run(self, sessions: Sessions, tx: Any) -> None:
        waiting = creation("a", due=None, transition=awaiting("paid"))
        if self._post(sessions, tx, waiting, publish("a", "paid", "1"), publish("nobody", "paid", "1")):
            tx.commit()
            store = sessions.session()
            assert [event.id for event in record(store, "a").events] == ["1"]
            assert set(claim(store)) == {"a"}

    def test_law_12_a_posted_event_keeps_the_context_of_its_trace(self, sessions: Sessions, tx: Any) -> None:
        store, trace = sessions.session(), f"00-{'ab' * 16}-{'cd' * 8}-01"
        make(store, creation("a"))
        events = (Event("a", "e", "1", "1", NOW, traceparent=trace), Event("a", "e", "2", "2", NOW))
        if self._post(sessions, tx, *(Commit(publish=(event,)) for event in events)):
            tx.commit()
            assert [(found.id, found.traceparent) for found in record(store, "a").events] == [("1", trace), ("2", "")]

    def test_law_12_other_commits_are_refused(self, sessions: Sessions, tx: Any) -> None:
        store = sessions.session()
        late = Commit(publish=(Event("a", "e", "1", "\ud800", NOW),))
        bad = [
            write("a", 5),
            Commit(unowned=("a",)),
            creation("a")._replace(cancel=(Cancel("b"),)),
            Commit(queue=(Dequeue("a"),)),
            late,
        ]
        for commit in bad:
            with pytest.raises(Exception, match=r"tx=|surrogate"):
                store.post(tx, commit)
        with pytest.raises(StoreError, match="tx="):
            store.post("no connection", creation("a"))
