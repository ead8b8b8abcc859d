"""Counts the blocks that statements look at while a snapshot is held, and ends many runs."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from stepflow.drivers.port.commit import Claim, Dequeue
from stepflow.drivers.port.step import Step
from stepflow.drivers.port.store import Store
from tests.postgres.hot import ENDED

BLOCKS = "coalesce(heap_blks_hit + heap_blks_read, 0) + coalesce(idx_blks_hit + idx_blks_read, 0)"
EVERY = f"select sum({BLOCKS})::bigint from pg_statio_user_tables where schemaname = %s"
HIT = "select sum(heap_blks_hit + idx_blks_hit)::bigint from pg_statio_user_tables where schemaname = %s and relname = 'queue'"


def end_all(store: Store, claims: Sequence[Claim], now: int) -> None:
    """All these runs complete."""
    records = zip(claims, store.load([claim.fence.id for claim in claims]), strict=True)
    ends = [
        Step(c.fence.id, c.fence.epoch, r.state.rev, ENDED, {}, {}, None, Dequeue(c.fence.id), r.state.labels)
        for c, r in records
        if r is not None
    ]
    store.commit(ends, now)


def blocks_hit(admin: psycopg.Connection[tuple[int]], schema: str, text: str = HIT) -> int:
    row = admin.execute(text, (schema,)).fetchone()
    assert row is not None
    return row[0]
