"""Blocks rows of the queue without a run, but for Citus, whose planner may refuse the statement.

No claim takes such rows, as it locks the State, and they would seem to be due forever.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection

from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.model.blocked import UNREADABLE, unreadable

FIRST = 100  # rows of each kind that are looked at: those which a claim would take
RETRY = 30_000_000  # microseconds after which they are looked at again
_PART = (
    "select s.id, s.at from unnest($2::text[]) as f (flow) cross join lateral"
    f" (select x.id, x.ctid as at from stepflow.queue x"
    " where x.shard = $1 and x.flow = f.flow and x.partition = {partition} and x.due <= $3"
    f" order by {{order}} limit {FIRST}) s"
)
_PARTS = " union all ".join(
    f"({_PART.format(partition=number, order='x.due' if number == 0 else 'x.priority, x.due, x.id')})"
    for number in (0, 1, 2, 4)
)
BLOCK = f"""
with u as materialized ({_PARTS}), c as materialized (
    select u.at from u left join {found("states", "x.shard = $1 and x.id = u.id", "x.id")} s on true where s.id is null
)
update stepflow.queue q set partition = 2, due = $3 + {RETRY}, blocked = $4, blocked_by = '{UNREADABLE}' from c
where q.ctid = c.at
"""
REASON = unreadable("there is a row of the queue, but no run with its id")


def block(runner: TransactionRunner, connection: Connection, shards: Shards, flows: Collection[str], now: int) -> None:
    """Block the first due rows of these flows that have no run."""
    values = texts(list(flows)), now, REASON
    fetch_all(connection, *[(runner.sql(BLOCK), (shard, *values)) for shard in shards.all])
