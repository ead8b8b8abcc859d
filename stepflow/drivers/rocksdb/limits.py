"""Flow control in records: what stands against limits, when runs began, and which deduplication keys hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from stepflow.drivers.port.commit import DedupKey
from stepflow.drivers.rocksdb.keys import Keys, after, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import dump, parse
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.model.limits import LimitUsage, rated


def limit_usage(tables: RocksdbTables, texts: Iterable[str], now: int) -> LimitUsage:
    """What stands against these limits."""
    found = LimitUsage()
    held = [key for keys in tables.held.values() for key in sorted(keys)]
    tables.prefetch(held)
    for key in held:
        if (row := tables.row(key)) is not None:
            found.holds(row.limits, key)
    for limit in (limit for one in texts for limit in rated(one)):
        prefix = tables.keys.begun + text(limit.key)
        times = tables.disk.scan(prefix + number(now - limit.per_us + 1), after(prefix))
        known = found.begun.get(limit.key, [])
        found.begun[limit.key] = max(known, [read_number(key, len(prefix)) for key, _none in times], key=len)
    return found


def begins(overlay: Overlay, tables: RocksdbTables, limits: str, run_id: str, now: int) -> None:
    """A run with these limits was claimed; what no period reaches back to goes away."""
    for limit in rated(limits):
        prefix = tables.keys.begun + text(limit.key)
        for key, _none in tables.disk.scan(prefix, prefix + number(now - limit.per_us + 1)):
            overlay.puts[key] = None
        overlay.puts[prefix + number(now) + text(run_id)] = b""


def reserved(overlay: Overlay, keys: Keys, dedup: DedupKey, now: int) -> dict[str, str]:
    """The run that was started with this key, by the key, if the key holds."""
    record = overlay.value(keys.dedup + text(dedup.key))
    if record is None:
        return {}
    run_id, until = parse(record)
    return {} if until <= now or overlay.run(run_id) is None else {dedup.key: run_id}


def reserve(overlay: Overlay, keys: Keys, dedup: DedupKey) -> None:
    """The key holds from now on."""
    overlay.puts[keys.dedup + text(dedup.key)] = dump(dedup.run_id, dedup.until)


def ends(tables: RocksdbTables) -> Iterator[tuple[bytes, int]]:
    """The keys of all reservations and start times, as of this call, and when each ended."""
    keys, disk = tables.keys, tables.disk
    return ends_of(keys, chain(disk.scan(keys.dedup, after(keys.dedup)), disk.scan(keys.begun, after(keys.begun))))


def ends_of(keys: Keys, rows: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, int]]:
    """The same of some rows."""
    for key, record in rows:
        if key.startswith(keys.dedup):
            yield key, parse(record)[1]
        else:
            yield key, read_number(key, key.index(b"\0\1", len(keys.begun)) + 2)
