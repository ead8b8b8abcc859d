"""Forgets runs whole: their history, events, delays, data and index keys."""

from __future__ import annotations

from stepflow.drivers.rocksdb.delays import delays_of, timed
from stepflow.drivers.rocksdb.keys import after, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Draft
from stepflow.drivers.rocksdb.records import parse_revision
from stepflow.drivers.rocksdb.revision_index import Finder
from stepflow.drivers.rocksdb.tables import Space


def forget(draft: Draft, space: Space, run_id: str) -> None:
    """Delete an ended run and all that it left."""
    keys, code = space.keys, text(run_id)
    history, index = keys.history + code, Finder(space.disk, keys)
    for key, record in space.disk.scan(history, after(history)):
        rev = read_number(key, len(history))
        draft.puts[key] = None
        index.forget(draft, rev)
        for name, value in parse_revision(record, run_id, rev)[0].labels.items():
            draft.puts[keys.tagged + text(name) + text(value) + number(rev)] = None
    for delay in delays_of(space, run_id):
        draft.puts[timed(keys, delay)] = None
    for prefix in (keys.events + code, keys.published + code, keys.delays + code, keys.blobs + code):
        for key, _record in space.disk.scan(prefix, after(prefix)):
            draft.puts[key] = None
            if prefix == keys.blobs + code:
                draft.puts[keys.data + key[len(prefix) :]] = None
    draft.gone.add(run_id)
