"""The flows of a namespace that are paused: written to every shard, and read."""

from __future__ import annotations

from collections.abc import Sequence

from stepflow.drivers.port.pauses import FlowPause, PausedFlowRow
from stepflow.drivers.postgres.arrays import restored, stored
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner

PUT = "insert into stepflow.paused_flows (shard, flow, since) values ($1, $2, $3) on conflict (shard, flow) do nothing"
DELETE = "delete from stepflow.paused_flows where shard = $1 and flow = $2"
NAMES = "select flow from stepflow.paused_flows where shard = $1 order by flow"
ALL = "select flow, since from stepflow.paused_flows where shard = $1 order by flow"


def pause_statements(shards: Shards, changes: Sequence[FlowPause]) -> list[Statement]:
    """Pause flows, or let their runs go on; one that is paused already keeps its time."""
    return [
        (PUT, (shard, stored(one.flow), one.at)) if one.paused else (DELETE, (shard, stored(one.flow)))
        for one in changes
        for shard in shards.all
    ]


def read_paused(runner: TransactionRunner, connection: Connection, shards: Shards) -> list[PausedFlowRow]:
    """All of them, by name."""
    rows = connection.execute(runner.sql(ALL), (shards.all[0],)).fetchall()
    return [PausedFlowRow(restored(flow), since) for flow, since in rows]
