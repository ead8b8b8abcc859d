"""The statements of a beat: it shows life, and brings along all that an idle engine has to know; in one statement, but on Citus."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from stepflow.drivers.postgres import claim_starts
from stepflow.drivers.postgres.arrays import numbers, restored, texts
from stepflow.drivers.postgres.change_judge import FROM_SEQUENCES, INBOX, SEQUENCES, Marks
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lookup import held_by
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.server_clock import BOOT_AND_TIME, TIME
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all

# Tells whether others reclaimed what this owner held, and whether its row was missing. {time}: the server's time.
BEAT = (
    "insert into stepflow.owners (shard, id, host, pid, beat, locks, flows, process, boot, beat_at)"
    " values ($1, $2, $3, $4, $5 + 1, $6, $7, $8, $9, {time}) on conflict (shard, id) do update set beat = owners.beat + 1,"
    " locks = excluded.locks, flows = excluded.flows, process = excluded.process, boot = excluded.boot, beat_at = excluded.beat_at"
    " returning reclaimed_at > 0 as reclaimed, xmax = 0 as missing"
)
PEERS = (
    "select id, host, pid, beat, locks, process, boot, reclaimed_at > 0 from stepflow.owners where shard = $1 and id <> $2"
    " order by id"
)
# Without those that were reclaimed, unless they have claimed again before their next beat.
PEERS_AT_ONCE = f"""
    select o.id, o.host, o.pid, o.beat, o.locks, o.process, o.boot, false from stepflow.owners o where o.shard = $1 and o.id <> $2
    and (o.reclaimed_at = 0 or exists (select 1 from unnest($11::text[]) as s (shard)
        cross join {held_by("o.id", "x.id").replace("(select", "lateral (select", 1).replace("$1", "s.shard")}))
    order by o.id
"""
# On Citus: what only the coordinator knows, and what its workers know. $1 of the first are the keys of locks of others.
HERE = (
    f"select {SEQUENCES}, {BOOT_AND_TIME.removeprefix('select ')},"
    " array(select k from unnest($1::bigint[]) as k where pg_try_advisory_xact_lock_shared(k))"
    f" from {FROM_SEQUENCES}"
)
INBOX_APART = "select count(*), max(seq) from stepflow.inbox where shard = any($1::text[])"
HELD_APART = "select 1 from stepflow.queue x where x.shard = any($1::text[]) and x.partition = 3 limit 1"
# The index has only held rows with such a mark, and it alone has this order: what was held before is not looked at.
_MARKED = (
    "(select x.id, x.owner from stepflow.queue x where x.shard = {shard} and x.partition = 3 and x.cancel"
    " order by x.claim_rev offset 0) q"
)
MARKED = f"select q.id from {_MARKED.format(shard='$1')} where q.owner = $2"
OTHERS_HOLD = (
    "select exists (select 1 from unnest({shards}) as s (shard) cross join lateral (select 1 from stepflow.queue x"
    " where x.shard = s.shard and x.partition = 3 and x.owner {side} $2 order by x.owner limit 1) x)"
)
OTHERS_HOLD_APART = (
    "select 1 from stepflow.queue x where x.shard = any($1::text[]) and x.partition = 3 and x.owner <> $2 limit 1"
)
# $10: the keys of locks of others; $11: all shards; $12: with so many dead rows of the queue, over which a look for what others
# hold would walk, any other owner counts as one that holds something. One row per other owner, or one with nulls.
AT_ONCE = f"""
with b as ({BEAT.format(time=f"({TIME})")}), f as materialized (
    select coalesce(array_agg(k), '{{}}') as free from unnest($10::bigint[]) as k where pg_try_advisory_xact_lock_shared(k)
), c as materialized (
    select array(select q.id from unnest($11::text[]) as s (shard)
        cross join lateral {_MARKED.format(shard="s.shard")} where q.owner = $2 order by q.id) as cancels
)
select b.reclaimed, b.missing, {BOOT_AND_TIME.removeprefix("select ")}, f.free, c.cancels,
    case when {claim_starts.DEAD_ROWS} >= $12 then exists (select 1 from stepflow.owners o where o.shard = $1 and o.id <> $2)
        else ({OTHERS_HOLD.format(shards="$11::text[]", side="<")}) or ({OTHERS_HOLD.format(shards="$11::text[]", side=">")}) end,
    {SEQUENCES}, {INBOX.format(shards="$11::text[]")}, p.*
