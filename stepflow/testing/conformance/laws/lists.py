"""Lists: any filter, order and page of a RunQuery agrees with sorting and filtering all records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from random import Random
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import Commit, Record, Release
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import RunList, RunQuery, in_range
from stepflow.drivers.port.store import Store
from stepflow.model.lifecycle import status_of
from stepflow.model.state import WAITING, State, Transition
from stepflow.testing.conformance.kit import FLOW, NOW, Sessions, awaiting, claim, creation, ended, going, make, write

LATER = NOW + 1_000
IDS = ("a", "a/1", "a/2", "a\x01b", "b", "b/\U0010ffff", "b/\U0010ffffx", "ä", "Z", "é/1", "é/2", "zz")
CHOICES: dict[str, tuple[Any, ...]] = {
    "flow": (None, FLOW, "other"),
    "status": (None, "failed", ("completed", "sleeping"), ("waiting", "queued", "blocked", "failed"), ("running",)),
    "labels": (None, {"k": "1"}, {"k": "1", "t": "0"}),
    "open": (False, True),
    "prefix": ("", "a/", "b/\U0010ffff", "é", "none"),
    "since": (None, 3),
    "until": (None, 7),
    "changed_since": (None, NOW + 1),
    "changed_until": (None, NOW + 1),
    "awaits": (False, True),
    "ascending": (False, True),
    "limit": (100, 2, 3),
}


def _fill(store: Store) -> None:
    """Runs of many kinds whose ids, creation and due times have different orders."""
    polling = Transition(FLOW, {WAITING: "poll"})
    kinds: tuple[dict[str, Any], ...] = (
        {"due": 1},
        {"due": LATER},
        {"due": LATER + 7, "transition": polling},
        {"due": None, "transition": ended("failed")},
        {"due": LATER - 5, "flow": "other"},
        {"due": None, "transition": awaiting("e")},
        {"due": LATER, "transition": awaiting("e"), "flow": "other"},
        {"due": None, "transition": ended()},
        {"due": 2},
        {"due": LATER + 3},
        {"due": 1},
        {"due": None},
    )
    made = zip(IDS, kinds, strict=True)
    make(
        store,
        *[
            creation(run_id, created_at=n * 7 % 11, labels={"k": str(n % 2), "t": str(n % 3)}, **kind)
            for n, (run_id, kind) in enumerate(made)
        ],
        Commit(delays=(Delay(State("a", 0, going("on")), LATER, commit=False),)),
    )
    held = claim(store, 3)
    first, second, *_third = sorted(held)
    store.release([Release(held[first].fence, LATER, blocked="no", blocked_by="d9")], NOW)
    store.release([Release(held[second].fence, LATER + 1, crashes=2)], NOW)
    revs = {record.state.id: record.state.rev for record in store.load(["a\x01b", "zz"]) if record is not None}
    store.commit([write(run_id, rev, ended("failed")) for run_id, rev in revs.items()], NOW + 1)


def _wanted(every: list[Record], query: RunQuery) -> list[Record]:
    """What the query asks for, from all records."""
    labels, status = query.labels or {}, query.status
    found = [
        record
        for record in every
        if (query.flow is None or record.created.flow == query.flow)
        and (status is None or status_of(record.state, record.row, query.now) in status)
        and labels.items() <= dict(record.state.labels).items()
        and not ((query.open or query.awaits) and record.state.transition.status)
        and (not query.awaits or record.state.transition.events)
        and record.state.id.startswith(query.prefix)
        and in_range(record.created.created_at, query.since, query.until)
        and in_range(record.state.committed_at, query.changed_since, query.changed_until)
        and (query.order != "due" or _sleeps(record, query.now))
    ]
    return sorted(found, key=query.key_of, reverse=not query.ascending)


def _sleeps(record: Record, now: int) -> bool:
    row = record.row
    return row is not None and not row.owner and not (row.blocked or row.paused) and row.due > now


def _queries(order: str) -> Iterator[RunQuery]:
    """One for each pair of options that are given, some with others."""
    rng = Random(order)  # noqa: S311 - the same queries every time
    for pair in combinations(CHOICES, 2):
        given = {name: rng.choice(CHOICES[name][1:]) for name in CHOICES if name in pair or rng.random() < 0.2}
        yield RunQuery(NOW, order=order, **given)  # type: ignore[arg-type]


def _pages(store: Store, query: RunQuery) -> list[Record]:
    """All pages of a query, each at most as long as asked for."""
    found: list[Record] = []
    while True:
        page = store.read(query)
        assert isinstance(page, RunList)
        assert len(page) <= query.limit
        found += page
        key = page.end or (query.key_of(page[-1]) if len(page) == query.limit else None)
        if key is None:
            return found
        assert query.after is None or (key > query.after if query.ascending else key < query.after)
        query = evolve(query, after=key)


class ListLaws:
    """Law 15 for lists of runs."""

    def _check(self, sessions: Sessions, order: str) -> None:
        store = sessions.session()
        _fill(store)
        make(sessions.session("elsewhere"), creation("a", due=LATER, labels={"k": "1"}), creation("other"))
        every = store.read(RunQuery(NOW, ids=(*IDS, "missing")))
        assert sorted(record.state.id for record in every) == sorted(IDS)
        for query in _queries(order):
            wanted = [record.state.id for record in _wanted(every, query)]
            assert [record.state.id for record in _pages(store, query)] == wanted, query
            bounded = _pages(store, evolve(query, scan=2))
            assert [record.state.id for record in bounded] == wanted, query

    def test_law_15_lists_by_creation_agree_with_the_records(self, sessions: Sessions) -> None:
        self._check(sessions, "created")

    def test_law_15_lists_by_id_agree_with_the_records(self, sessions: Sessions) -> None:
        self._check(sessions, "id")

    def test_law_15_lists_by_due_time_agree_with_the_records(self, sessions: Sessions) -> None:
        self._check(sessions, "due")
