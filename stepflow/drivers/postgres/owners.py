"""The owners of one namespace: this session's own row and beat, the others, and the rows of those that left or died."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from stepflow.drivers.port.commit import HeartbeatReply, Owner, Peer, flows_of
from stepflow.drivers.port.journal import Progress
from stepflow.drivers.port.rules import reclaimed, returned
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.beat import Beaten, BeatsApart, beat_at_once
from stepflow.drivers.postgres.change_judge import Marks
from stepflow.drivers.postgres.connection import URGENT_ANSWER_S
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.journal import progress_by
from stepflow.drivers.postgres.lock_and_read import BEGIN, drawn_epochs, lock_and_read
from stepflow.drivers.postgres.lookup import held_by
from stepflow.drivers.postgres.process import fate, identity
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.server_clock import BOOT_AND_TIME, TIME
from stepflow.drivers.postgres.stall_detector import StallDetector
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.drivers.postgres.write_changes import epochs_needed, queue_statements
from stepflow.model.lifecycle import SUSPECT, QueueRow

APPEAR = (
    "insert into stepflow.owners (shard, id, host, pid, beat, locks) values ($1, $2, $3, $4, $5, $6)"
    " on conflict (shard, id) do nothing"
)
# Of those that were reclaimed, on Citus.
HOLDS = f"select distinct o.id from unnest($2::text[]) as o (id) cross join {held_by('o.id', 'x.owner').replace('(select', 'lateral (select', 1)}"
ALL = "select id, host, pid, beat, flows, locks, process, boot, beat_at from stepflow.owners where shard = $1 and reclaimed_at = 0 order by id"
FREE = "select k, pg_try_advisory_xact_lock_shared(k) from unnest($1::bigint[]) as k"

HELD = f"select q.id from {held_by('$2', 'x.id')}"
GONE = "delete from stepflow.owners where shard = $1 and id = $2"
# An owner that was reclaimed is remembered for a while: it may be alive, behind a network that lost its connections.
RECLAIMED = (
    "update stepflow.owners set reclaimed_at = greatest($3::bigint, 1),"
    " counted = case when $4 = '[]' then counted else $4 end where shard = $1 and id = $2"
)
FORGOTTEN = "delete from stepflow.owners where shard = $1 and reclaimed_at > 0 and reclaimed_at < $2"
# Between two beats of an owner that holds nothing, as long as no other holds anything: each finds the changes of which a notification
# was lost, or of which none came.
REST_S, POOLED_REST_S = 1.5, 1.1
REST_APART_S = 3.5  # on Citus, where a beat is several statements
LOST = 5_000_000  # microseconds; a free lock of an owner that beat later than that ago is that of a lost connection, which it opens again
REMEMBER = 3_600_000_000  # microseconds
COUNTED = "select counted from stepflow.owners where shard = $1 and id = $2 and reclaimed_at > 0 for update"
FORGIVE = (
    "update stepflow.queue set crashes = crashes - 1,"
    " partition = case when partition = 2 and blocked_by = '' and crashes <= $3 then 0 else partition end"
    " where shard = $1 and id = any($2::text[]) and crashes > 0"
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
        self._stall_detector, self._apart = StallDetector(), BeatsApart() if runner.place.citus else None
        self._peers: tuple[Peer, ...] = ()  # as of the last beat
        self._known = False
        self._tried = False
        self._keys: tuple[int, ...] = ()  # of the locks that a beat looks at; new ones are looked at after it
        self.flows: set[str] = set()  # that it has claimed

    def key(self) -> int:
        """The key of the own lock."""
        return self._key_of(self.me.id)

    def _key_of(self, owner: str) -> int:
        return lock_key(self._runner.place.schema, f"owner/{self._shards.all[0]}/{owner}")

    def _row(self) -> tuple[object, ...]:
        me = self.me
        return self._shards.all[0], stored(me.id), stored(me.host), me.pid, me.beat, self._locks

    def appearing(self) -> Statement:
        """The statement that makes sure of the own row, for every transaction that claims."""
        self._tried = True
        return APPEAR, self._row()

    def appeared(self) -> None:
        """What was `appearing`, if anything, is done."""
        self._known = self._tried

    def reclaim(self, dead: Collection[str], now: int) -> None:
        """Release what the dead held."""
        for owner in sorted(set(dead) - {self.me.id}):
            self._runner.run(lambda c, owner=owner: self._free(c, owner, now))  # type: ignore[misc]

    def beat(self, mono: float | None) -> tuple[HeartbeatReply, tuple[Marks, Marks]]:
        """Move the own beat, read the others, the marks on the own runs, and those of the store."""
        return self._runner.run(lambda c: self._beat(c, mono), answer_s=URGENT_ANSWER_S)

    def _beat(self, connection: Connection, mono: float | None) -> tuple[HeartbeatReply, tuple[Marks, Marks]]:
        flows, known = stored(json.dumps(sorted(self.flows))), self._known
        values = (*self._row(), flows, self._process, self._own_lock.boot)
        rest_s = POOLED_REST_S if not self._locks else REST_S if self._apart is None else REST_APART_S
        asked = self._runner, connection, self._shards, values, self._keys
        found = beat_at_once(*asked) if self._apart is None else self._apart.beat(*asked, mono, rest_s)
        self._known = True
        if found.others is not None:
            self._peers = self._judged(connection, self._present(connection, found.others), found, mono)
        if found.reclaimed:
            self._come_back(connection)
        lost = found.reclaimed or (found.missing and known)
        next_s = None if found.others_hold else rest_s
        return HeartbeatReply(self._peers, found.cancels, lost, found.time, next_s), found.marks

    def _present(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Those of the others that were not reclaimed, or that claimed again since."""
        gone = [str(row[0]) for row in rows if row[7]]
        if not gone:
            return rows
        asked = [(self._runner.sql(HOLDS), (shard, gone)) for shard in self._shards.all]
        holding = {owner for some in fetch_all(connection, *asked) for (owner,) in some}
        return [row for row in rows if not row[7] or row[0] in holding]

    def time(self) -> int:
        """The server's time in microseconds UTC."""
        ((found,),) = self._runner.run(lambda c: fetch_all(c, (TIME, ())), answer_s=URGENT_ANSWER_S)
        return int(found[0])

    def _come_back(self, connection: Connection) -> None:
        """This owner was reclaimed although it lives: the crashes that were counted for it were none."""
        sql, key = self._runner.sql, (self._shards.all[0], stored(self.me.id))
        connection.execute(BEGIN)
        for (counted,) in connection.execute(sql(COUNTED), key).fetchall():
            for shard, ids in self._shards.split(json.loads(restored(counted))).items():
                connection.execute(sql(FORGIVE), (shard, texts(ids), SUSPECT))
            connection.execute(sql(RETURNED), key)
        connection.execute("commit")

    def _judged(
        self, connection: Connection, others: Sequence[Sequence[Any]], found: Beaten, mono: float | None
    ) -> tuple[Peer, ...]:
        """What the locks and the processes tell of the others.

        A process that is gone from this machine proves death; one that is there proves that a free lock means nothing. Else
        a lock counts as free only while its owner's beat stands still as well: a restart of the server frees all locks at
        once, a network may lose one, and each owner needs a moment to take its own again.
        """
        owners = [Owner(restored(row[0]), restored(row[1]), row[2], row[3]) for row in others]
        beats = {owner.id: (owner.beat, str(row[6])) for owner, row in zip(owners, others, strict=True)}
        still = set[str]() if mono is None else self._stall_detector.observe(found.boot, beats, mono)
        fates = {owner.id: fate(row[5], self._process) for owner, row in zip(owners, others, strict=True)}
        locked = [owner.id for owner, row in zip(owners, others, strict=True) if row[4] and fates[owner.id] != "gone"]
        keys, asked = {self._key_of(owner): owner for owner in locked}, self._keys
        new = [key for key in keys if key not in asked]
        rows = fetch_all(connection, (FREE, (numbers(new),)))[0] if new else []
        free = {keys[key]: key in found.free for key in keys if key in asked} | {keys[key]: flag for key, flag in rows}
        self._keys = tuple(keys)  # of the next beat
        return tuple(Peer(owner, _lock_of(free.get(owner.id), owner.id in still, fates[owner.id])) for owner in owners)

    def read(self, connection: Connection) -> list[Peer]:
        """All owners. A lock tells that its owner died if it is free under the start of the server under which it was taken, and no beat came lately."""
        (rows,) = fetch_all(connection, (self._runner.sql(ALL), (self._shards.all[0],)))
        owners = [Owner(restored(r[0]), restored(r[1]), r[2], r[3], flows_of(restored(r[4])), r[8]) for r in rows]
        fates = [fate(row[6], self._process) for row in rows]
        keys = [self._key_of(owner.id) for owner in owners]
        asked = [key for key, row in zip(keys, rows, strict=True) if row[5]]
        free, boot, time = dict[int, bool](), "", 0
        if asked:
            found, ((boot, time),) = fetch_all(connection, (FREE, (numbers(asked),)), (BOOT_AND_TIME, ()))
            free = dict(found)
        return [
            Peer(owner, _lock_of(free.get(key), row[7] == boot and time - owner.beat_at >= LOST, end))
            for owner, key, row, end in zip(owners, keys, rows, fates, strict=True)
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
        asked = [(sql(HELD), (shard, name)) for shard in self._shards.all]
        held = [restored(row[0]) for rows in fetch_all(connection, *asked) for row in rows]
        runs, _none = lock_and_read(
            self._runner, connection, self._shards, held, within=True, skip_locked=now is not None
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
        epochs = drawn_epochs(self._runner, connection, epochs_needed(runs))
        for text, values in queue_statements(self._shards, runs, max(dues), epochs):
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
