"""prune: deletes runs with their history, events, delays, data, journal and index keys."""

from __future__ import annotations

from stepflow.drivers.rocksdb.delays import delays_of, timed
from stepflow.drivers.rocksdb.keys import after, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import parse_revision
from stepflow.drivers.rocksdb.revision_index import Finder
from stepflow.drivers.rocksdb.tables import RocksdbTables


def forget(overlay: Overlay, tables: RocksdbTables, run_id: str) -> None:
    """Delete an ended run and all of its records."""
    keys, code = tables.keys, text(run_id)
    history, index = keys.history + code, Finder(tables.disk, keys)
    for key, record in tables.disk.scan(history, after(history)):
        rev = read_number(key, len(history))
        overlay.puts[key] = None
        index.forget(overlay, rev)
        for name, value in parse_revision(record, run_id, rev)[0].labels.items():
            overlay.puts[keys.tagged + text(name) + text(value) + number(rev)] = None
    for delay in delays_of(tables, run_id):
        overlay.puts[timed(keys, delay)] = None
    kinds = (keys.events, keys.published, keys.delays, keys.blobs, keys.journal)
    for prefix in [kind + code for kind in kinds]:
        for key, _record in tables.disk.scan(prefix, after(prefix)):
            overlay.puts[key] = None
            if prefix == keys.blobs + code:
                overlay.puts[keys.data + key[len(prefix) :]] = None
    overlay.gone.add(run_id)
