"""Law 15: queries of revisions by labels, time, newest only and limit are exact in every combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product

import pytest
from attrs import evolve

from stepflow.drivers.port.commit import Commit as Change
from stepflow.drivers.port.commit import Write
from stepflow.drivers.port.queries import HistoriesQuery, HistoryQuery, Revision, RunQuery
from stepflow.drivers.port.store import Store
from stepflow.model.state import State
from stepflow.testing.conformance.kit import NOW, Sessions, as_member, claim, creation, ended, going, make, record, step

Labels = Mapping[str, str]

KINDS: Sequence[Labels] = ({}, {"k": "v"}, {"k": "v", "t": "1"}, {"k": "w"}, {"t": "1"}, {"k": "v", "t": "2"})
GROUPS: Sequence[tuple[Labels, ...]] = (
    (),
    ({"k": "v"},),
    ({"k": "v", "t": "1"},),
    ({"k": "w"}, {"t": "1"}),
    ({"k": "v"}, {"k": "v", "t": "1"}),
    ({"nobody": "has it"},),
    ({"nobody": "has it"}, {"t": "2"}),
    ({},),
)
LOOKALIKES = ("v", "V", "v ", " v", "", "v\x00", "v\x00w", "\x00", "vv", "%", "v%", "ü", "u\u0308", "1", "01", '"v"')


def relabel(run_id: str, rev: int, labels: Labels, exchange: str | None = None) -> Change:
    """A write that gives a run these labels."""
    return Change(writes=(Write(State(run_id, rev, going("moved"), labels), exchange),))


def revs_of(found: Sequence[Revision]) -> list[int]:
    """The revisions of an answer."""
    return [revision.state.rev for revision in found]


def expected(every: Sequence[Revision], query: HistoryQuery) -> list[Revision]:
    """What the law says, in the plainest words."""
    newest = {revision.state.id: revision.state.rev for revision in every}
    found = [
        r
        for r in every
        if r.state.rev > query.since_rev
        and (query.until_rev is None or r.state.rev <= query.until_rev)
        and query.id in (None, r.state.id)
        and r.state.committed_at >= query.since
        and (not query.latest_only or newest[r.state.id] == r.state.rev)
        and (not query.labels or any(group.items() <= r.state.labels.items() for group in query.labels))
    ]
    return found[max(0, len(found) - query.limit) :] if query.last else found[: query.limit]


def landscape(store: Store) -> list[Revision]:
    """Runs whose labels and exchanges come and go; the clock goes back once."""
    heads: dict[str, int] = {}
    for turn in range(5):
        for number in range(7):
            run_id, kind = f"r{number}", KINDS[(number * (turn // 2 + 1) + turn) % len(KINDS)]
            now = NOW + (turn * 7 + number) * (-1 if turn == 3 else 1)
            text = f"[{turn}]" if (turn + number) % 3 == 0 else None
            if run_id not in heads:
                heads[run_id] = make(store, creation(run_id, due=None, labels=kind, exchange=text), now=now)[0]
            elif (turn + number) % 4:
                heads[run_id] = make(store, relabel(run_id, heads[run_id], kind, text), now=now)[0]
    return store.read(HistoryQuery(limit=1_000))


class RevisionLaws:
    """The answer is what filtering the whole history gives."""

    filters_step = 1
    """Of the combinations of filters every so many-th is asked, others for each group of labels: more for a slow store."""

    @pytest.mark.parametrize("labels", GROUPS, ids=str)
    def test_law_15_filters_combine(self, sessions: Sessions, labels: tuple[Labels, ...]) -> None:
        store = sessions.session()
        make(sessions.session("other"), creation("r1", due=None, labels={"k": "v", "t": "1"}))
        every = landscape(store)
        revs = revs_of(every)
        middle, times = revs[len(revs) // 2], (0, NOW + 9)
        bounds = ((0, None), (middle, None), (0, middle), (revs[3], revs[-4]), (revs[-1], None), (middle, revs[2]))
        filters = product(bounds, times, (False, True), (False, True), (1, 3, 1_000), (None, "r3"))
        some = islice(filters, GROUPS.index(labels) % self.filters_step, None, self.filters_step)
        for (low, high), since, newest, last, limit, run_id in some:
            query = HistoryQuery(run_id, low, limit, last, labels, since, newest, high)
            wanted = expected(every, query)
            assert store.read(query) == wanted, query
            without = store.read(evolve(query, exchange=False))
            assert without == [Revision(revision.state, "") for revision in wanted], query

    def test_law_15_the_newest_revisions_of_several_runs(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(sessions.session("other"), creation("r1", due=None), creation("elsewhere", due=None))
        every = [revision.state for revision in landscape(store)]
        ids = ("r3", "none", "r0", "elsewhere", "r6", "r3", "r1")
        for limit in (0, 1, 3, 1_000):
            wanted = [
                tuple([state for state in every if state.id == run_id][-limit:] if limit else ()) for run_id in ids
            ]
            assert store.read(HistoriesQuery(ids, limit)) == wanted, limit
        assert store.read(HistoriesQuery((), 3)) == []

    @pytest.mark.parametrize("exchange", [False, True])
    def test_law_15_a_history_is_read_back_page_by_page(self, sessions: Sessions, exchange: bool) -> None:
        store = sessions.session()
        every = landscape(store)
        for run_id in (None, "r3"):
            wanted = expected(every, HistoryQuery(run_id, limit=1_000))
            for before in (
                None,
                every[-1].state.rev - 1,
                wanted[-1].state.rev - 1,
            ):  # also between the revisions of a run
                found: list[Revision] = []
                until = before
                query = HistoryQuery(run_id, limit=2, last=True, until_rev=until, exchange=exchange)
                while page := store.read(query):
                    found = page + found
                    query = evolve(query, until_rev=page[0].state.rev - 1)
                behind = [one for one in wanted if before is None or one.state.rev <= before]
                assert found == [one if exchange else one._replace(exchange="") for one in behind]

    def test_law_15_a_value_is_compared_whole(self, sessions: Sessions) -> None:
        store = sessions.session()
        batch = [creation(f"r{n}", due=None, labels={"k": value}) for n, value in enumerate(LOOKALIKES)]
        revs = make(store, *batch)
        names = [creation(f"n{n}", due=None, labels={value: "name"}) for n, value in enumerate(LOOKALIKES)]
        named = make(store, *names)
        for rev, name, value in zip(revs, named, LOOKALIKES, strict=True):
            assert revs_of(store.read(HistoryQuery(labels=({"k": value},)))) == [rev]
            assert revs_of(store.read(HistoryQuery(labels=({value: "name"},), latest_only=True))) == [name]

    def test_law_15_newest_is_that_of_the_id_whatever_its_labels(self, sessions: Sessions) -> None:
        store = sessions.session()
        first, other = make(
            store, creation("a", due=None, labels={"k": "v"}), creation("b", due=None, labels={"k": "v"})
        )
        second = make(store, relabel("a", first, {"k": "w"}))[0]
        by_label = HistoryQuery(labels=({"k": "v"},))
        assert revs_of(store.read(by_label)) == [first, other]
        assert revs_of(store.read(HistoryQuery(labels=({"k": "v"},), latest_only=True))) == [other]
        assert revs_of(store.read(HistoryQuery(latest_only=True))) == [other, second]

    def test_law_15_what_lies_far_back_is_found(self, sessions: Sessions) -> None:
        store = sessions.session()
        old = {"age": "old\x00"}
        kept, gone, mixed = make(
            store, *[creation(n, due=None, labels=old, exchange=f'"{n}"') for n in ("kept", "gone", "mixed")]
        )
        moved = make(store, relabel("gone", gone, {}))[0]
        again = make(store, relabel("mixed", mixed, {"age": "new"}))[0]
        for turn in range(13):
            make(store, *[creation(f"{turn}-{n}", due=None, labels={"n": str(n)}) for n in range(500)])
        last = make(store, relabel("mixed", again, old))[0]
        for newest, found in ((False, [kept, gone, mixed, last]), (True, [kept, last])):
            query = HistoryQuery(labels=(old,), latest_only=newest)
            assert revs_of(store.read(query)) == found
            backwards = HistoryQuery(labels=(old, {"no": "such"}), latest_only=newest, last=True, limit=3)
            assert revs_of(store.read(backwards)) == found[-3:]
        assert [r.exchange for r in store.read(HistoryQuery(labels=(old,)))] == [
            '"kept"',
            '"gone"',
            '"mixed"',
            '"mixed"',
        ]
        assert revs_of(store.read(HistoryQuery(until_rev=mixed, last=True, limit=2))) == [gone, mixed]
        assert revs_of(store.read(HistoryQuery("gone", until_rev=last))) == [gone, moved]
        assert revs_of(store.read(HistoryQuery(latest_only=True, limit=2, labels=({}, old)))) == [kept, moved]
        assert revs_of(store.read(HistoryQuery("mixed", latest_only=True))) == [last]
        assert len(store.read(HistoryQuery(since=NOW, limit=10_000))) == 6_506
        assert store.read(HistoryQuery(since=NOW + 1)) == []

    def test_law_15_what_steps_relabelled_long_ago_is_found(self, sessions: Sessions) -> None:
        store = sessions.session()
        old, new = {"age": "old\x00", "kept": "x"}, {"age": "new", "kept": "x"}
        names = ["told", "told-none-are-left", "not-told"]
        labels = {"told": new, "told-none-are-left": {}, "not-told": new}
        first = make(store, *[creation(name, labels=old) for name in names])
        held = claim(store)
        batch = []
        for name in names:
            commit = step(held[name], held[name].row.claim_rev, labels=labels[name])
            before = None if name == "not-told" else old
            batch.append(as_member(commit._replace(writes=(commit.writes[0]._replace(labels_before=before),))))
        moved = make(store, *batch[:2])
        moved += make(store, batch[2])
        for turn in range(11):
            make(store, *[creation(f"{turn}-{n}", due=None, labels={"n": str(n)}) for n in range(500)])
        assert revs_of(store.read(HistoryQuery(labels=(old,), last=True))) == first
        assert revs_of(store.read(HistoryQuery(labels=({"kept": "x"},), last=True))) == [*first, moved[0], moved[2]]
        assert store.read(HistoryQuery(labels=(old,), latest_only=True, last=True)) == []

    def test_law_15_what_a_step_takes_for_the_labels_before_does_not_count(self, sessions: Sessions) -> None:
        store = sessions.session()
        old, new = {"age": "old", "kept": "x"}, {"age": "new", "kept": "x"}
        told: Mapping[str, Labels] = {"none": {}, "another": {"age": "older", "kept": "x"}, "new": new}
        first = make(store, *[creation(name, labels=old) for name in told])
        held = claim(store)
        moved = []
        for name, before in told.items():
            commit = step(held[name], held[name].row.claim_rev, labels=new)
            moved += make(store, as_member(commit._replace(writes=(commit.writes[0]._replace(labels_before=before),))))
        assert revs_of(store.read(HistoryQuery(labels=(new,)))) == moved
        assert revs_of(store.read(HistoryQuery(labels=(old,)))) == first
        assert store.read(HistoryQuery(labels=({"age": "older"},))) == []
        for labels, names in ((new, set(told)), ({"kept": "x"}, set(told)), ({"age": "old"}, set[str]())):
            assert {found.state.id for found in store.read(RunQuery(NOW, labels=labels))} == names
        assert sessions.driver.maintenance("").check() == []

    def test_law_15_what_was_pruned_is_not_found(self, sessions: Sessions) -> None:
        store, upkeep = sessions.session(), sessions.driver.maintenance("")
        rev = make(store, creation("a", due=None, labels={"k": "v"}))[0]
        make(store, Change(writes=(Write(State("a", rev, ended(), {"k": "w"})),)))
        make(store, creation("b", due=None, labels={"k": "w"}))
        assert upkeep.prune(NOW + 1, 5) == 1
        assert store.read(HistoryQuery(labels=({"k": "v"},))) == []
        assert revs_of(store.read(HistoryQuery(labels=({"k": "w"},)))) == [record(store, "b").state.rev]
        assert upkeep.check() == []
