"""Law 27: a run with a time limit has a row among the schedules, due at its end, as long as it is open and not cancelled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stepflow.drivers.port.commit import SAME_PRIORITY, Cancel, Commit, Created, Dequeue, Enqueue, Fence, Write
from stepflow.drivers.port.inbox import cancel_of
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery, ScheduleRow, run_end_id
from stepflow.drivers.port.step import step_of
from stepflow.drivers.port.store import Store
from stepflow.errors import LostClaim, RevMismatch
from stepflow.model.family import PARENT
from stepflow.model.run_timeout import RUN_ENDS, with_end
from stepflow.model.state import CANCEL, STYLE, State, Transition
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    awaiting,
    begun,
    claim,
    creation,
    ended,
    going,
    make,
    polling,
    record,
    refused,
    step,
)

LIMIT = 5_000_000
LIMITED = with_end({"tenant": "ü"}, LIMIT, NOW)
FINAL = ["completed", "failed", "cancelled"]


def due(store: Store) -> Sequence[ScheduleRow]:
    """The rows of all ends, the first one first."""
    return store.read(ScheduleQuery(until=NOW + 1_000 * LIMIT))


def ids(store: Store) -> list[str]:
    """The runs that end at some time."""
    return [row.id.removeprefix(run_end_id("")) for row in due(store)]


class RunTimeoutLaws:
    """The row of the end of a run comes and goes with the writes of the run, whatever way these take."""

    def test_law_27_a_creation_makes_the_row(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED))
        (row,) = due(store)
        assert (row.id, row.due) == (run_end_id("r"), NOW + LIMIT)
        assert store.next_due(FLOWS, NOW).schedule == NOW + LIMIT
        assert store.read(ScheduleQuery(row.id)) == [row]
        assert store.read(ScheduleQuery()) == []
        assert store.read(ScheduleQuery(until=NOW + LIMIT - 1)) == []
        assert record(store, "r").state.labels == LIMITED
        assert sessions.driver.maintenance("").check() == []
        assert due(sessions.session("other")) == []

    def test_law_27_lists_of_schedules_leave_the_rows_out(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, *[creation(name, labels=LIMITED) for name in ("r", "\x02", "ü", "z" * 512)])
        make(store, Commit(schedule=ScheduleChange("nightly", 0, NOW, "{}")))
        assert [row.id for row in store.read(ScheduleQuery())] == ["nightly"]
        assert [row.id for row in store.read(ScheduleQuery(limit=1))] == ["nightly"]
        assert sorted(ids(store)) == sorted(["nightly", "r", "\x02", "ü", "z" * 512])

    def test_law_27_beside_other_creations_of_a_batch(self, sessions: Sessions) -> None:
        store = sessions.session()
        later = with_end({}, LIMIT, NOW + 7)
        make(
            store, creation("a"), creation("b", labels=LIMITED), creation("c", labels={"k": "v"}),
            creation("d", labels=later), creation("e", labels=LIMITED, transition=awaiting("x"), due=None),
        )  # fmt: skip
        assert ids(store) == ["b", "e", "d"]
        assert len(store.claim(FLOWS, NOW, 9)) == 4

    def test_law_27_children_that_a_held_run_starts(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "p")
        state = State("p/a", 0, going(), {PARENT: "p", **LIMITED})
        write = Write(state, "1", Created(FLOW, "h", NOW))
        row = JournalRow("a", "child", FLOW, "1")
        make(store, Commit(held.fence, writes=(write,), queue=(Enqueue("p/a", FLOW, NOW),), journal=(row,)))
        assert ids(store) == ["p/a"]

    @pytest.mark.parametrize("status", FINAL)
    @pytest.mark.parametrize("shape", ["step", "commit"])
    def test_law_27_the_end_deletes_the_row(self, sessions: Sessions, status: str, shape: str) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED), creation("other", labels=LIMITED), creation("plain"))
        held = claim(store)
        (rev,) = make(store, step(held["r"], held["r"].row.claim_rev, going("x"), labels=LIMITED))
        assert [(row.id, row.due) for row in due(store)] == [(run_end_id(name), NOW + LIMIT) for name in ("other", "r")]
        last = step(held["r"], rev, ended(status), labels=LIMITED, end=True)
        beside = step(held["plain"], held["plain"].row.claim_rev, ended(), end=True)
        make(store, *[step_of(one) or one if shape == "step" else one for one in (last, beside)])
        assert ids(store) == ["other"]
        assert sessions.driver.maintenance("").check() == []

    def test_law_27_steps_waits_and_sleeps_keep_it(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED))
        (before,), held = due(store), claim(store)["r"]
        part = step(held, held.row.claim_rev, polling(), labels=LIMITED)
        (rev,) = make(store, part._replace(queue=(Enqueue("r", FLOW, NOW, SAME_PRIORITY),)))
        held = claim(store)["r"]
        make(store, step(held, rev, awaiting("paid"), labels=LIMITED, end=True))
        assert record(store, "r").row is None
        assert due(store) == [before]

    def test_law_27_a_cancel_deletes_it(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED), creation("w", labels=LIMITED, transition=awaiting("x"), due=None))
        held = claim(store)["r"]
        make(store, Commit(cancel=(Cancel("r"),)))
        assert ids(store) == ["r", "w"]  # its holder may not have heard of it yet
        undoing = Transition(FLOW, {STYLE: "workflow", CANCEL: str(NOW)})
        make(store, step(held, held.row.claim_rev, undoing, labels=LIMITED))
        make(store, cancel_of(record(store, "w"), NOW))
        assert record(store, "w").state.transition.status == "cancelled"
        assert ids(store) in ([], ["r"])  # a fast path may leave the one of a held run
        held_rev = record(store, "r").state.rev
        make(store, step(held, held_rev, ended("cancelled"), labels=LIMITED, end=True))
        assert due(store) == []

    def test_law_27_a_run_that_is_moved_from_outside_has_the_row_of_its_label(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED))
        held, first = claim(store)["r"], due(store)[0]
        (rev,) = make(store, step(held, held.row.claim_rev, ended("failed"), labels=LIMITED, end=True))
        assert due(store) == []
        anew = with_end({"tenant": "ü"}, LIMIT, NOW + 3)
        again = Write(State("r", rev, going("again"), anew), labels_before=LIMITED)
        make(store, Commit(unowned=("r",), writes=(again,), queue=(Enqueue("r", FLOW, NOW, SAME_PRIORITY),)))
        (row,) = due(store)
        assert (row.id, row.due) == (run_end_id("r"), NOW + 3 + LIMIT)
        assert row.version != first.version
        assert record(store, "r").state.labels == anew
        done = Commit(unowned=("r",), schedule=ScheduleChange(row.id, row.version))
        make(store, done)
        assert due(store) == []
        assert isinstance(refused(store, done), RevMismatch)

    def test_law_27_what_is_refused_changes_no_row(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED), creation("there"))
        before, held = due(store), claim(store)["r"]
        lost, rev = Fence("r", held.fence.epoch + 1), held.row.claim_rev
        assert isinstance(refused(store, step(lost, rev, ended(), labels=LIMITED, end=True)), LostClaim)
        assert isinstance(refused(store, step(held, rev + 1, ended(), labels=LIMITED, end=True)), RevMismatch)
        assert isinstance(refused(store, creation("there", labels=LIMITED)), RevMismatch)
        assert isinstance(refused(store, creation("r", labels=with_end({}, LIMIT, NOW + 9))), RevMismatch)
        assert due(store) == before

    def test_law_27_a_run_that_ends_in_its_first_write_has_none(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED, transition=ended(), due=None))
        assert due(store) == []

    @pytest.mark.parametrize("text", ["", "soon", "5", "-1 5", "1 x", "1 2 3"])
    def test_law_27_a_label_that_cannot_be_read_makes_none(self, sessions: Sessions, text: str) -> None:
        store = sessions.session()
        make(store, creation("r", labels={RUN_ENDS: text}))
        held = claim(store)["r"]
        make(store, step(held, held.row.claim_rev, ended(), labels={RUN_ENDS: text}, end=True))
        assert due(store) == []
        assert record(store, "r").state.transition.status == "completed"

    def test_law_27_the_row_of_an_unheld_run_goes_with_its_end(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r", labels=LIMITED))
        state = record(store, "r").state._replace(transition=ended("failed"))
        make(store, Commit(unowned=("r",), writes=(Write(state),), queue=(Dequeue("r"),)))
        assert due(store) == []
