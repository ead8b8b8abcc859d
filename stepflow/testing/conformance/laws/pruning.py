"""Law 22: pruning goes in pieces; a run is gone from its first piece on, and its id is refused as long as that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stepflow.drivers.port.commit import Commit, DedupKey
from stepflow.drivers.port.delays import DataQuery, DataWrite
from stepflow.drivers.port.pruning import BYTES, ROWS, Pruned, PrunedId
from stepflow.drivers.port.queries import HistoryQuery, PrunedQuery, RunQuery, TallyQuery
from stepflow.drivers.port.store import Maintenance, Store
from stepflow.errors import NotFound, RevMismatch
from stepflow.model.topic import TOPIC
from stepflow.testing.conformance.kit import (
    NOW,
    Sessions,
    creation,
    ended,
    make,
    numbers,
    publish,
    record,
    refused,
    write,
)

DATA = ROWS + 100
LARGE = '"' + "x" * (BYTES // 2) + '"'
LATER = NOW + 1000


def _large(store: Store) -> None:
    """An ended run `a` with more data and a larger history than one piece deletes, and a parked run `b`."""
    labels = {"k": "v"}
    rev, _parked = make(store, creation("a", due=None, exchange=LARGE, labels=labels), creation("b", due=None))
    make(store, publish("a", "e", "1"))
    numbers(store, Commit(data=tuple(DataWrite("a", b"%d" % number, {}) for number in range(DATA))))
    for transition in (None, None, None, ended()):
        commit = write("a", rev, transition, exchange=LARGE)
        (one,) = commit.writes
        rev = make(store, commit._replace(writes=(one._replace(state=one.state._replace(labels=labels)),)))[0]


def _gone(store: Store) -> list[Any]:
    """What is found of run `a`: nothing but the mark of its id."""
    return [
        store.load(["a"])[0],
        store.read(HistoryQuery("a")),
        store.read(HistoryQuery(latest_only=True, labels=({"k": "v"},))),
        [found.state.id for found in store.read(RunQuery(NOW)) if found.state.id != "b"],
        store.read(RunQuery(NOW, labels={"k": "v"})),
        [tally for tally in store.read(TallyQuery(NOW)) if tally.status != "parked"],
    ]


NOTHING: list[Any] = [None, [], [], [], [], []]


class PruningLaws:
    """The laws of `Maintenance.pruning`."""

    @pytest.fixture
    def upkeep(self, sessions: Sessions) -> Maintenance:
        """The maintenance port of the namespace of `sessions.session()`."""
        return sessions.driver.maintenance("")

    def test_law_22_a_large_run_is_gone_at_once_and_deleted_in_pieces(
        self, sessions: Sessions, upkeep: Maintenance
    ) -> None:
        store = sessions.session()
        _large(store)
        rev, total = record(store, "b").state.rev, Pruned()
        for piece in upkeep.pruning(NOW + 1, 10, now=LATER):
            total += piece
            assert _gone(store) == NOTHING
            assert upkeep.check() == []
            rev = make(store, write("b", rev))[0]  # others write between two pieces
        assert (total.runs, total.revisions) == (1, 5)
        assert upkeep.prune(NOW + 1, 10) == 0
        assert store.read(PrunedQuery(["a"])) == []
        assert [store.read(DataQuery(number)) for number in (1, DATA)] == [[], []]
        make(store, creation("a", exchange="[2]"))
        assert record(store, "a").events == ()
        assert len(store.read(HistoryQuery("a"))) == 1

    def test_law_22_what_an_interrupted_pruning_left_is_deleted_by_the_next_one(
        self, sessions: Sessions, upkeep: Maintenance
    ) -> None:
        store = sessions.session()
        _large(store)
        pieces = upkeep.pruning(NOW + 1, 10, now=LATER)
        first = next(pieces)
        assert first.runs == 1
        _close(pieces)
        store.close()
        store = sessions.session()
        if first.revisions < 5 or store.read(PrunedQuery(["a"])):
            assert store.read(PrunedQuery(["a", "b", "c"])) == [PrunedId("a", "hash", 0)]
            assert isinstance(refused(store, creation("a")), RevMismatch)
            assert _gone(store) == NOTHING
        assert upkeep.check() == []
        left = sum(piece.revisions for piece in sessions.driver.maintenance("").pruning(0, 0))
        assert first.revisions + left == 5
        make(store, creation("a"))

    def test_law_22_an_id_is_refused_until_its_time(self, sessions: Sessions, upkeep: Maintenance) -> None:
        store = sessions.session()
        dedup = DedupKey("once", "a", LATER)
        rev = make(store, creation("a", due=None, transition=ended("failed"))._replace(dedup=dedup))[0]
        assert [piece.runs for piece in upkeep.pruning(NOW + 1, 10, now=NOW, keep_until=LATER)] == [1]
        assert _gone(store) == NOTHING
        assert store.read(PrunedQuery(["a", "b"])) == [PrunedId("a", "hash", LATER)]
        for commit in (creation("a"), write("a", rev)):
            assert isinstance(refused(store, commit), RevMismatch)
        assert isinstance(refused(store, publish("a", "e", "1")), NotFound)
        assert list(upkeep.pruning(NOW + 1, 10, now=LATER - 1)) == []
        assert upkeep.check() == []
        make(store, creation("b", due=None)._replace(dedup=DedupKey("once", "b", LATER)))  # the key was that of the run
        store.close()
        store = sessions.session()
        assert isinstance(refused(store, creation("a")), RevMismatch)
        assert sum(piece.runs for piece in upkeep.pruning(NOW + 1, 10, now=LATER)) == 0
        assert store.read(PrunedQuery(["a"])) == []
        assert make(store, creation("a"))[0] > rev

    def test_law_22_a_large_run_keeps_its_id_as_well(self, sessions: Sessions, upkeep: Maintenance) -> None:
        store = sessions.session()
        _large(store)
        assert sum(piece.runs for piece in upkeep.pruning(NOW + 1, 10, now=NOW, keep_until=LATER)) == 1
        assert store.read(PrunedQuery(["a"])) == [PrunedId("a", "hash", LATER)]
        assert isinstance(refused(store, creation("a")), RevMismatch)
        assert _gone(store) == NOTHING
        assert upkeep.check() == []

    def test_law_22_runs_of_the_librarys_own_flows_are_told_from_others(
        self, sessions: Sessions, upkeep: Maintenance
    ) -> None:
        store = sessions.session()
        for run_id, flow in (("a", "f"), ("m", TOPIC), ("n", TOPIC)):
            make(store, creation(run_id, flow=flow, due=None, transition=ended()))
        total = Pruned()
        for piece in upkeep.pruning(NOW + 1, 10):
            total += piece
        assert (total.runs, total.own) == (3, 2)

    def test_law_22_kept_runs_do_not_hide_those_behind_them(self, sessions: Sessions, upkeep: Maintenance) -> None:
        store = sessions.session()
        young = [creation(f"young{number}", due=None, created_at=1) for number in range(3)]
        revs = make(store, *young, now=1)
        make(
            store, *[creation(f"old{number}", due=None, transition=ended(), created_at=2) for number in range(3)], now=2
        )
        make(store, *[write(f"young{number}", rev, ended()) for number, rev in enumerate(revs)], now=NOW)
        assert [upkeep.prune(NOW, 2) for _turn in range(3)] == [2, 1, 0]
        assert upkeep.prune(NOW + 1, 10) == 3
        assert upkeep.check() == []


def _close(pieces: Iterator[Pruned]) -> None:
    getattr(pieces, "close", lambda: None)()
