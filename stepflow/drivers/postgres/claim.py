"""Claims: due rows are taken in the order of law 5, without waiting for rows that others are taking."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import Claim, Fence, Record
from stepflow.drivers.port.deltas import is_delta
from stepflow.drivers.port.pauses import without
from stepflow.drivers.port.turns import Candidate, first
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.claim_limited import Limited
from stepflow.drivers.postgres.claim_starts import DEAD_ROWS, ClaimStarts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lock_and_read import BEGIN, POSTED, InboxNotEmpty, drawn_epochs
from stepflow.drivers.postgres.lookup import either, found, held_by
from stepflow.drivers.postgres.owners import PostgresOwners
from stepflow.drivers.postgres.partitions import (
    BECAME_DUE,
    DUE,
    FEW_OF_LIMIT,
    LATE,
    MET,
    PLAIN,
    PROMOTE,
    PROMOTED,
    RECORD,
    TAKEN,
    PostgresPartition,
    Request,
    candidates_of,
    few_of,
    late_rows,
    look_at,
    note_taken,
    ready_rows,
    rows_due,
    take_of,
    values,
)
from stepflow.drivers.postgres.pauses import NAMES
from stepflow.drivers.postgres.query import read_run
from stepflow.drivers.postgres.ranges import BEHIND, joined
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.model.lifecycle import QueueRow

# $1, $2: a shard and a flow for each of the ranges $3 to $6; on Citus only all shards and flows.
ANY_LIMITED = either(
    f"select count(a.yes) + count(b.yes) > 0, {DEAD_ROWS} from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[],"
    " $6::bigint[]) as s (shard, flow, priority, due, id, below)"
    " left join lateral (select true as yes from stepflow.queue x where x.shard = s.shard and x.flow = s.flow"
    " and x.partition = 4 and (x.priority, x.due, x.id) > (s.priority, s.due, s.id) and x.priority < s.below"
    " order by x.priority, x.due, x.id limit 1) a on true"
    " left join lateral (select true as yes from stepflow.queue x where x.shard = s.shard and x.flow = s.flow"
    " and x.partition = 2 and x.limits <> '' order by x.priority limit 1) b on true",
    "select count(*) > 0, 0 from (select 1 from stepflow.queue x where x.shard = any($1::text[]) and x.flow = any($2::text[])"
    " and (x.partition = 4 or x.partition = 2 and x.limits <> '') limit 1) l",
)
MOST_POLLING = 65_536
# The usual case in one statement: nothing is posted, no special row wants to be merged in, no row waits for the promoter but a
# few without limits, which are taken as they are if no other row is ready: such are the polls of a worker that keeps up with them.
# Else nothing is taken, and the flags say why. An owner that was reclaimed appears again.
# $15 to $19: where to begin, $20 to $23 the same for rows with limits.
TAKE_PLAIN = """
with f as materialized (
    select exists (select 1 from stepflow.inbox i where i.shard = $1) as posted,
        (select 1 from ({limited}) x limit 1) is not null
        or (select 1 from stepflow.queue x where {special} order by x.priority limit 1) is not null as special,
        {paused} as paused, n.many, n.anything, {dead} as dead, pg_advisory_xact_lock_shared($9) is not null as held from {became_due} n
), o as (
    insert into stepflow.owners (shard, id, host, pid, beat, locks) values ($10, $8, $11, $12, $13, $14)
    on conflict (shard, id) do nothing
), p as materialized (
    {ready}
), g as materialized (
    select many or anything and (select 1 from p limit 1) is not null as late from f
), d as materialized (
    {late}
), u as materialized (
    select * from p where (select not late from g) union all select * from d
), {taken}
select taken.*, r.*, f.posted, f.paused, f.special, g.late, f.anything, f.dead from f cross join g
left join taken on true {record}
""".format(
    limited=BEHIND.format(
        m=["$20", "$21", "$22", "$23"],
        columns="q.id",
        where="q.shard = $1 and q.flow = $2 and q.partition = 4",
        number=1,
        lock="",
    ),
    special=DUE.format(q="x") + MET.format(q="x"),
    dead=DEAD_ROWS,
    paused="(select 1 from stepflow.paused_flows x where x.shard = $1 and x.flow = $2 order by x.flow limit 1) is not null",
    became_due=BECAME_DUE.format(flow="$2", since="$19", few=FEW_OF_LIMIT),
    ready=ready_rows(
        rows_due(PLAIN, " and (select not (posted or special or paused) and not many and held from f)"),
        15,
    ),
    late=late_rows(
        rows_due(
            LATE,
            " and (select not (posted or special or paused) and anything and not many and held from f)"
            " and (select not late from g)",
            since="$19",
        )
    ),
    taken=TAKEN,
    record=RECORD,
)
MINE = f"""
select q.id, coalesce(q.epoch, s.epoch), q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits,
    q.unfinished, q.epoch is not null
