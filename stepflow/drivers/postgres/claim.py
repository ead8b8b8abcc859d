"""Claims: due rows are taken in the order of law 5, without waiting for rows that others are taking."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from stepflow.drivers.port.commit import Claim, Fence, Record
from stepflow.drivers.port.deltas import is_delta
from stepflow.drivers.port.turns import Candidate, first
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.claim_limited import Limited
from stepflow.drivers.postgres.claim_start import ClaimStarts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lock_and_read import BEGIN, POSTED, InboxNotEmpty
from stepflow.drivers.postgres.lookup import found, held_by
from stepflow.drivers.postgres.owners import PostgresOwners
from stepflow.drivers.postgres.partitions import (
    BECAME_DUE,
    DUE,
    FEW,
    LATE,
    MET,
    PLAIN,
    PROMOTE,
    PROMOTED,
    TAKEN,
    PostgresPartition,
    Request,
    candidates_of,
    late_rows,
    look_at,
    ready_rows,
    rows_due,
    take_of,
    values,
)
from stepflow.drivers.postgres.query import TEXT, read_run
from stepflow.drivers.postgres.rows import CREATED, STATE, Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.model.lifecycle import QueueRow

DEAD = "pg_stat_get_dead_tuples('stepflow.queue'::regclass)"
ANY_LIMITED = (
    f"select count(a.yes) + count(b.yes) > 0, {DEAD} from unnest($1::text[]) as s (shard) cross join unnest($2::text[]) as f (flow)"
    " left join lateral (select true as yes from stepflow.queue x where x.shard = s.shard and x.flow = f.flow"
    " and x.partition = 4 order by x.limits limit 1) a on true"
    " left join lateral (select true as yes from stepflow.queue x where x.shard = s.shard and x.flow = f.flow"
    " and x.partition = 2 and x.limits <> '' order by x.priority limit 1) b on true"
)
MOST_POLLING = 65_536
# The usual case in one statement: nothing is posted, no special row wants to be merged in, no row waits for the promoter
# (unless $10: it did what it could) but a few without limits, which are taken as they are if no other row is ready: such are the
# polls of a worker that keeps up with them. Else nothing is taken, and the flags say why. An owner that was reclaimed appears again.
# $16 to $20: where to begin.
# The record comes along unless the State was changed since the statement began: its exchange and events may not be in view.
TAKE_PLAIN = """
with f as materialized (
    select exists (select 1 from stepflow.inbox i where i.shard = $1) as posted,
        (select 1 from stepflow.queue x where x.shard = $1 and x.flow = $2 and x.partition = 4 order by x.limits limit 1)
        is not null or (select 1 from stepflow.queue x where {special} order by x.priority limit 1) is not null as special,
        n.many, n.anything, {dead} as dead, pg_advisory_xact_lock_shared($9) is not null as held from {became_due} n
), o as (
    insert into stepflow.owners (shard, id, host, pid, beat, locks) values ($11, $8, $12, $13, $14, $15)
    on conflict (shard, id) do nothing
), p as materialized (
    {ready}
), g as materialized (
    select many or anything and (select 1 from p limit 1) is not null as late from f
), d as materialized (
    {late}
), u as materialized (
    select * from p where (select $10::boolean or not late from g) union all select * from d
), {taken}
select taken.*, r.*, f.posted, f.special, g.late, f.anything, f.dead from f cross join g
left join taken on true left join lateral (
    select {state}, {created}, {text} from stepflow.states s cross join {exchange} h
    where s.shard = $1 and s.id = taken.id and s.rev = taken.claim_rev and coalesce(s.delay, 0) = 0 limit 1
) r on true
""".format(
    state=STATE,
    created=CREATED,
    text=TEXT,
    special=DUE.format(q="x") + MET.format(q="x"),
    dead=DEAD,
    became_due=BECAME_DUE.format(flow="$2", since="$20", few=f"{FEW} * $5"),
    ready=ready_rows(
        rows_due(PLAIN, " and (select not posted and not special and (not many or $10::boolean) and held from f)"), 16
    ),
    late=late_rows(
        rows_due(
            LATE,
            " and (select not posted and not special and anything and not many and held from f)"
            " and (select not late from g)",
            since="$20",
        )
    ),
    taken=TAKEN,
    exchange=found("history", "x.shard = $1 and x.rev = s.exchange_rev", "x.exchange"),
)
MINE = f"""
select q.id, coalesce(q.epoch, s.epoch), q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits,
    q.unfinished, q.epoch is not null
