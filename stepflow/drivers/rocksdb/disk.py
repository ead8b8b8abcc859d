"""Disk: opens, reads and writes one RocksDB directory; a write is one synced atomic batch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepflow.drivers.port.file_identity import FileIdentity
from stepflow.drivers.rocksdb import lock_owner as holder
from stepflow.drivers.rocksdb.errors import translate, translated
from stepflow.drivers.rocksdb.import_guard import rocksdict
from stepflow.drivers.rocksdb.keys import FORMAT_KEY, Change
from stepflow.drivers.rocksdb.options import open_options
from stepflow.drivers.rocksdb.records import FORMAT
from stepflow.errors import Corrupt, OutcomeUnknown, ReadOnly, SchemaMismatch, StoreError, StoreReplaced

if TYPE_CHECKING:
    from rocksdict import Rdict, RdictIter


class Disk:
    """A directory that this process has open. After an error it is opened again at the next use, which changes `generation`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path, self.read_only = path, read_only
        self.generation = 0
        self._pid = os.getpid()
        self._library = rocksdict()
        self._db: Rdict | None = None
        self._closed = False
        self._identity: FileIdentity | None = None
        self.ready()

    @property
    def inherited(self) -> bool:
        """Whether another process opened it, before this one was forked."""
        return self._pid != os.getpid()

    def ready(self) -> Rdict:
        """The open RocksDB. Raises a StoreError when it cannot be opened."""
        if self.inherited:
            raise StoreError(f"{self.path} was opened before fork: open the engine in one process only")
        if self._closed:
            raise StoreError(f"{self.path} is closed: open the engine again")
        if self._db is None:
            self.check_identity()
            self._db = self._open()
            if not self.read_only:
                self._identity = FileIdentity(self.path / "LOCK", self.path)
            self.generation += 1
        return self._db

    def _open(self) -> Rdict:
        library = self._library
        access = library.AccessType.read_only(False) if self.read_only else library.AccessType.read_write()
        try:
            db: Rdict = library.Rdict(str(self.path), open_options(library), access_type=access)
        except Exception as error:
            raise holder.explained(translate(error, self.path), self.path) from error
        try:
            with translated(self.path):
                self._check_format(db)
        except BaseException:
            db.close()
            raise
        if not self.read_only:
            holder.note(self.path)
        return db

    def _check_format(self, db: Rdict) -> None:
        record = db.get(FORMAT_KEY)
        if record is not None:
            word = record.split(b" ")[0]
            if not word.isdigit():
                raise Corrupt(f"{self.path} has {record!r:.80} as its format: restore a backup; nothing was written")
            found = int(word)
            if found > FORMAT:
                raise SchemaMismatch(
                    f"{self.path} has format {found}, this version of stepflow knows {FORMAT}: "
                    "update stepflow here, or use another directory; nothing was changed"
                )
        elif next(db.keys(), None) is not None:
            raise SchemaMismatch(f"{self.path} is a RocksDB of another program: use another directory")
        elif not self.read_only:
            db.put(FORMAT_KEY, b"%d stepflow" % FORMAT)
            db.flush_wal(True)

    def disown(self) -> None:
        """Never destroy the object. In a forked process that would wait for threads that only the parent has."""
        if self._db is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))

    def close(self) -> None:
        """Close the directory and free its lock, for good."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        if self._replaced():  # to close it would flush its memory into files of the other store
            self.disown()
            self._db = None
        db, self._db = self._db, None
        if db is not None and not self.inherited:
            with translated(self.path):
                db.close()

    def check_identity(self) -> None:
        """Raise StoreReplaced if the path does not lead to the directory that was opened."""
        if self._identity is not None:
            self._identity.check()

    def _replaced(self) -> bool:
        try:
            self.check_identity()
        except StoreReplaced:
            return True
        return False

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        db = self.ready()
        try:
            value: bytes | None = db.get(key)
        except Exception as error:
            raise translate(error, self.path) from error
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of many keys, in their order."""
        with translated(self.path):
            return list(self.ready().get(list(keys)) or ())

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows with `start <= key < stop` as of this call."""
        options = self._library.ReadOptions()
        options.set_iterate_upper_bound(stop)
        with translated(self.path):
            return self._up(self.ready().iter(options), start, stop)

    def _up(self, rows: RdictIter, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate upwards. RocksDB keeps a pointer to the bytes of `stop`: this frame keeps them alive as long as `rows`."""
        with translated(self.path):
            rows.seek(start)
            while rows.valid():
                key: bytes = rows.key()
                if key >= stop:
                    return
                yield key, rows.value()
                rows.next()
            rows.status()  # raises if the iteration ended because of a damaged file

    def scan_back(self, start: bytes, floor: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows with `floor <= key < start` as of this call, the last first."""
        with translated(self.path):
            return self._down(self.ready().iter(), start, floor)

    def _down(self, rows: RdictIter, start: bytes, floor: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate downwards. rocksdict 0.3 uses a lower bound as an upper one, so none is set."""
        with translated(self.path):
            rows.seek_for_prev(start)
            while rows.valid():
                key: bytes = rows.key()
                if key < floor:
                    return
                if key < start:
                    yield key, rows.value()
                rows.prev()
            rows.status()

    def last_of(self, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes] | None]:
        """For each prefix the last row whose key starts with it, as of this call; None if there is none."""
        with translated(self.path):
            rows = self.ready().iter()
            for prefix in prefixes:
                rows.seek_for_prev(prefix + b"\xff" * 9)
                if not rows.valid():
                    rows.status()
                    yield None
                else:
                    key: bytes = rows.key()
                    yield (key, rows.value()) if key.startswith(prefix) else None

    def cursor(self, prefix: bytes, *, back: bool) -> Cursor:
        """A cursor over the keys with this prefix as of this call."""
        with translated(self.path):
            return Cursor(self.ready().iter(), prefix, back=back)

    def write(self, change: Change, *, synced: bool = True) -> None:
        """Apply all of `change` or nothing. Raises OutcomeUnknown when the disk failed while syncing.

        A change that is not `synced` survives the end of this process, but not a power failure, unless a later one is synced.
        """
        db = self.ready()
        if self.read_only:
            raise ReadOnly(f"{self.path} was opened with ?mode=ro: leave that out to write")
        self.check_identity()
        batch = self._library.WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in change.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        try:
            db.write(batch)
        except Exception as error:
            self._drop()
            raise translate(error, self.path) from error
        if not synced:
            return
        # A write with sync=True does the same, but keeps the interpreter lock while the disk works; this does not.
        try:
            db.flush_wal(True)
        except Exception as error:
            self._drop()
            raise OutcomeUnknown(f"{self.path}: {error} while syncing; check the disk, then look again") from error


class Cursor:
    """Seeks through the keys with one prefix, upwards or downwards."""

    def __init__(self, rows: RdictIter, prefix: bytes, *, back: bool) -> None:
        self._rows, self._prefix, self._back = rows, prefix, back

    def leap(self, rest: bytes) -> bytes | None:
        """The part after the prefix of the nearest key that is `rest` or follows it in this direction."""
        rows, prefix = self._rows, self._prefix
        if self._back:
            rows.seek_for_prev(prefix + rest)
        else:
            rows.seek(prefix + rest)
        return self._here()

    def step(self) -> bytes | None:
        """The part after the prefix of the next key after the last leap or step."""
        if self._back:
            self._rows.prev()
        else:
            self._rows.next()
        return self._here()

    @property
    def record(self) -> bytes:
        """The record of the key that the last leap or step found."""
        value: bytes = self._rows.value()
        return value

    def _here(self) -> bytes | None:
        if not self._rows.valid():
            self._rows.status()
            return None
        key: bytes = self._rows.key()
        return key[len(self._prefix) :] if key.startswith(self._prefix) else None
