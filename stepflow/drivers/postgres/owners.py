"""The owners of one namespace: this session's own row and beat, the others, and the rows of those that left or died."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from stepflow.drivers.port.commit import HeartbeatReply, Owner, Peer
from stepflow.drivers.port.journal import Progress
from stepflow.drivers.port.rules import reclaimed, returned
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.connection import URGENT_ANSWER_S
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.journal import progress_by
from stepflow.drivers.postgres.lock_and_read import BEGIN, lock_and_read
from stepflow.drivers.postgres.lookup import held_by
from stepflow.drivers.postgres.process import fate, identity
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.server_clock import BOOT_AND_TIME, TIME
from stepflow.drivers.postgres.stall_detector import StallDetector
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.drivers.postgres.write_changes import queue_statements
from stepflow.model.lifecycle import SUSPECT, QueueRow

APPEAR = (
    "insert into stepflow.owners (shard, id, host, pid, beat, locks) values ($1, $2, $3, $4, $5, $6)"
    " on conflict (shard, id) do nothing"
)
# Tells whether others reclaimed what this owner held, and whether its row was missing.
BEAT = (
    "insert into stepflow.owners (shard, id, host, pid, beat, locks, flows, process, boot)"
    " values ($1, $2, $3, $4, $5 + 1, $6, $7, $8, $9) on conflict (shard, id) do update set beat = owners.beat + 1,"
    " locks = excluded.locks, flows = excluded.flows, process = excluded.process, boot = excluded.boot"
    " returning reclaimed_at > 0, xmax = 0"
)
# One that was reclaimed may have claimed again before its next beat.
PEERS = (
    "select id, host, pid, beat, locks, process, boot from stepflow.owners o where shard = $1 and id <> $2 and (reclaimed_at = 0"
    " or exists (select 1 from stepflow.queue q where q.shard = any($3::text[]) and q.partition = 3 and q.owner = o.id))"
    " order by id"
)
ALL = "select id, host, pid, beat, flows from stepflow.owners where shard = $1 and reclaimed_at = 0 order by id"
MARKED = f"select q.id from {held_by('$2', 'x.id, x.cancel')} where q.cancel"
FREE = "select k, pg_try_advisory_xact_lock_shared(k) from unnest($1::bigint[]) as k"

HELD = f"select q.id from {held_by('$2', 'x.id')}"
GONE = "delete from stepflow.owners where shard = $1 and id = $2"
# An owner that was reclaimed is remembered for a while: it may be alive, behind a network that lost its connections.
RECLAIMED = (
    "update stepflow.owners set reclaimed_at = greatest($3::bigint, 1),"
    " counted = case when $4 = '[]' then counted else $4 end where shard = $1 and id = $2"
)
FORGOTTEN = "delete from stepflow.owners where shard = $1 and reclaimed_at > 0 and reclaimed_at < $2"
REMEMBER = 3_600_000_000  # microseconds
COUNTED = "select counted from stepflow.owners where shard = $1 and id = $2 and reclaimed_at > 0 for update"
FORGIVE = (
    "update stepflow.queue set crashes = crashes - 1,"
    " partition = case when partition = 2 and blocked_by = '' and crashes <= $3 then 0 else partition end"
    " where shard = any($1::text[]) and id = any($2::text[]) and crashes > 0"
)
RETURNED = "update stepflow.owners set reclaimed_at = 0, counted = '[]' where shard = $1 and id = $2"


class OwnLock:
    """The server's start under which this session's lock was taken; empty while it is not held."""

    def __init__(self) -> None:
        self.boot = ""

    def taken(self, boot: str) -> None:
        """The lock is held."""
        self.boot = boot

    def lost(self) -> None:
        """The connection that held it broke."""
        self.boot = ""


class PostgresOwners:
    """The owner rows are in the namespace's first shard; `locks` tells whether the own lock proves life."""

    def __init__(
        self, runner: TransactionRunner, shards: Shards, me: Owner, lock: Statement, own_lock: OwnLock, *, locks: bool
    ) -> None:
        self._runner, self._shards, self.me, self._lock, self._locks = runner, shards, me, lock, locks
        self._own_lock, self._process = own_lock, identity()
        self._stall_detector = StallDetector()
        self._known = False
        self._tried = False
        self.flows: set[str] = set()  # that it has claimed

    def key(self) -> int:
        """The key of the own lock."""
        return self._key_of(self.me.id)

    def _key_of(self, owner: str) -> int:
        return lock_key(self._runner.place.schema, f"owner/{self._shards.all[0]}/{owner}")

    def _row(self) -> tuple[object, ...]:
        me = self.me
        return self._shards.all[0], stored(me.id), stored(me.host), me.pid, me.beat, self._locks

    def appear(self) -> None:
        """Make sure that the own row is there."""
        if not self._known:
            self._runner.run(lambda c: fetch_all(c, (self._runner.sql(APPEAR), self._row())))
            self._known = True

    def appearing(self) -> Statement:
        """The statement that makes sure of the own row, within a transaction."""
        self._tried = True
        return APPEAR, self._row()

    def beat(self, now: int, dead: Collection[str], mono: float | None) -> HeartbeatReply:
        """Move the own beat, reclaim what the dead held, read the others and the marks on the own runs."""
        for owner in sorted(set(dead) - {self.me.id}):
            self._runner.run(lambda c, owner=owner: self._free(c, owner, now))  # type: ignore[misc]
        return self._runner.run(lambda c: self._pulse(c, mono), answer_s=URGENT_ANSWER_S)

    def _pulse(self, connection: Connection, mono: float | None) -> HeartbeatReply:
        sql, first, me = self._runner.sql, self._shards.all[0], stored(self.me.id)
        known, flows = self._known, stored(json.dumps(sorted(self.flows)))
        (own,), others, marked, boot = fetch_all(
            connection,
            (sql(BEAT), (*self._row(), flows, self._process, self._own_lock.boot)),
            (sql(PEERS), (first, me, texts(self._shards.all))),
            (sql(MARKED), (texts(self._shards.all), me)),
            (BOOT_AND_TIME, ()),
        )
        self._known = True
        peers = self._judged(connection, others, str(boot[0][0]), mono)
        reclaimed, missing = own
        if reclaimed:
            self._come_back(connection)
        cancels = tuple(sorted(restored(row[0]) for row in marked))
        return HeartbeatReply(peers, cancels, reclaimed or (missing and known), int(boot[0][1]))

    def time(self) -> int:
        """The server's time in microseconds UTC."""
        ((found,),) = self._runner.run(lambda c: fetch_all(c, (TIME, ())), answer_s=URGENT_ANSWER_S)
        return int(found[0])

    def _come_back(self, connection: Connection) -> None:
        """This owner was reclaimed although it lives: the crashes that were counted for it were none."""
        sql, key = self._runner.sql, (self._shards.all[0], stored(self.me.id))
        connection.execute(BEGIN)
        for (counted,) in connection.execute(sql(COUNTED), key).fetchall():
            ids = texts(json.loads(restored(counted)))
            connection.execute(sql(FORGIVE), (texts(self._shards.all), ids, SUSPECT))
            connection.execute(sql(RETURNED), key)
        connection.execute("commit")

    def _judged(
        self, connection: Connection, others: Sequence[Sequence[Any]], boot: str, mono: float | None
    ) -> tuple[Peer, ...]:
        """What the locks and the processes tell of the others.

        A process that is gone from this machine proves death; one that is there proves that a free lock means nothing. Else
        a lock counts as free only while its owner's beat stands still as well: a restart of the server frees all locks at
        once, a network may lose one, and each owner needs a moment to take its own again.
        """
        owners = [Owner(restored(row[0]), restored(row[1]), row[2], row[3]) for row in others]
        beats = {owner.id: (owner.beat, str(row[6])) for owner, row in zip(owners, others, strict=True)}
        still = set[str]() if mono is None else self._stall_detector.observe(boot, beats, mono)
        fates = {owner.id: fate(row[5], self._process) for owner, row in zip(owners, others, strict=True)}
        locked = [owner.id for owner, row in zip(owners, others, strict=True) if row[4] and fates[owner.id] != "gone"]
        found = {self._key_of(owner): owner for owner in locked}
        rows = fetch_all(connection, (FREE, (numbers(found),)))[0] if found else []
        free = {found[key]: flag for key, flag in rows}
        return tuple(Peer(owner, _lock_of(free.get(owner.id), owner.id in still, fates[owner.id])) for owner in owners)

    def read(self, connection: Connection) -> list[Peer]:
        """All owners; their locks are not looked at."""
        (rows,) = fetch_all(connection, (self._runner.sql(ALL), (self._shards.all[0],)))
        return [
            Peer(Owner(restored(row[0]), restored(row[1]), row[2], row[3], tuple(json.loads(restored(row[4])))))
            for row in rows
        ]

    def leave(self) -> None:
        """Release what is held and delete the own row."""
        if self._known or self._tried:
            self._runner.run(lambda c: self._free(c, self.me.id, None), answer_s=URGENT_ANSWER_S)

    def _free(self, connection: Connection, owner: str, now: int | None) -> None:
        """Make the rows of an owner unowned: those of a dead one due `now`, else due as before.

        Rows of a dead owner that a stopped process still locks are left for the next time.
        """
        sql, name = self._runner.sql, stored(owner)
        connection.execute(BEGIN)
        connection.execute(*self._lock)
        held = [restored(row[0]) for row in connection.execute(sql(HELD), (texts(self._shards.all), name))]
        runs, _none = lock_and_read(
            self._runner, connection, self._shards, held, within=True, skip_locked=now is not None, claims_only=True
        )
        dues = [0 if now is None else now]
        counted = []
        mine = {i: run.epoch for i, run in runs.items() if run.epoch is not None and run.row and run.row.owner == owner}
        progress = {} if now is None else progress_by(self._runner, connection, self._shards, mine)
        for run_id, run in runs.items():
            if run_id in mine and run.row is not None:
                row = _freed(run.row, run.newest, now, progress.get(run_id, Progress.NONE))
                counted += [run_id] if row.crashes > run.row.crashes else []
                run.place(row)
                dues.append(run.row.due)  # a row was due when it was claimed
        for text, values in queue_statements(self._shards, runs, max(dues)):
            connection.execute(sql(text), values)
        if all(run.newest for run in runs.values()):
            self._note_end(connection, name, now, counted)
        connection.execute("commit")

    def _note_end(self, connection: Connection, name: str, now: int | None, counted: Sequence[str]) -> None:
        """An owner holds nothing any more: it left, or it was reclaimed `now` and a crash was counted for these runs."""
        sql, first = self._runner.sql, self._shards.all[0]
        if now is None:
            connection.execute(sql(GONE), (first, name))
            return
        connection.execute(sql(RECLAIMED), (first, name, now, stored(json.dumps(counted))))
        connection.execute(sql(FORGOTTEN), (first, now - REMEMBER))


def _freed(row: QueueRow, rev: int, now: int | None, progress: Progress) -> QueueRow:
    """The row of an owner that left, or of one that died if there is a `now`."""
    return returned(row, rev) if now is None else reclaimed(row, rev, now, progress)


def _lock_of(free: object, still: bool, process: str) -> Any:
    if process == "gone":
        return "free"
    if free is None:
        return "unknown"
    if not free:
        return "held"
    return "free" if still and process != "alive" else "unknown"
