"""Owners: the owner rows: the heartbeat of this session, the other owners and the state of their locks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from pathlib import Path

from attrs import evolve

from stepflow.drivers.port.commit import HeartbeatReply, Owner, Peer, flows_of
from stepflow.drivers.sqlite.locks import LockFile, clear, look, owner_path
from stepflow.drivers.sqlite.queue import ReadyRows
from stepflow.errors import Unavailable

REST_S = 2.0  # between two beats while no owner holds anything: each is a write to the disk


class SqliteOwners:
    """The owners of one shard; `me` gets its row and its lock at its first heartbeat or claim."""

    def __init__(self, folder: Path, shard: str, me: Owner) -> None:
        self._folder, self._shard, self.me = folder, shard, me
        self._lock: LockFile | None = None
        self.flows: set[str] = set()  # that it has claimed

    @property
    def known(self) -> bool:
        """Whether this owner may have a row."""
        return self._lock is not None

    def appear(self, writer: sqlite3.Connection) -> None:
        """Create the own row if it is missing; the lock is acquired before the row is visible to others."""
        if self._lock is None:
            lock = LockFile(owner_path(self._folder, self.me.id))
            if not lock.try_lock():
                lock.close()
                raise Unavailable(
                    f"{lock.path} is locked: another engine has the owner id {self.me.id!r}; use a new id"
                )
            self._lock = lock
        row = (self._shard, self.me.id, self.me.host, self.me.pid, self.me.beat)
        writer.execute(
            "INSERT INTO stepflow_owners (shard, id, host, pid, beat) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (shard, id) DO NOTHING",
            row,
        )

    def appear_if_holding(self, writer: sqlite3.Connection) -> None:
        """Create the own row if this owner holds runs after a commit."""
        held = (
            "SELECT 1 FROM stepflow_queue INDEXED BY stepflow_queue_owned WHERE shard = ? AND owner = ? AND owner <> ''"
        )
        if writer.execute(f"{held} LIMIT 1", (self._shard, self.me.id)).fetchone():
            self.appear(writer)

    def beat(self, writer: sqlite3.Connection, now: int, dead: Collection[str]) -> HeartbeatReply:
        """Increment the own heartbeat, reclaim the runs of dead owners, read the other owners and the cancel marks of held runs."""
        self.appear(writer)
        key = (self._shard, self.me.id)
        beat = "UPDATE stepflow_owners SET beat = beat + 1, beat_at = ?, flows = ? WHERE shard = ? AND id = ?"
        writer.execute(beat, (now, json.dumps(sorted(self.flows)), *key))
        for owner in sorted(set(dead) - {self.me.id}):
            ReadyRows(writer, self._shard, now).reclaim(owner)
        peers = tuple(peer for peer in self._all(writer) if peer.owner.id != self.me.id)
        marked = writer.execute(
            "SELECT id FROM stepflow_queue INDEXED BY stepflow_queue_owned"
            " WHERE shard = ? AND owner = ? AND owner <> '' AND cancel = 1 ORDER BY id",
            key,
        )
        cancels = tuple(row[0] for row in marked.fetchall())
        return HeartbeatReply(peers, cancels, rest_s=None if peers and self._others_hold(writer) else REST_S)

    def _others_hold(self, connection: sqlite3.Connection) -> bool:
        held = "SELECT 1 FROM stepflow_queue INDEXED BY stepflow_queue_owned WHERE shard = ? AND owner <> '' AND owner <> ?"
        return connection.execute(f"{held} LIMIT 1", (self._shard, self.me.id)).fetchone() is not None

    def _all(self, connection: sqlite3.Connection) -> list[Peer]:
        rows = connection.execute(
            "SELECT id, host, pid, beat, flows, CAST(beat_at AS INTEGER) FROM stepflow_owners WHERE shard = ? ORDER BY id",
            (self._shard,),
        )
        return [Peer(Owner(id_, host, pid, beat, flows_of(flows), at)) for id_, host, pid, beat, flows, at in rows]

    def read(self, connection: sqlite3.Connection) -> list[Peer]:
        """All owners, with the state of their locks."""
        return [evolve(peer, lock=look(self._folder, peer.owner.id)) for peer in self._all(connection)]

    def judge(self, reply: HeartbeatReply, dead: Collection[str]) -> HeartbeatReply:
        """Add the state of the locks, and delete the lock files of dead owners."""
        for owner in set(dead) - {self.me.id}:
            if look(self._folder, owner) == "free":
                clear(self._folder, owner)
        peers = tuple(evolve(peer, lock=look(self._folder, peer.owner.id)) for peer in reply.peers)
        return evolve(reply, peers=peers)

    def close(self) -> None:
        """Release the lock and delete its file."""
        if self._lock is not None:
            clear(self._folder, self.me.id)
            self._lock.close()
            self._lock = None
