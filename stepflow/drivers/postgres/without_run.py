"""Blocks rows of the queue without a run: in one statement, on Citus in three of one table each.

No claim takes such rows, as it locks the State, and they would seem to be due forever.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection

from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lookup import by_id
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.model.blocked import UNREADABLE, unreadable

FIRST = 100  # rows of each kind that are looked at: those which a claim would take
RETRY = 30_000_000  # microseconds after which they are looked at again
_PART = (
    "select s.* from unnest($2::text[]) as f (flow) cross join lateral (select x.id, {more} from stepflow.queue x"
    " where x.shard = $1 and x.flow = f.flow and x.partition = {partition} and x.due <= $3"
    f" order by {{order}} limit {FIRST}) s"
)


def _parts(more: str) -> str:
    """The first due rows of each kind, with their ids and `more`."""
    orders = {0: "x.due", **dict.fromkeys((1, 2, 4), "x.priority, x.due, x.id")}
    return " union all ".join(f"({_PART.format(more=more, partition=one, order=by)})" for one, by in orders.items())


_BLOCKED = f"set partition = 2, due = $3 + {RETRY}, blocked = $4, blocked_by = '{UNREADABLE}'"
BLOCK = f"""
with u as materialized ({_parts("x.ctid as at")}), c as materialized (
    select u.at from u left join {by_id("states", "x.id")} s on true where s.id is null
)
update stepflow.queue q {_BLOCKED} from c where q.ctid = c.at
"""
DUE = _parts("x.due")
LOST = f"select u.id from unnest($2::text[]) as u (id) left join {by_id('states', 'x.id')} s on true where s.id is null"
BLOCK_LOST = (
    f"update stepflow.queue t {_BLOCKED} from unnest($2::text[]) as u (id)"
    " where t.shard = $1 and t.id = u.id and t.partition <> 3"
)
REASON = unreadable("there is a row of the queue, but no run with its id")


def block(runner: TransactionRunner, connection: Connection, shards: Shards, flows: Collection[str], now: int) -> None:
    """Block the first due rows of these flows that have no run."""
    if runner.place.citus:
        for shard in shards.all:
            _block_apart(runner, connection, shard, flows, now)
        return
    values = texts(list(flows)), now, REASON
    fetch_all(connection, *[(runner.sql(BLOCK), (shard, *values)) for shard in shards.all])


def _block_apart(
    runner: TransactionRunner, connection: Connection, shard: str, flows: Collection[str], now: int
) -> None:
    (due,) = fetch_all(connection, (runner.sql(DUE), (shard, texts(list(flows)), now)))
    if due:
        (lost,) = fetch_all(connection, (runner.sql(LOST), (shard, [row[0] for row in due])))
        if lost:
            values = shard, [key for (key,) in lost], now, REASON
            fetch_all(connection, (runner.sql(BLOCK_LOST), values))
