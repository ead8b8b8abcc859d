"""Exchanges that are stored as deltas: read with the texts on which they build, and restored."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from stepflow.drivers.port.deltas import is_delta, needed, restore
from stepflow.drivers.postgres.arrays import numbers, restored
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all

TEXTS = (
    "select x.rev, x.exchange from unnest($2::bigint[]) as u (rev)"
    f" cross join {found('history', 'x.shard = $1 and x.rev = u.rev', 'x.rev, x.exchange')} x"
)

Stored = Mapping[int, tuple[str, str]]
"""Revision -> the shard of its run, and its exchange as it is stored."""


def whole_texts(runner: TransactionRunner, connection: Connection, stored: Stored) -> Mapping[int, str]:
    """The whole exchanges of these revisions; without a delta among them nothing is read."""
    forms = {rev: text for rev, (_shard, text) in stored.items()}
    deltas = [(shard, rev, text) for rev, (shard, text) in stored.items() if is_delta(text)]
    if not deltas:
        return forms
    more: defaultdict[str, set[int]] = defaultdict(set)
    for shard, rev, text in deltas:
        more[shard] |= needed({rev: text}) - forms.keys()
    known = {rev: text for rev, (_shard, text) in stored_texts(runner, connection, more).items()}
    return restore({**known, **forms}, forms)


def stored_texts(runner: TransactionRunner, connection: Connection, revs: Mapping[str, Collection[int]]) -> Stored:
    """The exchanges of these revisions by shard, as they are stored."""
    shards = [shard for shard in sorted(revs) if revs[shard]]
    statements = [(runner.sql(TEXTS), (shard, numbers(sorted(revs[shard])))) for shard in shards]
    found = zip(shards, fetch_all(connection, *statements), strict=True)
    return {rev: (shard, restored(text)) for shard, rows in found for rev, text in rows if text is not None}