from {held_by("$2", "x.*")} cross join {found("states", "x.shard = $1 and x.id = q.id", "x.epoch")} s
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
        self._runner, self._shards, self._owners, self.owner = runner, shards, owners, owners.me.id
        self._lock = (runner.sql(lock[0]), lock[1])
        self.starts = ClaimStarts(shards)
        self.limited = Limited(runner, shards, self.owner, self._lock, self.starts)
        self._polling = polling
        self._newest = 0  # the largest epoch that was handed out here: later ones are claims whose answer got lost

    def know(self, epoch: int) -> None:
        """Rows up to this epoch are no claims whose answer got lost."""
        self._newest = max(self._newest, epoch)

    def forget(self) -> None:
        """Epochs are given again from a smaller number on."""
        self._newest = 0
        self.starts.forget()
        self.limited.held.forget()

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
            self.owner,
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
        text, more = self._runner.sql(MINE), (stored(self.owner), self._newest)
        parts = fetch_all(connection, *[(text, (shard, *more)) for shard in self._shards.all])
        return [row for rows in parts for row in rows] or None

    def _take(self, connection: Connection, request: Request) -> list[Any]:
        alone = len(request.flows) == 1 and self._shards.number == 1 and not request.suspects
        if alone and not self._runner.place.citus:  # whose workers have neither the lock nor the epochs
            rows = self._take_plain(connection, request)
            if rows is not None:
                return rows
        partitions = self._partitions(request)
        candidates, paused, limited = self._look(connection, request, partitions)
        if paused:
            request = evolve(request, flows=without(request.flows, paused))
            partitions = [one for one in partitions if one.flow in request.flows]
            candidates = [one for one in candidates if one[1] in request.flows]
        if limited:
            return self.limited.take(connection, request, partitions)
        counts = Counter(partition for *_order, partition in first(candidates, request.flows, request.limit))
        found = self._take_counted(connection, request, counts) if counts else []
        taken = dict(zip(counts, found, strict=True))
        seen = Counter(partition for *_order, partition in candidates)
        for partition in partitions:
            rows = taken.get(partition, [])
            note_taken(
                self.starts, request, partition, rows, more=len(rows) < seen[partition] or len(rows) >= request.limit
            )
        return [row for rows in taken.values() for row in rows]

    def _take_counted(
        self, connection: Connection, request: Request, counts: Mapping[PostgresPartition, int]
    ) -> list[list[Any]]:
        """The rows taken of each partition, so many as are counted."""
        begin, epochs = [(BEGIN, ()), self._lock], None
        if self._runner.place.citus:
            fetch_all(connection, *begin)
            begin, epochs = [], drawn_epochs(self._runner, connection, sum(counts.values()))
        takes = [
            take_of(self._runner, partition, request, number, self.owner, epochs)
            for partition, number in counts.items()
        ]
        return fetch_all(connection, *begin, *takes, ("commit", ()))[len(begin) : -1]

    def _take_plain(self, connection: Connection, request: Request) -> list[Any] | None:
        """The usual case, rows of one flow and partition, in one round trip; None when there are others among them."""
        (flow,) = request.flows
        shard, now = self._shards.all[0], request.now
        first, _me, *rest = self._owners.appearing()[1]
        lines = self.starts.lines(shard, flow, now)
        if lines.any_left:
            return None
        ranges, sleepers = self.starts.ranges(shard, flow, now)
        partition = PostgresPartition(shard, flow, ranges=ranges)
        wanted = (*values(partition, request, request.limit), stored(self.owner), *self._lock[1], first, *rest)
        rows = connection.execute(
            self._runner.sql(TAKE_PLAIN), (*wanted, *ranges, sleepers, *lines.fresh), prepare=True
        ).fetchall()
        *_row, posted, paused, special, late, anything, dead = rows[0]
        self.starts.learn(dead)
        if posted:
            raise InboxNotEmpty
        if paused:  # so nothing is known of its rows
            return []
        if special or late:
            return None
        taken = [row[:-6] for row in rows if row[0] is not None]
        if not anything:  # else all of them are rows that became due
            note_taken(self.starts, request, partition, taken, more=len(taken) >= request.limit)
            self.starts.awake(shard, flow, now)
        return taken

    def _partitions(self, request: Request) -> list[PostgresPartition]:
        return [
            PostgresPartition(shard, flow, kind, *self.starts.ranges(shard, flow, request.now))
            for shard in self._shards.all
            for flow in request.flows
            for kind in (("special",) if request.suspects else ("ready", "special"))
        ]

    def _look(
        self, connection: Connection, request: Request, partitions: Sequence[PostgresPartition]
    ) -> tuple[list[Candidate], set[str], bool]:
        """The first rows without limits of each partition, the paused flows, and whether there are rows with limits."""
        text, row = self._owners.appearing()
        appear = (self._runner.sql(text), row)
        lines = {(s, f): self.starts.lines(s, f, request.now) for s in self._shards.all for f in request.flows}
        fresh = joined({part: some.fresh for part, some in lines.items()})
        every = (texts(self._shards.all), texts(list(request.flows)))
        any_limited = (self._runner.sql(ANY_LIMITED), every if self._runner.place.citus else fresh)
        looks = [look_at(self._runner, partition, request) for partition in partitions]
        names = (self._runner.sql(NAMES), (self._shards.all[0],))
        posted, stopped, _me, *found = fetch_all(
            connection,
            self._posted(),
            names,
            appear,
            *self._promotions(request, few_of(request.limit)),
            any_limited,
            *looks,
        )
        if posted:
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
        more = any(some.any_left for some in lines.values())
        return candidates, {restored(flow) for (flow,) in stopped}, bool(limited) or more

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
