"""Laws about the counts that a store keeps: whatever happens between two tallies, each is exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import strategies as st

from stepflow.drivers.port.queries import RunQuery, TallyQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.model.lifecycle import FINAL, status_of
from stepflow.testing.conformance.kit import NOW, Sessions, creation, ended, going, make, write

RUNS, MANY = 5, 10**9
STATUSES = sorted(map(str, FINAL))
Late = list[Callable[[], object]]
"""What tallies should have kept and did not yet, because another session was quicker."""

_runs = st.integers(0, RUNS - 1)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), _runs, st.sampled_from(["a", "b"])),
        st.tuples(st.just("end"), _runs, st.sampled_from(STATUSES)),
        st.tuples(st.just("go on"), _runs, st.just("")),
        st.tuples(st.just("prune"), st.integers(0, 3), st.just("")),
        st.tuples(st.just("tally"), st.integers(0, 1), st.sampled_from(["", "late"])),
        st.tuples(st.just("keep"), st.just(0), st.just("")),
    ),
    max_size=25,
)


def counts_of(store: Store, now: int) -> Counter[tuple[str, str]]:
    """The answer to a TallyQuery."""
    return Counter({(tally.flow, tally.status): tally.count for tally in store.read(TallyQuery(now))})


def listed(store: Store, now: int) -> Counter[tuple[str, str]]:
    """The same, counted by hand."""
    records = store.read(RunQuery(now, limit=MANY))
    return Counter((record.created.flow, str(status_of(record.state, record.row, now))) for record in records)


def check_tallies(driver: Driver, operations: Sequence[tuple[str, int, str]], late: Late) -> None:
    """Two sessions tally between other operations; `late` gets what should be kept of their answers."""
    sessions = Sessions(driver)
    try:
        _check_tallies(driver, (sessions.session(), sessions.session()), operations, late)
    finally:
        sessions.close()


def _check_tallies(
    driver: Driver, stores: Sequence[Store], operations: Sequence[tuple[str, int, str]], late: Late
) -> None:
    now = NOW
    runs: dict[int, tuple[int, str, str, int]] = {}  # revision, flow, status and time of the last commit
    for what, number, how in (*operations, ("tally", 0, ""), ("tally", 1, "")):
        now += 1
        rev, flow, *_rest = runs.get(number, (0, "", "", 0))
        if what == "start" and not rev:
            (rev,) = make(stores[0], creation(f"r{number}", due=None, flow=how, created_at=now), now=now)
            runs[number] = rev, how, "parked", now
        elif what in ("end", "go on") and rev:
            (rev,) = make(stores[0], write(f"r{number}", rev, ended(how) if how else going("next")), now=now)
            runs[number] = rev, flow, how or "parked", now
        elif what == "prune":
            old = [one for one, run in runs.items() if run[2] in STATUSES and run[3] < now - number]
            assert driver.maintenance("").prune(now - number, MANY) == len(old)
            runs = {one: run for one, run in runs.items() if one not in old}
        elif what == "keep":
            _keep(late)
        elif what == "tally":
            assert counts_of(stores[number], now) == Counter((run[1], run[2]) for run in runs.values())
            if how != "late":
                _keep(late)


def _keep(late: Late) -> None:
    while late:
        late.pop()()


def check_concurrent_tallies(driver: Driver, rounds: int) -> None:
    """Sessions commit, tally and prune at the same time; in the end the counts are those of the list."""
    sessions = Sessions(driver)
    writer, other, reader = (sessions.session() for _session in range(3))

    def commit(store: Store, name: str) -> None:
        for turn in range(rounds):
            ids = [f"{name}-{turn}-{n}" for n in range(4)]
            revs = make(store, *[creation(i, due=None, flow=name) for i in ids], now=NOW + turn)
            make(store, *[write(i, r, ended()) for i, r in zip(ids[:3], revs, strict=False)], now=NOW + turn)

    def prune() -> None:
        for turn in range(rounds):
            driver.maintenance("").prune(NOW + turn, MANY)

    def tally() -> None:
        for _turn in range(rounds):
            counts_of(reader, NOW)

    with ThreadPoolExecutor(4) as pool:
        work: list[tuple[Any, ...]] = [(commit, writer, "a"), (commit, other, "b"), (prune,), (tally,)]
        for done in [pool.submit(*one) for one in work]:
            done.result()
    assert counts_of(reader, NOW) == listed(reader, NOW)
    assert counts_of(writer, NOW) == listed(writer, NOW)
    sessions.close()
