"""The rule book keeps its promises on arbitrary snapshots: a refused commit notes nothing, no wish and no event is lost."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Cancel, Commit, DedupKey, Dequeue, Enqueue, Event, Fence, Release, Write
from stepflow.drivers.port.delays import DataWrite, Delay
from stepflow.drivers.port.journal import JournalRow, Progress
from stepflow.drivers.port.pauses import FlowPause, Pause
from stepflow.drivers.port.rules import (
    Changes,
    decide_commit,
    decide_release,
    ids_of,
    pending_ids_of,
    publishes_of,
    reclaimed,
    returned,
)
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.errors import Duplicate, LostClaim, NotFound, RevMismatch, StepflowError, StoreError, TooLarge
from stepflow.model.lifecycle import UNSET, QueueRow
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State
from stepflow.testing.conformance.kit import awaiting, ended, going

NOW, ME = 100, "me"
quiet = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
ids = st.sampled_from(["a", "b", "c"])
transitions = st.sampled_from([going("x"), awaiting("paid"), ended()])
revs = st.integers(0, 1)  # few, so that most commits know the revision
epochs = st.integers(1, 2)


@st.composite
def snapshots(draw) -> RunSnapshot:
    run = RunSnapshot(rev=draw(st.sampled_from([1, 1, 1, 0])))
    if run.rev:
        run.newest, run.priority = 1, draw(st.integers(0, 1))
        run.at(draw(transitions))
        run.pending = draw(st.dictionaries(st.integers(1, 3), st.sampled_from(["paid", "sent"]), max_size=2))
        run.known = draw(st.sets(st.sampled_from(["e1", "e2"]), max_size=1))
        if draw(st.booleans()):
            owner = draw(st.sampled_from(["", "", "me", "you"]))
            run.epoch = draw(epochs)
            marks = draw(st.sampled_from([{}, {"cancel": True}, {"paused": True}]))
            run.row = QueueRow("order", NOW + draw(st.integers(-1, 1)), owner, run.epoch, **marks)
    return run


ROW = JournalRow("k", "once", "f", "1")
LIMITED = dump([Limit("k", 1), Limit("l", rate=1)])
enqueues = st.tuples(
    ids, st.just("order"), st.integers(90, 110), st.integers(0, 1), st.booleans(), st.sampled_from(["", LIMITED])
).map(lambda one: Enqueue(*one))
writes = st.tuples(ids, st.sampled_from([1, 1, 1, 0]), transitions).map(lambda one: Write(State(*one)))
events = st.tuples(ids, st.sampled_from(["paid", "sent"]), st.sampled_from(["e1", "e2"])).map(
    lambda one: Event(*one, "1", 1)
)
commits = st.builds(
    Commit,
    fence=st.none() | st.builds(Fence, ids, epochs),
    unowned=st.lists(ids, max_size=1).map(tuple),
    writes=st.lists(writes, max_size=2).map(tuple),
    consume=st.lists(st.integers(1, 3), max_size=1).map(tuple),
    queue=st.lists(enqueues | st.builds(Dequeue, ids), max_size=2).map(tuple),
    publish=st.lists(events, max_size=2).map(tuple),
    cancel=st.lists(st.builds(Cancel, ids), max_size=1).map(tuple),
    delays=st.lists(st.builds(Delay, ids.map(State), st.integers(90, 110)), max_size=1).map(tuple),
    data=st.lists(st.builds(DataWrite, ids, st.just(b"1"), st.just({})), max_size=1).map(tuple),
    placeholders=st.just(()),
    dedup=st.none() | st.just(DedupKey("k", "a", 200)),
    forget=st.lists(st.sampled_from(["", "k", "k:"]), max_size=1).map(tuple),
    journal=st.lists(st.sampled_from([ROW, ROW._replace(text="2"), ROW._replace(key="l")]), max_size=3).map(tuple),
    pause=st.lists(st.builds(Pause, ids, st.booleans()), max_size=2).map(tuple),
    flow_pause=st.none() | st.just(FlowPause("order", paused=True, at=NOW)),
)
batches = st.lists(commits, min_size=1, max_size=3)
runs_of_all = st.fixed_dictionaries(dict.fromkeys(("a", "b", "c"), snapshots()))


def copy_of(run: RunSnapshot) -> RunSnapshot:
    return evolve(run, pending=dict(run.pending), known=set(run.known))


def told(commit: Commit, changes: Changes) -> None:
    """What the driver reads before: the schedules that the commit changes, which are not there."""
    for change in (commit.schedule, commit.edit):
        if change is not None:
            changes.schedules.setdefault(change.id, None)


def decide(commit: Commit, runs: dict[str, RunSnapshot], changes: Changes, number: int = 0) -> StepflowError | None:
    told(commit, changes)
    return decide_commit(commit, number, runs, NOW, changes, [10 + number * 10 + n for n in range(len(commit.writes))])


@quiet
@given(batches, runs_of_all)
def test_a_refused_commit_notes_nothing(batch, runs):
    changes = Changes(owner=ME)
    for number, commit in enumerate(batch):
        told(commit, changes)
        before = repr((runs, changes))
        if decide(commit, runs, changes, number) is not None:
            assert repr((runs, changes)) == before


def journaled(commit: Commit) -> tuple[str, int]:
    return commit.fence or (commit.unowned[0], 0)


@quiet
@given(batches, runs_of_all)
def test_a_commit_notes_all_that_it_holds(batch, runs):
    changes = Changes(owner=ME)
    done = [(n, commit) for n, commit in enumerate(batch) if decide(commit, runs, changes, n) is None]
    writes = [((n, index), write) for n, commit in done for index, write in enumerate(commit.writes)]
    assert [(slot, write) for slot, write, _creates in changes.writes] == writes
    assert all(creates is (write.state.rev == 0) for _slot, write, creates in changes.writes)
    assert list(changes.data.values()) == [data for _n, commit in done for data in commit.data]
    assert list(changes.delays.values()) == [delay for _n, commit in done for delay in commit.delays]
    assert len(changes.consumed) == sum(len(commit.consume) for _n, commit in done)
    numbers = [number for given in changes.numbers.values() for part in given for number in part]
    assert len(numbers) == len(changes.data) + len(changes.delays)
    assert changes.forgets == [(journaled(commit)[0], name) for _n, commit in done for name in commit.forget]
    rows = [
        (journaled(commit), row) for _n, commit in done for row in {row.key: row for row in commit.journal}.values()
    ]
    assert changes.journal == [(run_id, row._replace(epoch=epoch, at=NOW)) for (run_id, epoch), row in rows]
    owned = [part for _n, commit in done for part in commit.queue if isinstance(part, Enqueue) and part.owned]
    assert [run_id for _n, run_id in changes.held] == [part.id for part in owned]
    assert all(run.row.owner in ("", ME) for run in runs.values() if run.placed and run.row)


@quiet
@given(commits, runs_of_all)
def test_no_cancel_and_no_awaited_event_is_lost(commit, runs):
    before = {run_id: copy_of(run) for run_id, run in runs.items()}
    if decide(commit, runs, Changes(owner=ME)) is not None:
        return
    for run_id, run in runs.items():
        if not run.rev or run.status:
            continue
        was = before[run_id].row
        if was is not None and was.cancel:
            assert run.row is not None
            assert run.row.cancel
        if run.row is None and run.placed:
            assert not run.has_pending(run.awaits)
        woken = any(event.run_id == run_id and event.name in run.awaits for event in commit.publish)
        if woken and run.known != before[run_id].known:
            assert run.row is not None
            assert run.row.owner or run.row.due <= NOW or not run.placed or run.row.paused


@quiet
@given(commits, runs_of_all)
def test_a_paused_run_stays_paused_and_is_taken_by_no_commit(commit, runs):
    before = {run_id: copy_of(run) for run_id, run in runs.items()}
    if decide(commit, runs, Changes(owner=ME)) is not None:
        return
    for run_id, run in runs.items():
        was = before[run_id].row
        asked = [pause.paused for pause in commit.pause if pause.id == run_id]
        if run.status or run.cancelled or any(cancel.id == run_id for cancel in commit.cancel):
            continue
        if asked[-1] if asked else was is not None and was.paused:
            assert run.row is not None
            assert run.row.paused
            if run.placed and was is not None and was.paused:
                assert not run.row.owner
        elif asked and run.row is not None:
            assert not run.row.paused
            assert run.row.due != UNSET


@quiet
@given(epochs, st.none() | st.integers(90, 110), snapshots())
def test_a_release_looks_again(epoch, due, run):
    release = Release(Fence("a", epoch), due)
    for events_ in ((), ("paid",), ("left", "paid")):
        found, asked = copy_of(run), release._replace(events=events_)
        held = run.row is not None and run.epoch == release.fence.epoch
        assert decide_release(asked, found, NOW) is held
        if not held:
            assert found == run
            continue
        if run.paused:  # it keeps a row, which no claim takes
            assert found.row is not None
            assert (found.row.paused, found.row.owner) == (True, "")
            continue
        wanted = run.cancelled or run.has_pending(events_)
        due = min(NOW, NOW if asked.due is None else asked.due) if wanted else asked.due
        assert (found.row and found.row.due) == due
        assert found.row is None or (not found.row.owner and found.row.cancel == run.row.cancel)


@quiet
@given(commits)
def test_what_a_driver_is_told_to_read_is_enough(commit):
    touched = set(ids_of(commit))
    assert {run_id for run_id, _name, _id in publishes_of(commit)} <= touched
    assert set(pending_ids_of(commit)) <= touched
    runs = {run_id: RunSnapshot(1, 1) for run_id in touched}
    assert decide(commit, runs, Changes()) is None or set(runs) == touched  # it asked for no other run


@pytest.mark.parametrize(
    ("commit", "error", "text"),
    [
        (Commit(Fence("a", 7)), LostClaim, "epoch 7"),
        (Commit(journal=(ROW,)), StoreError, "give the commit its fence"),
        (Commit(writes=(Write(State("a", 1)),), forget=("k",)), StoreError, "give the commit its fence"),
        (Commit(unowned=("held",)), LostClaim, "held by a worker"),
        (Commit(writes=(Write(State("a", 3)),)), RevMismatch, "a"),
        (Commit(writes=(Write(State("a", 1)), Write(State("a", 1)))), RevMismatch, "a"),
        (Commit(Fence("held", 1), consume=(4,)), NotFound, "[4]"),
        (Commit(queue=(Enqueue("nobody", "f", 1),)), NotFound, "'nobody'"),
        (Commit(publish=(Event("nobody", "n", "1", "1", 1),)), NotFound, "'nobody'"),
        (Commit(cancel=(Cancel("a"),)), LostClaim, "directly"),
        (Commit(queue=(Dequeue("held"),), cancel=(Cancel("held"),)), LostClaim, "directly"),
        (Commit(data=(DataWrite("a", b"12345", {}),)), TooLarge, "has 5 bytes, test:// stores at most 4"),
        (Commit(dedup=DedupKey("k", "b", 200)), Duplicate, "'a'"),
    ],
)
def test_refusals(commit, error, text):
    row = QueueRow("order", NOW, "you", 1)
    runs = {"a": RunSnapshot(1, 1), "held": RunSnapshot(1, 1, 1, row), "nobody": RunSnapshot()}
    found = decide(commit, runs, Changes(store="test://", largest_blob=4, reserved={"k": "a"}))
    assert type(found) is error
    assert text in str(found)


def test_a_second_claim_of_the_same_batch_is_lost_once_the_row_was_placed():
    runs = {"a": RunSnapshot(1, 1, 1, QueueRow("order", NOW, ME, 1))}
    changes = Changes(owner=ME)
    assert decide(Commit(Fence("a", 1), queue=(Dequeue("a"),)), runs, changes) is None
    assert isinstance(decide(Commit(Fence("a", 1)), runs, changes, 1), LostClaim)
    assert not decide_release(Release(Fence("a", 1), NOW), runs["a"], NOW)


def test_an_event_published_by_the_same_batch_keeps_the_row():
    run = RunSnapshot(1, 1, 1, QueueRow("order", NOW, ME, 1))
    run.at(awaiting("paid"))
    changes = Changes(owner=ME)
    assert decide(Commit(publish=(Event("a", "paid", "e", "1", 1),)), {"a": run}, changes) is None
    assert decide(Commit(Fence("a", 1), queue=(Dequeue("a"),)), {"a": run}, changes, 1) is None
    assert run.row == QueueRow("order", NOW)


def test_a_run_is_suspected_if_its_owner_died_without_a_commit():
    row = QueueRow("order", 90, "you", 5, claim_rev=3, crashes=1, cancel=True, unfinished=5)
    freed = row._replace(owner="", due=NOW)
    assert reclaimed(row, 3, NOW, Progress.NONE) == freed._replace(crashes=2, unfinished=6)
    assert reclaimed(row, 4, NOW, Progress.NONE) == freed._replace(crashes=0, unfinished=1)
    assert reclaimed(row, 3, NOW, Progress.WITHIN_STEP) == freed._replace(crashes=0, unfinished=6)
    assert reclaimed(row, 3, NOW, Progress.NEXT_CALL) == freed._replace(crashes=0, unfinished=1)
    assert returned(row, 3) == row._replace(owner="")
    assert returned(row, 4) == row._replace(owner="", unfinished=0)
