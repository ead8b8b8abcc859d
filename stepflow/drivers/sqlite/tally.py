"""tally: counts the runs by flow and status: open ones from the index of lists, ended ones from what was counted before.

`stepflow.drivers.port.tallied` says how. Revisions are committed in their order, so what a transaction counts is as of its newest one.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from attrs import define

from stepflow.drivers.port.queries import Tally
from stepflow.drivers.port.tallied import Counts, Tallied, ended_by, kept, tallies
from stepflow.drivers.sqlite.list_ways import ROW, STATUS
from stepflow.drivers.sqlite.lists import FLOWS
from stepflow.drivers.sqlite.meta import head
from stepflow.model.lifecycle import FINAL
from stepflow.model.state import ENDS

OPEN = (
    f"SELECT {STATUS}, count(*) FROM stepflow_states AS s INDEXED BY stepflow_states_listed {ROW}"
    " WHERE s.shard = :shard AND s.flow = :flow AND s.status = '' GROUP BY 1"
)
COUNT = (
    "SELECT count(*) FROM stepflow_states INDEXED BY stepflow_states_listed WHERE shard = ? AND flow = ? AND status = ?"
)
KNOWN = "SELECT rev, prunings, counts FROM stepflow_tallied WHERE shard = ?"
_MAY_END = " OR ".join(f"instr({{t}}.transition, '{part}')" for part in ENDS)
# The transitions that later revisions have, and those that they follow, if they may have ended a run that is not pruned.
_CHANGED = (
    "SELECT s.flow, {t}.transition, count(*) FROM stepflow_history AS h{prev} CROSS JOIN stepflow_states AS s"
    " ON s.shard = h.shard AND s.id = h.id WHERE h.rev > ?2 AND h.shard = ?1 AND s.rev > 0"
    f" AND ({_MAY_END}) GROUP BY 1, 2"
)
ENDED = _CHANGED.format(t="h", prev="")
LEFT = _CHANGED.format(t="p", prev=" CROSS JOIN stepflow_history AS p ON p.rev = h.prev")
KEEP = (
    "INSERT INTO stepflow_tallied (shard, rev, prunings, counts) VALUES (?1, ?2, ?3, ?4)"
    " ON CONFLICT (shard) DO UPDATE SET rev = excluded.rev, prunings = excluded.prunings, counts = excluded.counts"
)


def known(connection: sqlite3.Connection, shard: str) -> Tallied:
    """What was counted before."""
    row = connection.execute(KNOWN, (shard,)).fetchone()
    return Tallied() if row is None else kept(*row)


def keep(connection: sqlite3.Connection, shard: str, tallied: Tallied) -> None:
    """Replace what was counted before, in a write transaction."""
    connection.execute(KEEP, (shard, tallied.rev, tallied.prunings, tallied.text))


def keep_newer(connection: sqlite3.Connection, shard: str, newer: Tallied) -> None:
    """The same with what a reader counted, if no pruning has deleted runs since, and no other one has kept more."""
    last = known(connection, shard)
    if last.prunings == newer.prunings and last.rev < newer.rev:
        keep(connection, shard, newer)


def pruned(connection: sqlite3.Connection, shard: str, runs: Iterable[tuple[str, str, int]]) -> None:
    """A pruning deletes these runs (flow, status, revision) in this transaction."""
    keep(connection, shard, known(connection, shard).without(runs))


@define
class SqliteTally:
    """The counts of one shard on one connection; `newer` is what a writer should keep of the last answer, if anything."""

    connection: sqlite3.Connection
    shard: str
    newer: Tallied | None = None

    def read(self, now: int) -> list[Tally]:
        """How many runs of each flow have each status as of `now`."""
        flows = [name for (name,) in self.connection.execute(FLOWS, (self.shard,))]
        counts = self._ended(flows)
        for flow in flows:
            values = {"shard": self.shard, "now": now, "flow": flow}
            for status, number in self.connection.execute(OPEN, values):
                counts[flow, status] += number
        return tallies(counts)

    def _ended(self, flows: Iterable[str]) -> Counts:
        before, rev = known(self.connection, self.shard), head(self.connection)
        if before.is_near(rev - before.rev):
            counts, read = Counts(before.counts), rev - before.rev
            counts.update(ended_by(self.connection.execute(ENDED, (self.shard, before.rev))))
            counts.subtract(ended_by(self.connection.execute(LEFT, (self.shard, before.rev))))
        else:
            groups = [(flow, str(status)) for flow in flows for status in sorted(FINAL)]
            counts = Counts({key: self.connection.execute(COUNT, (self.shard, *key)).fetchone()[0] for key in groups})
            read = sum(counts.values())
        self.newer = before.then(rev, counts, read)
        return counts
