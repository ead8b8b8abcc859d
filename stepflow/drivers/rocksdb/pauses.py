"""The flows of a namespace that are paused, as records."""

from __future__ import annotations

from stepflow.drivers.port.pauses import PausedFlowRow
from stepflow.drivers.port.rules import Changes
from stepflow.drivers.rocksdb.keys import Keys, after, read_text, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import UNREADABLE, dump, parse
from stepflow.drivers.rocksdb.tables import RocksdbTables


def write(overlay: Overlay, keys: Keys, changes: Changes) -> None:
    """Pause flows, or let their runs go on; one that is paused already keeps its time."""
    for change in changes.flow_pauses:
        key = keys.paused_flows + text(change.flow)
        if not change.paused:
            overlay.puts[key] = None
        elif overlay.value(key) is None:
            overlay.puts[key] = dump(change.at)


def read(tables: RocksdbTables) -> list[PausedFlowRow]:
    """All of them, by name."""
    prefix = tables.keys.paused_flows
    found = tables.disk.scan(prefix, after(prefix))
    return [PausedFlowRow(read_text(key, len(prefix))[0], _since(record)) for key, record in found]


def _since(record: bytes) -> int:
    """Since when a flow is paused; it is so if its record cannot be read, too."""
    try:
        return parse(record)[0] + 0  # type: ignore[no-any-return]
    except UNREADABLE:
        return 0


def names(tables: RocksdbTables) -> set[str]:
    """Their names, which are cached: every claim asks."""
    if tables.paused_flows is None:
        tables.paused_flows = {one.flow for one in read(tables)}
    return tables.paused_flows
