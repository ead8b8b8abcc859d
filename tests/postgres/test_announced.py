"""What a session announces to the others: its commits, and no claim that took nothing, as each worker makes one every second."""

from __future__ import annotations

from threading import Semaphore
from typing import Any

import psycopg
import pytest

from stepflow.drivers.postgres.connection import PostgresConnection
from tests.postgres.hot import FLOWS, NOW, creation, session
from tests.postgres.server import Server

pytestmark = pytest.mark.usefixtures("forking")

SOON_S, NEVER_S = 60.0, 0.2  # how long an announcement is waited for, and one that must not come


def test_a_claim_that_takes_nothing_is_not_announced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told, usual = Semaphore(0), psycopg.Connection.execute

    def counting(self: Any, query: Any, *args: Any, **how: Any) -> Any:
        if "pg_notify" in query:
            told.release()
        return usual(self, query, *args, **how)

    monkeypatch.setattr(PostgresConnection, "execute", counting, raising=False)
    with session(server.url(), "idle") as store:
        store.commit([creation("later", due=NOW + 1)], NOW)
        assert told.acquire(timeout=SOON_S)
        for flows in (FLOWS, {**FLOWS, "g.v1": "two"}):
            assert store.claim(flows, NOW, 1) == []
        assert not told.acquire(timeout=NEVER_S)
        assert len(store.claim(FLOWS, NOW + 1, 1)) == 1
        assert told.acquire(timeout=SOON_S)