from {held_by("$2", "x.*")} cross join {found("states", "x.shard = q.shard and x.id = q.id", "x.epoch")} s
where coalesce(q.epoch, s.epoch) > $3
"""


class PostgresClaims:
    """The claims of one session, whose owner they belong to; `lock` guards the drawing of epochs.

    `polling` gets the epochs of the claims that are fenced by their queue row alone. A step under another one that is, a claim
    whose epoch was dropped here, costs another round trip.
    """

    def __init__(
        self, runner: TransactionRunner, shards: Shards, owners: PostgresOwners, lock: Statement, polling: set[int]
    ) -> None:
        self._runner, self._shards, self._owners, self._owner = runner, shards, owners, owners.me.id
        self._lock = (runner.sql(lock[0]), lock[1])
        self.starts = ClaimStarts(shards)
        self._limited = Limited(runner, shards, self._owner, self._lock)
        self._polling = polling
        self._newest = 0  # the largest epoch that was handed out here: later ones are claims whose answer got lost

    def know(self, epoch: int) -> None:
        """Rows up to this epoch are no claims whose answer got lost."""
        self._newest = max(self._newest, epoch)

    def forget(self) -> None:
        """Epochs are given again from a smaller number on."""
        self._newest = 0
        self.starts.forget()

    def claim(self, request: Request) -> list[Claim]:
        """Take what is due, in order. Raises InboxNotEmpty, and takes nothing, when the inbox must be applied first."""
        if not request.flows or request.limit < 1:
            return []
        rows = self._runner.run(lambda c: self._take(c, request), self._lost)
        found = [self._read(row) for row in rows]
        self._newest = max([self._newest, *(claim.fence.epoch for claim in found)])
        candidates = [((one.row.priority, one.row.due, one.fence.id), one.row.flow, "", one) for one in found]
        return [one[3] for one in first(candidates, request.flows, len(found))]

    def _read(self, row: Sequence[Any]) -> Claim:
        run_id, epoch, flow, due, claim_rev, priority, crashes, cancel, limits, unfinished, polls, *run = row
        if polls:
            if len(self._polling) >= MOST_POLLING:
                self._polling.clear()
            self._polling.add(epoch)
        taken = QueueRow(
            restored(flow),
            due,
            self._owner,
            epoch,
            claim_rev,
            priority,
            crashes,
            cancel,
            "",
            "",
            restored(limits),
            unfinished,
        )
        return Claim(Fence(restored(run_id), epoch), taken, _record(run, taken))

    def _lost(self, connection: Connection) -> list[Any] | None:
        """The rows of a claim that was done before its connection broke."""
        key = (texts(self._shards.all), stored(self._owner), self._newest)
        return connection.execute(self._runner.sql(MINE), key).fetchall() or None

    def _take(self, connection: Connection, request: Request) -> list[Any]:
        if len(request.flows) == 1 and self._shards.number == 1 and not request.suspects:
            rows = self._take_plain(connection, request)
            if rows is not None:
                return rows
        partitions = self._partitions(request)
        candidates, limited = self._look(connection, request, partitions)
        if limited:
            return self._limited.take(connection, request, partitions)
        counts = Counter(partition for *_order, partition in first(candidates, request.flows, request.limit))
        takes = [take_of(self._runner, partition, request, number, self._owner) for partition, number in counts.items()]
        found = fetch_all(connection, (BEGIN, ()), self._lock, *takes, ("commit", ()))[2:-1] if takes else []
        taken = dict(zip(counts, found, strict=True))
        seen = Counter(partition for *_order, partition in candidates)
        for partition in partitions:
            rows = taken.get(partition, [])
            self._took(request, partition, rows, more=len(rows) < seen[partition] or len(rows) >= request.limit)
        return [row for rows in taken.values() for row in rows]

    def _take_plain(self, connection: Connection, request: Request) -> list[Any] | None:
        """The usual case, one flow and no special rows, in one round trip; None when there are special ones."""
        (flow,) = request.flows
        shard, now = self._shards.all[0], request.now
        first, _me, *rest = self._owners.appearing()[1]
        for promoted in (False, True):
            ranges, sleepers = self.starts.ranges(shard, flow, now)
            partition = PostgresPartition(shard, flow, ranges=ranges)
            wanted = (*values(partition, request, request.limit), stored(self._owner), *self._lock[1], promoted)
            text = self._runner.sql(TAKE_PLAIN)
            rows = connection.execute(text, (*wanted, first, *rest, *ranges, sleepers), prepare=True).fetchall()
            *_row, posted, special, late, anything, dead = rows[0]
            self.starts.learn(dead)
            if posted:
                raise InboxNotEmpty
            if special:
                return None
            if not late or promoted:
                break
            fetch_all(connection, *self._promotions(request, 0))
        taken = [row[:-5] for row in rows if row[0] is not None]
        if not anything or late:  # else all of them are rows that became due
            self._took(request, partition, taken, more=len(taken) >= request.limit)
        if not anything:
            self.starts.awake(shard, flow, now)
        return taken

    def _took(self, request: Request, partition: PostgresPartition, rows: Sequence[Any], *, more: bool) -> None:
        """Remember up to which row nothing is left in a partition."""
        if partition.kind == "ready" and not request.skip:
            self.starts.took(partition.shard, partition.flow, request.now, partition.ranges, rows, more=more)

    def _partitions(self, request: Request) -> list[PostgresPartition]:
        return [
            PostgresPartition(shard, flow, kind, *self.starts.ranges(shard, flow, request.now))
            for shard in self._shards.all
            for flow in request.flows
            for kind in (("special",) if request.suspects else ("ready", "special"))
        ]

    def _look(
        self, connection: Connection, request: Request, partitions: Sequence[PostgresPartition]
    ) -> tuple[list[Candidate], bool]:
        """The first rows without limits of each partition, and whether there are rows with limits."""
        text, row = self._owners.appearing()
        appear = (self._runner.sql(text), row)
        any_limited = (self._runner.sql(ANY_LIMITED), (texts(self._shards.all), texts(list(request.flows))))
        looks = [look_at(self._runner, partition, request) for partition in partitions]
        posted, _me, *found = fetch_all(
            connection, self._posted(), appear, *self._promotions(request, FEW * request.limit), any_limited, *looks
        )
        if posted[0][0]:
            raise InboxNotEmpty
        ((limited, dead),), *rows = found[self._shards.number :]
        self.starts.learn(dead)
        candidates: list[Candidate] = []
        promoted = {shard: number for shard, ((number,),) in zip(self._shards.all, found, strict=False)}
        for partition, some in zip(partitions, rows, strict=True):
            candidates += (those := candidates_of(partition, some))
            left = promoted[partition.shard] >= PROMOTED or any(one[3] is not partition for one in those)
            if partition.kind == "ready" and not left and not request.skip:
                self.starts.awake(partition.shard, partition.flow, request.now)
        return candidates, bool(limited)

    def _posted(self) -> Statement:
        return self._runner.sql(POSTED), (texts(self._shards.all),)

    def _promotions(self, request: Request, few: int) -> list[Statement]:
        """The statements that make ready what became due, unless it is no more than `few` rows of a flow."""
        text, flows, now = self._runner.sql(PROMOTE), texts(list(request.flows)), request.now
        since = {
            shard: [self.starts.ranges(shard, flow, now)[1] for flow in request.flows] for shard in self._shards.all
        }
        return [(text, (shard, flows, now, PROMOTED, numbers(since[shard]), few)) for shard in self._shards.all]


def _record(run: Sequence[Any], taken: QueueRow) -> Record | None:
    """The record of a run, None without one, or if its exchange is stored as a delta: then it is loaded.

    One that cannot be read is ours by now: `load` raises, and the worker releases it.
    """
    try:
        record = read_run(run, taken)[1] if run and run[0] is not None else None
    except (ValueError, KeyError, TypeError):
        return None
    return None if record is None or is_delta(record.exchange) else record
