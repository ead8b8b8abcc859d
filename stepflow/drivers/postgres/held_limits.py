"""HeldLimits: the held runs with limits, without a walk over the index entries of all that were held before.

Claims of runs with limits are numbered, and numbers become visible in their order. So a session that read the held rows
up to a number finds those that are still held by their ids, and the others behind that number. Unlike a ClaimStart this
is exact. Rows that are held by a commit have no number; they are few, and are always looked for.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepflow.drivers.postgres.arrays import stored_texts, texts
from stepflow.drivers.postgres.lookup import either, found
from stepflow.drivers.postgres.ranges import FIRST
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner

_HELD = "x.partition = 3 and x.limits <> ''"
_COLUMNS = "x.shard, x.id, x.limits, x.holding"
# $2 the number, $3 and $4 shards and ids of the rows that were held with numbers up to it.
HELD = either(
    f"""
select b.* from unnest($1::text[]) as u (shard) cross join lateral (select {_COLUMNS} from stepflow.queue x
    where x.shard = u.shard and {_HELD} and x.holding > $2 order by x.holding) b
union all select n.* from unnest($1::text[]) as u (shard) cross join lateral (select {_COLUMNS} from stepflow.queue x
    where x.shard = u.shard and {_HELD} and x.holding is null) n
union all select k.shard, k.id, k.limits, k.holding from unnest($3::text[], $4::text[]) as u (shard, id)
    cross join {found("queue", "x.shard = u.shard and x.id = u.id", _COLUMNS + ", x.partition")} k
    where k.partition = 3 and k.limits <> '' and k.holding <= $2
""",
    "select x.shard, x.id, x.limits, x.holding from stepflow.queue x where x.shard = any($1::text[]) and x.partition = 3"
    " and x.limits <> ''",
)

NOTHING = (FIRST, "{}", "{}")


class HeldLimits:
    """What one session knows of the held runs with limits."""

    def __init__(self, runner: TransactionRunner, shards: Shards) -> None:
        self.text, self.shards, self.citus = runner.sql(HELD), texts(shards.all), runner.place.citus
        # The number, and the rows up to it as array literals; replaced as one, as each such state is right by itself.
        self.known = NOTHING

    def forget(self) -> None:
        """Numbers are given again from a smaller one on."""
        self.known = NOTHING

    def reading(self, *, many_dead: bool) -> HeldReading:
        """Begin to read; with few dead rows it is cheaper to read all that are held."""
        return HeldReading(self, self.known if many_dead else NOTHING)


class HeldReading:
    """What one transaction reads of them."""

    def __init__(self, limits: HeldLimits, known: tuple[int, str, str]) -> None:
        self._limits, self._since = limits, known[0]
        self.statement: Statement = (limits.text, (limits.shards, *(() if limits.citus else known)))
        self._rows: list[tuple[str, str, int]] = []

    def found(self, rows: Sequence[Sequence[Any]]) -> None:
        """The statement found these rows."""
        self._rows = [(row[0], row[1], row[3]) for row in rows if row[3] is not None]
        self.took(())

    def took(self, taken: Sequence[tuple[str, str, int]]) -> None:
        """The transaction, which alone claims, took rows then: shard, id and number of each."""
        rows = [*self._rows, *taken]
        newest = max([self._since, *(number for _shard, _id, number in rows)])
        ids = [run_id for _shard, run_id, _number in rows]
        self._limits.known = (newest, stored_texts([shard for shard, _id, _number in rows]), stored_texts(ids))
