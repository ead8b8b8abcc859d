"""The journal rows of runs: their records, and how they are written, forgotten and read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import nlargest, nsmallest

from stepflow.drivers.port.journal import JournalQuery, JournalRow, Progress, is_forgotten, progress_of
from stepflow.drivers.port.step import Append
from stepflow.drivers.rocksdb.keys import BIAS, Keys, after, read_text, text
from stepflow.drivers.rocksdb.overlay import Below, Overlay
from stepflow.drivers.rocksdb.records import RunRecord, dump, parse
from stepflow.drivers.rocksdb.tables import RocksdbTables


def put(overlay: Overlay, keys: Keys, run_id: str, rows: Iterable[JournalRow], epoch: int, now: int) -> None:
    """Write rows under the claim of this epoch; the record of the run tells of the first one."""
    run, prefix = overlay.run(run_id), _prefix(overlay, keys, run_id)
    written: dict[bytes, bytes | None] = {}
    for key, row in {row.key: row for row in rows}.items():
        at = prefix + text(key)
        last = overlay.by_prefix[at] if at in overlay.by_prefix else overlay.value(at)
        if last is None:
            overlay.head.seq += 1
        seq = overlay.head.seq if last is None else parse(last)[0]
        written[at] = dump(seq, epoch, row.kind, row.name, row.text, row.failed, row.at or now)
    overlay.by_prefix.update(written)
    if run is not None and written and not run.journaled:
        overlay.copy(run).journaled = True


def append(overlay: Overlay, keys: Keys, given: Append, now: int) -> None:
    """Write the rows of an Append whose claim was compared; if one cannot be stored, none is written."""
    before = overlay.head.copy()
    try:
        put(overlay, keys, given.id, given.rows, given.epoch, now)
    except BaseException:
        overlay.head.back(before)
        raise


def forget(overlay: Overlay, keys: Keys, run_id: str, names: Collection[str]) -> None:
    """Delete the rows that `names` name."""
    prefix = _prefix(overlay, keys, run_id)
    left = False
    for at in _records(overlay, prefix):
        key = read_text(at, len(prefix))[0]
        if any(is_forgotten(key, name) for name in names):
            overlay.by_prefix[at] = None
        else:
            left = True
    run = overlay.run(run_id)
    if run is not None and run.journaled and not left:
        overlay.copy(run).journaled = False


def written_by(overlay: Overlay, keys: Keys, key: str, epoch: int) -> Progress:
    """What the claim of this epoch wrote to the journal of the run or delay of this key."""
    run = overlay.run(key)
    if run is not None and not run.journaled:
        return Progress.NONE
    rows = map(parse, _records(overlay, _prefix(overlay, keys, key)).values())
    return progress_of(row[2] for row in rows if row[1] == epoch)


def read(tables: RocksdbTables, run_id: str, query: JournalQuery) -> tuple[JournalRow, ...]:
    """The rows of a run that the query asks for, by seq; of the others no more than the seq is parsed."""
    prefix, found = tables.keys.journal + text(run_id), list[tuple[int, bytes, bytes]]()
    if query.key is None:
        numbered = ((_seq(record), key, record) for key, record in tables.disk.scan(prefix, after(prefix)))
        rows = numbered if query.whole else (row for row in numbered if query.has(row[0]))
        if query.limit is None:
            found = sorted(rows)
        else:
            found = sorted(nlargest(query.limit, rows)) if query.last else nsmallest(query.limit, rows)
    elif (record := tables.disk.get(key := prefix + text(query.key))) is not None and query.has(_seq(record)):
        found = [(_seq(record), key, record)]
    return tuple(_row(read_text(key, len(prefix))[0], record) for _seq, key, record in found)


def _seq(record: bytes) -> int:
    """The seq of a row: the first value behind the format."""
    return int(record.split(b",", 2)[1])


def _row(key: str, record: bytes) -> JournalRow:
    """The row of a record; one of an older version has no time."""
    seq, epoch, kind, name, value, failed, *at = parse(record)
    return JournalRow(key, kind, name, value, failed, seq, epoch, *at)


def exists(tables: RocksdbTables, key: str) -> bool:
    """Whether the run or delay of this key has rows."""
    prefix = tables.keys.journal + text(key)
    return any(True for _row in tables.disk.scan(prefix, after(prefix)))


def _prefix(overlay: Overlay, keys: Keys, run_id: str) -> bytes:
    run: RunRecord | None = overlay.run(run_id)
    return keys.journal + (text(run_id) if run is None else run.code)


def _records(below: Below, prefix: bytes) -> dict[bytes, bytes]:
    """All records whose keys begin with `prefix`: no text begins below the lowest number."""
    return below.beneath(prefix, -BIAS)
