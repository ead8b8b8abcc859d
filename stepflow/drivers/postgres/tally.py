"""Counts the runs by flow and status: open ones from the index of lists, ended ones from what was counted before.

`stepflow.drivers.port.tallied` says how. What is counted is as of the newest revision of the shard up to the visible one: a
transaction that commits later may have drawn a revision before it, but none before the visible one.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, evolve
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from stepflow.drivers.port.queries import Tally
from stepflow.drivers.port.tallied import Counts, Tallied, ended_by, kept, tallies
from stepflow.drivers.postgres.arrays import restored
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.list_ways import ROW, STATUS
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.model.lifecycle import FINAL
from stepflow.model.state import ENDS

SNAPSHOT = "begin isolation level repeatable read"
OPEN = (
    f"select s.flow, {STATUS}, count(*) from stepflow.states s left join {ROW} q on true"
    " where s.shard = $2 and s.status = '' and s.delay is null group by 1, 2"
)
_FINAL = ", ".join(repr(str(status)) for status in sorted(FINAL))
COUNT = (
    "select s.flow, s.status, count(*) from stepflow.states s"
    f" where s.shard = $1 and s.status in ({_FINAL}) and s.delay is null group by 1, 2"
)
KNOWN = "select rev, prunings, counts from stepflow.tallied where shard = $1"
SINCE = "select count(*) from (select 1 from stepflow.history where shard = $1 and rev > $2 order by rev limit $3) h"
NEWEST = "select rev from stepflow.history where shard = $1 and rev <= $2 order by rev desc limit 1"
# The name of the schema is replaced wherever a point follows it.
_PARTS = [part.replace(".", "' || '.") for part in ENDS]
_MAY_END = " or ".join(f"strpos({{0}}.transition, '{part}') > 0" for part in _PARTS)
_LATER = "select {columns} from stepflow.history r where r.shard = $1 and r.rev > $2{more} order by r.rev offset 0"
_ENDING = _LATER.format(columns="r.id, r.transition", more=f" and ({_MAY_END.format('r')})")
_FOLLOWING = (
    f"select r.id, p.transition from ({_LATER.format(columns='r.id, r.prev', more=' and r.prev > 0')}) r"
    f" cross join {found('history', 'x.shard = $1 and x.rev = r.prev', 'x.transition')} p"
    f" where {_MAY_END.format('p')} offset 0"
)
_CHANGED = (
    f"select s.flow, h.transition, count(*) from ({{}}) h cross join"
    f" {found('states', 'x.shard = $1 and x.id = h.id', 'x.flow, x.rev, x.delay')} s"
    " where s.delay is null and s.rev > 0 group by 1, 2"
)
# The transitions that later revisions have, and those that they follow, if they may have ended a run that is not pruned.
ENDED, LEFT = _CHANGED.format(_ENDING), _CHANGED.format(_FOLLOWING)
KEEP = (
    "insert into stepflow.tallied (shard, rev, prunings, counts) values ($1, $2, $3, $4) on conflict (shard) do update"
    " set rev = excluded.rev, counts = excluded.counts"
    " where tallied.prunings = excluded.prunings and tallied.rev = $5"
)
PRUNING = (
    "insert into stepflow.tallied (shard, rev, prunings, counts) values ($1, 0, 1, '[]') on conflict (shard) do update"
    " set prunings = tallied.prunings + 1 returning rev, prunings, counts"
)
PRUNED = "update stepflow.tallied set rev = $2, counts = $3 where shard = $1"


def pruned(runner: TransactionRunner, connection: Connection, shard: str, runs: Iterable[tuple[str, str, int]]) -> None:
    """A pruning deletes these runs (flow, status, revision) in this transaction, which waits for others that do this; so it comes last."""
    ((rev, prunings, counts),) = connection.execute(runner.sql(PRUNING), (shard,)).fetchall()
    if rev:
        left = kept(rev, prunings, counts).without(runs)
        connection.execute(runner.sql(PRUNED), (shard, left.rev, left.text))


@define
class PostgresTally:
    """The counts of one namespace on one connection."""

    runner: TransactionRunner
    shards: Shards
    head: VisibleRev
    connection: Connection

    def read(self, now: int) -> list[Tally]:
        """How many runs of each flow have each status as of `now`; keeps what took long to count."""
        visible, counts = self.head.covering(self.connection), Counts()
        for shard in self.shards.all:
            self.connection.execute(SNAPSHOT)
            ended, newer = self._ended(shard, visible)
            counts.update(ended)
            for flow, status, number in self._rows(OPEN, now, shard):
                counts[restored(flow), status] += number
            self.connection.execute("commit")
            if newer is not None:
                self._keep(shard, *newer)
        return tallies(counts)

    def _keep(self, shard: str, before: Tallied, after: Tallied) -> None:
        values = (shard, after.rev, after.prunings, after.text, before.rev)
        with suppress(ReadOnlySqlTransaction, InsufficientPrivilege):  # of a standby, or a reader: it counts anew
            self.connection.execute(self.runner.sql(KEEP), values)

    def _ended(self, shard: str, visible: int) -> tuple[Counts, tuple[Tallied, Tallied] | None]:
        """The runs that ended; and what was known before and what should be kept instead, if that took long."""
        known, newest = fetch_all(
            self.connection, (self.runner.sql(KNOWN), (shard,)), (self.runner.sql(NEWEST), (shard, visible))
        )
        before = kept(*known[0]) if known else Tallied()
        ((since,),) = self._rows(SINCE, shard, before.rev, before.most + 1) if before.rev else ((0,),)
        if before.is_near(since):
            counts, read = Counts(before.counts), since
            counts.update(self._changed(shard, before.rev))
        else:
            rows = self._rows(COUNT, shard)
            counts = Counts({(restored(flow), status): number for flow, status, number in rows})
            read = sum(counts.values())
        rev = newest[0][0] if newest else 0
        after = before.then(rev, counts, read)
        if after is None:
            return counts, None
        then = Counts(counts)
        then.subtract(self._changed(shard, rev))
        return counts, (before, evolve(after, counts={key: number for key, number in then.items() if number}))

    def _changed(self, shard: str, rev: int) -> Counts:
        """By how much the revisions after this one changed the counts."""
        ended, left = fetch_all(self.connection, *[(self.runner.sql(text), (shard, rev)) for text in (ENDED, LEFT)])
        counts = ended_by(_restored(ended))
        counts.subtract(ended_by(_restored(left)))
        return counts

    def _rows(self, text: str, *values: object) -> Sequence[tuple[Any, ...]]:
        return self.connection.execute(self.runner.sql(text), values).fetchall()


def _restored(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, str, int]]:
    return ((restored(flow), text, number) for flow, text, number in rows)
