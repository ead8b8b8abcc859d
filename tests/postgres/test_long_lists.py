"""Lists while another session keeps a transaction open: entries of open runs stay in the indexes for all runs that ended since."""

from __future__ import annotations

import psycopg
import pytest

from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.postgres import claim_starts
from tests.postgres.held import EVERY, blocks_hit, end_all
from tests.postgres.hot import FLOWS, NOW, creation, flush, session
from tests.postgres.server import Server

LISTS: dict[str, tuple[RunQuery, float]] = {
    "all": (RunQuery(NOW), 1.3),
    "all of a flow": (RunQuery(NOW, flow="f.v1"), 1.3),
    "the oldest": (RunQuery(NOW, ascending=True), 1.3),
    "changed since": (RunQuery(NOW, changed_since=NOW - 1), 1.3),
    "created since": (RunQuery(NOW, since=NOW - 1), 1.3),
    "by id": (RunQuery(NOW, order="id"), 1.3),
    "behind a page": (RunQuery(NOW, after=(NOW, "0-0100")), 1.3),
    **{
        status: (RunQuery(NOW, status=status), 1.3)
        for status in ("completed", "failed", "waiting", "blocked", "paused")
    },
    # Each run that ended left an entry in what these read; but they read it once.
    **{status: (RunQuery(NOW, status=status), 2.0) for status in ("queued", "running")},
    "open": (RunQuery(NOW, open=True), 2.0),
}
"""Lists, and by how much what they read may grow when twice as many runs have ended."""


EXPECTED = {"failed": 0, "waiting": 0, "blocked": 0, "paused": 0, "queued": 0, "running": 0, "open": 5}


@pytest.mark.parametrize("version", ["server", "older_server"])
def test_lists_do_not_walk_over_runs_that_ended_while_a_snapshot_is_held(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """But for those of open runs only."""
    monkeypatch.setattr(claim_starts, "DEAD", -1)  # claims begin behind what they took
    server: Server = request.getfixturevalue(version)
    schema = server.schema()
    costs: dict[str, list[int]] = {}
    with (
        session(server.url(schema), "worker") as store,
        psycopg.connect(server.uri) as other,
        psycopg.connect(server.uri, autocommit=True) as admin,
    ):
        store.commit([creation(f"later-{n}", due=NOW + 10**12) for n in range(5)], NOW)
        other.execute("set transaction isolation level repeatable read")
        other.execute(f"select count(*) from {schema}.states")
        for turn in range(4):
            for first in range(0, 1_200, 600):
                store.commit([creation(f"{turn}-{n:04}") for n in range(first, first + 600)], NOW)
                end_all(store, store.claim(FLOWS, NOW, 600), NOW)
            for name, (query, _most) in LISTS.items():
                flush(store)
                before, page = blocks_hit(admin, schema, EVERY), store.read(query)
                flush(store)
                costs.setdefault(name, []).append(blocks_hit(admin, schema, EVERY) - before)
                assert len(page) == EXPECTED.get(name, 50)
    grown = {name: found for name, found in costs.items() if found[-1] > LISTS[name][1] * found[1] + 20}
    assert grown == {}
    often = {name: found for name, found in costs.items() if found[-1] > 2 * costs["open"][-1]}
    assert often == {}
