"""The flows of a shard that are paused: written and read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from attrs import define

from stepflow.drivers.port.pauses import FlowPause, PausedFlowRow

ALL = "SELECT flow, since FROM stepflow_paused_flows WHERE shard = ? ORDER BY flow"
PUT = "INSERT OR IGNORE INTO stepflow_paused_flows (shard, flow, since) VALUES (?, ?, ?)"
DELETE = "DELETE FROM stepflow_paused_flows WHERE shard = ? AND flow = ?"


@define
class SqlitePausedFlows:
    """The paused flows of one shard."""

    connection: sqlite3.Connection
    shard: str

    def read(self) -> list[PausedFlowRow]:
        """All of them, by name."""
        return [PausedFlowRow(*row) for row in self.connection.execute(ALL, (self.shard,))]

    def write(self, changes: Iterable[FlowPause]) -> None:
        """Pause flows, or let their runs go on; one that is paused already keeps its time."""
        for change in changes:
            if change.paused:
                self.connection.execute(PUT, (self.shard, change.flow, change.at))
            else:
                self.connection.execute(DELETE, (self.shard, change.flow))