from b cross join f cross join c cross join {FROM_SEQUENCES.replace(", ", " cross join ")}
left join lateral ({PEERS_AT_ONCE}) p on true
"""
BEFORE_MARKS, MARKS, INBOX_MARKS = 7, 6, 2  # columns of it


@frozen
class Beaten:
    """What a beat learned: `others` are rows of PEERS, None if they are as they were; `free` the keys of locks that are free, of those that were asked for."""

    reclaimed: bool
    missing: bool
    boot: str
    time: int
    free: frozenset[int]
    cancels: tuple[str, ...]
    others_hold: bool
    others: Sequence[Sequence[Any]] | None
    marks: tuple[Marks, Marks]


def beat_at_once(
    runner: TransactionRunner, connection: Connection, shards: Shards, row: Sequence[object], keys: Sequence[int]
) -> Beaten:
    """Beat in one statement; `row` are the values of BEAT."""
    values = (*row, numbers(keys), texts(shards.all), claim_starts.DEAD)
    rows = connection.execute(runner.sql(AT_ONCE), values, prepare=True).fetchall()
    reclaimed, missing, boot, time, free, cancels, others_hold, *rest = rows[0]
    end = BEFORE_MARKS + MARKS + INBOX_MARKS
    others = [row[end:] for row in rows if row[end] is not None]
    return Beaten(
        reclaimed,
        missing,
        str(boot),
        int(time),
        frozenset(free),
        tuple(sorted(map(restored, cancels))),
        others_hold,
        others,
        (tuple(rest[:MARKS]), tuple(rest[MARKS : MARKS + INBOX_MARKS])),
    )


class BeatsApart:
    """The same on Citus, in several statements, as its workers know neither the sequences, the locks nor the clock of the coordinator.

    What only the coordinator knows is asked first. While nothing has moved and no owner holds anything, every second beat ends
    with that: others see this owner's beat move every second time.
    """

    def __init__(self) -> None:
        self._seen: tuple[object, ...] = ()  # what was seen before the last whole beat
        self._whole = -math.inf  # the monotonic time of that
        self._inbox: Marks = ()
        self._idle = False

    def beat(
        self,
        runner: TransactionRunner,
        connection: Connection,
        shards: Shards,
        row: Sequence[object],
        keys: Sequence[int],
        mono: float | None,
        rest_s: float,
    ) -> Beaten:
        """Beat; `rest_s` are the seconds between two beats of an idle owner. Without a whole beat `others` is None."""
        here = connection.execute(runner.sql(HERE), (numbers(keys),)).fetchone()
        assert here is not None
        sequences, (boot, time, free) = tuple(here[:MARKS]), here[MARKS:]
        coordinator = Beaten(
            False, False, str(boot), int(time), frozenset(free), (), False, None, (sequences, self._inbox)
        )
        seen = (sequences, boot, *row[6:])
        if self._idle and seen == self._seen and mono is not None and mono - self._whole < 1.5 * rest_s:
            return coordinator
        me, first = str(row[1]), shards.all[0]
        ((reclaimed, missing),), others, held, (inbox,) = fetch_all(
            connection,
            (runner.sql(BEAT.format(time="$10")), (*row, int(time))),
            (runner.sql(PEERS), (first, me)),
            (runner.sql(HELD_APART), (texts(shards.all),)),
            (runner.sql(INBOX_APART), (texts(shards.all),)),
        )
        holding: Sequence[Any] = ()
        marked: Sequence[Sequence[Any]] = ()
        if held:
            holding, *marked = fetch_all(
                connection,
                (runner.sql(OTHERS_HOLD_APART), (texts(shards.all), me)),
                *[(runner.sql(MARKED), (shard, me)) for shard in shards.all],
            )
        cancels = tuple(sorted(restored(run_id) for rows in marked for (run_id,) in rows))
        self._seen, self._inbox, self._idle = seen, tuple(inbox), not held
        self._whole = self._whole if mono is None else mono
        found = evolve(coordinator, reclaimed=reclaimed, missing=missing, cancels=cancels, others_hold=bool(holding))
        return evolve(found, others=others, marks=(sequences, self._inbox))
