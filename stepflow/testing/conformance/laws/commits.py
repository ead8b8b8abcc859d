"""Laws 1 to 4: commits are atomic, optimistic, numbered and fenced."""

from __future__ import annotations

from stepflow.drivers.port.commit import Cancel, Commit, Committed, Dequeue, Enqueue, Event, Fence, Release, Write
from stepflow.drivers.port.queries import HistoryQuery, RunQuery
from stepflow.drivers.port.step import Step
from stepflow.errors import LostClaim, NotFound, RevMismatch
from stepflow.model.state import PARKED, State
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    Sessions,
    answered,
    as_member,
    begun,
    claim,
    creation,
    ended,
    going,
    make,
    publish,
    record,
    revisions,
    step,
    write,
)


class CommitLaws:
    """What a commit does, and what a refused one does not do."""

    def test_law_1_a_commit_of_several_writes_applies_whole(self, sessions: Sessions) -> None:
        store = sessions.session()
        (result,) = store.commit([Commit(writes=creation("a").writes + creation("b").writes)], NOW)
        found = store.load(["a", "b"])
        assert isinstance(result, Committed)
        assert [r.state.rev for r in found if r] == list(result.revs)

    def test_law_1_a_refused_commit_changes_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", labels={"k": "v"}))
        before, head = record(store, "a"), store.next_due({}, NOW).head
        refused = Commit(
            writes=(*write("a", before.state.rev).writes, *creation("b").writes, *write("c", 77).writes),
            queue=(Enqueue("a", FLOW, 5),),
            publish=(Event("a", "e", "1", "1", NOW),),
        )
        (result,) = store.commit([refused], NOW)
        assert isinstance(result, RevMismatch)
        assert result.ids == ["c"]
        assert store.load(["a", "b", "c"]) == [before, None, None]
        assert store.next_due({}, NOW).head == head

    def test_law_1_a_part_that_fails_late_takes_the_writes_along(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("a", due=None))[0]
        late = (Commit(queue=(Enqueue("nobody", FLOW, 1),)), publish("nobody", "e", "1"), Commit(cancel=(Cancel("a"),)))
        for part in late:
            moved = Commit(writes=write("a", rev).writes, queue=part.queue, publish=part.publish, cancel=part.cancel)
            (result,) = store.commit([moved], NOW)
            assert isinstance(result, NotFound | LostClaim)
            assert record(store, "a").state.rev == rev

    def test_law_1_bad_members_do_not_disturb_the_others(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, *[creation(f"r{n}") for n in range(6)])
        held = claim(store)
        lost = Fence("r0", held["r0"].fence.epoch + 1000)
        batch = [
            step(held["r1"], held["r1"].row.claim_rev),
            step(lost, held["r0"].row.claim_rev),
            creation("new"),
            step(held["r2"], 1_000_000),
            creation("r3"),
            publish("r4", "e", "1"),
            step(held["r5"], held["r5"].row.claim_rev, ended(), end=True),
        ]
        results = store.commit(batch, NOW)
        kinds = [type(result) for result in results]
        assert kinds == [Committed, LostClaim, Committed, RevMismatch, RevMismatch, Committed, Committed]
        assert record(store, "r5").row is None
        assert record(store, "new").state.parked is False
        assert [e.id for e in record(store, "r4").events] == ["1"]
        assert record(store, "r2").state.rev == held["r2"].row.claim_rev

    def test_law_1_batches_of_every_size_apply(self, sessions: Sessions) -> None:
        store = sessions.session()
        sizes = (1, 2, 3, 31, 64, 100, 300)
        for size in sizes:
            made = make(store, *[creation(f"{size}-{n}", exchange=f"[{n}]") for n in range(size)])
            assert made == sorted(set(made))
            held = claim(store, size)
            assert set(held) == {f"{size}-{n}" for n in range(size)}
            revs = make(store, *[step(c, c.row.claim_rev, exchange=f'"{run_id}"') for run_id, c in held.items()])
            loaded = store.load(list(held))
            assert [(r.state.rev, r.exchange) for r in loaded if r] == [
                (rev, f'"{run_id}"') for rev, run_id in zip(revs, held, strict=True)
            ]

    def test_law_1_an_empty_batch_and_an_empty_commit_do_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        assert store.commit([], NOW) == []
        assert store.commit([Commit()], NOW) == [Committed(committed_at=NOW)]
        assert store.release([], NOW) == []
        assert store.load([]) == []

    def test_law_2_a_write_needs_the_newest_revision(self, sessions: Sessions) -> None:
        store = sessions.session()
        first = make(store, creation("a", due=None))[0]
        second = make(store, write("a", first))[0]
        results = store.commit([write("a", first)], NOW) + store.commit([write("a", 0)], NOW)
        assert [r.ids for r in results if isinstance(r, RevMismatch)] == [["a"], ["a"]]
        assert record(store, "a").state.rev == second

    def test_law_2_a_fence_does_not_replace_the_revision(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        for wrong in (rev - 1, rev + 1):
            for commit in (step(held, wrong), step(held, wrong, ended(), end=True)):
                (result,) = store.commit([commit], NOW)
                assert isinstance(result, RevMismatch)
        assert record(store, "a").row == held.row
        make(store, step(held, rev))

    def test_law_2_all_ids_that_do_not_match_are_named(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("b", due=None))[0]
        writes = tuple(Write(State(run_id, r)) for run_id, r in (("z", 9), ("b", rev), ("a", 3)))
        (result,) = store.commit([Commit(writes=writes)], NOW)
        assert isinstance(result, RevMismatch)
        assert result.ids == ["a", "z"]

    def test_law_2_one_commit_cannot_write_an_id_twice(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("a", due=None))[0]
        (result,) = store.commit([Commit(writes=write("a", rev).writes * 2)], NOW)
        assert isinstance(result, RevMismatch)
        assert record(store, "a").state.rev == rev

    def test_law_3_revisions_grow_over_batches_members_and_refusals(self, sessions: Sessions) -> None:
        store = sessions.session()
        met = [0]
        for turn in range(5):
            batch = [creation(f"{turn}-{n}", due=None) for n in range(3)] + [write("nobody", 9)]
            batch.insert(1, Commit(writes=creation(f"{turn}-x").writes + creation(f"{turn}-y").writes))
            revs = sorted(rev for result in store.commit(batch, NOW) for rev in revisions(result))
            assert len(set(revs)) == 5
            assert revs[0] > met[-1]
            met += revs
        assert [r.state.rev for r in store.read(HistoryQuery(limit=100))] == met[1:]

    def test_law_3_revisions_are_not_given_again_after_pruning(self, sessions: Sessions) -> None:
        store = sessions.session()
        last = make(store, creation("a", due=None, transition=ended()))[0]
        assert sessions.driver.maintenance("").prune(NOW + 1, 10) == 1
        assert store.next_due({}, NOW).head == last
        assert make(store, creation("b"))[0] > last

    def test_law_4_a_commit_under_a_foreign_epoch_is_refused(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        for epoch in (held.fence.epoch + 1, held.fence.epoch - 1):
            (result,) = store.commit([step(Fence("a", epoch), rev)], NOW)
            assert isinstance(result, LostClaim)
        assert store.release([Release(Fence("a", held.fence.epoch + 1), NOW)], NOW) == [False]
        assert make(store, step(held, rev))[0] > rev

    def test_law_4_a_missing_row_fences_too(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        done = make(store, step(held, rev, ended(), end=True))[0]
        for commit in (step(held, done), step(held, done, ended(), end=True)):
            (result,) = store.commit([commit], NOW)
            assert isinstance(result, LostClaim)
        assert store.release([Release(held.fence, NOW)], NOW) == [False]
        assert record(store, "a").state.rev == done

    def test_law_4_a_claim_ends_with_its_release(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        assert store.release([Release(held.fence, NOW), Release(held.fence, NOW)], NOW) == [True, False]
        assert isinstance(store.commit([step(held, rev)], NOW)[0], LostClaim)
        assert claim(store)["a"].fence.epoch != held.fence.epoch

    def test_law_4_an_enqueue_gives_a_new_epoch(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, Commit(held.fence, writes=step(held, rev).writes, queue=(Enqueue("a", FLOW, NOW + 5, 3),)))
        assert isinstance(store.commit([step(held, rev + 1)], NOW)[0], LostClaim)
        row = record(store, "a").row
        assert row is not None
        assert (row.owner, row.due, row.priority, row.crashes) == ("", NOW + 5, 3, 0)

    def test_law_4_epochs_are_never_reused(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session(namespace="other")
        met: list[int] = []
        for turn in range(4):
            for session in (store, other):
                make(session, creation(f"r{turn}"))
                met += [found.fence.epoch for found in claim(session).values()]
        assert met == sorted(set(met))

    def test_law_18_a_free_commit_does_what_a_commit_does_or_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        (first,) = make(store, creation("a"))
        held = claim(store)["a"]
        stale, good, creation_of_b = write("a", 77), step(held, first), creation("b")
        results = store.commit_if_free([good, creation_of_b], NOW)
        if results is None:
            assert (record(store, "a").state.rev, store.load(["b"])) == (first, [None])
            results = store.commit([good, creation_of_b], NOW)
        revs = [record(store, "a").state.rev, record(store, "b").state.rev]
        assert results == [Committed((rev,), committed_at=NOW) for rev in revs]
        refused = store.commit_if_free([stale], NOW) or store.commit([stale], NOW)
        assert isinstance(refused[0], RevMismatch)

    def test_law_20_a_step_is_answered_as_the_commit_that_it_is(self, sessions: Sessions) -> None:
        store = sessions.session()
        names = ("goes-on", "ends", "waits", "is-held-anew", "is-stale", "is-lost")
        revs = dict(zip(names, make(store, *[creation(name) for name in names]), strict=True))
        held = claim(store)
        commits = [
            step(held["goes-on"], revs["goes-on"], exchange="[1]"),
            step(held["ends"], revs["ends"], ended(), end=True),
            step(held["waits"], revs["waits"])._replace(queue=(Enqueue("waits", FLOW, NOW + 5),)),
            step(held["is-held-anew"], revs["is-held-anew"])._replace(
                queue=(Enqueue("is-held-anew", FLOW, NOW, owned=True),)
            ),
            step(held["is-stale"], 7_777_777),
            step(Fence("is-lost", held["is-lost"].fence.epoch + 1), revs["is-lost"]),
        ]
        steps = [as_member(commit) for commit in commits]
        assert [one.commit() for one in steps if isinstance(one, Step)] == commits
        results = store.commit(steps, NOW)
        assert [len(answered(one)) for one in results] == [2, 2, 2, 3, 0, 0]
        assert [type(one) for one in results[4:]] == [RevMismatch, LostClaim]
        new_rev, at, epoch = answered(results[3])
        assert at == NOW
        rows = {name: record(store, name).row for name in names}
        assert record(store, "goes-on").exchange == "[1]"
        assert record(store, "goes-on").state.transition == commits[0].writes[0].state.transition
        assert (rows["goes-on"], rows["ends"]) == (held["goes-on"].row, None)
        waits, anew = rows["waits"], rows["is-held-anew"]
        assert waits is not None
        assert anew is not None
        assert (waits.owner, waits.due, anew.owner, anew.epoch) == ("", NOW + 5, held["ends"].row.owner, epoch)
        assert record(store, "is-held-anew").state.rev == new_rev
        assert isinstance(store.commit([as_member(step(held["waits"], revisions(results[2])[0]))], NOW)[0], LostClaim)
        make(store, as_member(step(Fence("is-held-anew", epoch), new_rev)))

    def test_law_20_steps_that_change_labels_are_found_by_the_new_ones(self, sessions: Sessions) -> None:
        store = sessions.session()
        old, new = {"k": "old", "kept": "x"}, {"k": "new\x00", "kept": "x"}
        names = ["told", "not-told", "told-wrongly", "told-none-are-left", "told-of-the-same"]
        make(store, *[creation(name, labels=old) for name in names])
        held = claim(store)
        labels = dict.fromkeys(names, new) | {"told-none-are-left": {}, "told-of-the-same": old}
        before = {"told": old, "told-wrongly": {"other": "x"}, "told-none-are-left": old, "told-of-the-same": old}
        batch = []
        for name in names:
            commit = step(held[name], held[name].row.claim_rev, labels=labels[name])
            write = commit.writes[0]._replace(labels_before=before.get(name))
            batch.append(as_member(commit._replace(writes=(write,))))
        make(store, *batch)
        for name in names:
            assert record(store, name).state.labels == labels[name]
        for wanted in (old, new, {"kept": "x"}, {"k": "old"}):
            found = {found.state.id for found in store.read(RunQuery(NOW, labels=wanted))}
            assert found == {name for name in names if wanted.items() <= labels[name].items()}
        assert sessions.driver.maintenance("").check() == []

    def test_law_20_a_step_that_parks_its_run_takes_its_row_away(self, sessions: Sessions) -> None:
        store = sessions.session()
        names = ["parks", "is-cancelled", "moves", "goes-on"]
        make(store, *[creation(name) for name in names])
        held = claim(store)
        make(store, Commit(cancel=(Cancel("is-cancelled"),)))
        parks = [step(held[name], held[name].row.claim_rev, PARKED, end=True) for name in names[:2]]
        other = Enqueue("moves", "other", NOW, owned=True)
        moves = step(held["moves"], held["moves"].row.claim_rev, going("other"))._replace(queue=(other,))
        goes_on = step(held["goes-on"], held["goes-on"].row.claim_rev)
        results = store.commit([as_member(one) for one in (*parks, moves, goes_on)], NOW + 1)
        assert [len(answered(one)) for one in results] == [2, 2, 3, 2]
        rev, at, epoch = answered(results[2])
        assert at == NOW + 1
        rows = {name: record(store, name).row for name in names}
        assert (rows["parks"], rows["goes-on"]) == (None, held["goes-on"].row)
        cancelled, moved = rows["is-cancelled"], rows["moves"]
        assert cancelled is not None
        assert moved is not None
        assert (cancelled.owner, cancelled.cancel, cancelled.due) == ("", True, NOW + 1)
        assert (moved.owner, moved.flow, moved.epoch, moved.claim_rev) == (held["moves"].row.owner, "other", epoch, rev)
        make(store, as_member(step(Fence("moves", epoch), rev)))

    def test_unowned_refuses_a_run_that_is_held(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        cancel = Commit(unowned=("a",), writes=write("a", rev, ended()).writes, queue=(Dequeue("a"),))
        assert isinstance(store.commit([cancel], NOW)[0], LostClaim)
        store.release([Release(held.fence, NOW)], NOW)
        make(store, cancel)
        assert record(store, "a").row is None
        assert record(store, "a").state.transition.status == "completed"

    def test_a_write_without_an_exchange_keeps_the_last_one(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("a", due=None, exchange="[1]"))[0]
        rev = make(store, write("a", rev))[0]
        assert record(store, "a").exchange == "[1]"
        rev = make(store, write("a", rev, exchange="[2]"))[0]
        make(store, write("a", rev, going("end")))
        assert record(store, "a").exchange == "[2]"
        history = store.read(HistoryQuery("a"))
        assert [revision.exchange for revision in history] == ["[1]", "[1]", "[2]", "[2]"]
