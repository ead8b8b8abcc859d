"""What hangs on runs: data, and delays, which have rows of their own in the queue; how they are written and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from heapq import merge
from itertools import islice

from attrs import evolve, frozen

from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, StoredData, delay_key
from stepflow.drivers.port.rules import delay_row
from stepflow.drivers.rocksdb.keys import BIAS, NUMBER, Keys, after, number, read_number, read_text, text
from stepflow.drivers.rocksdb.overlay import Below, Overlay
from stepflow.drivers.rocksdb.records import UNREADABLE, dump, parse
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.errors import Corrupt
from stepflow.model.state import State, Transition

DELAYS, DATA = "delays", "data"  # the series of numbers
PENDING, FIRED = b"0", b"1"
LARGEST = 1 << 30  # bytes of a blob
DIGITS = 18  # of an offset


@frozen
class AttachedTables:
    """A delay, and the revision that holds the exchange's text of its run, 0 if there was none."""

    delay: Delay
    exchange_rev: int


def last(below: Below, keys: Keys, series: str) -> int:
    """The number that was given last, 0 before the first. Raises Corrupt if it cannot be read: it would be given again."""
    record = below.value(keys.numbers + text(series))
    if record is not None and len(record) != NUMBER:
        raise Corrupt(
            f"the last number of {series} cannot be read ({record!r:.80}): restore a backup; nothing was written"
        )
    return 0 if record is None else read_number(record, 0)


def store(overlay: Overlay, keys: Keys, rev: int, data: DataWrite) -> None:
    """Keep a blob under its revision, the newest one."""
    overlay.puts[keys.numbers + text(DATA)] = number(rev)
    overlay.puts[keys.data + number(rev)] = dump(data.run_id, dict(data.annotations)) + b"\0" + bytes(data.blob)
    overlay.puts[keys.blobs + text(data.run_id) + number(rev)] = b""


def put(overlay: Overlay, keys: Keys, offset: int, given: Delay) -> None:
    """Keep a delay under its offset, the newest one, and queue it."""
    state = given.state
    number(state.rev)  # it becomes the `claim_rev` of its row
    overlay.puts[keys.numbers + text(DELAYS)] = number(offset)
    run = overlay.run(state.id)
    kept = AttachedTables(evolve(given, offset=offset, fired=False), 0 if run is None else run.exchange_rev)
    overlay.puts[_place(keys, kept.delay)] = _dump(kept)
    overlay.puts[timed(keys, kept.delay)] = b""
    text(state.transition.to)  # a part of an index key
    overlay.requeue(delay_key(state.id, offset), delay_row(given))


def fire(overlay: Overlay, keys: Keys, kept: AttachedTables) -> None:
    """The delay is over; it stays listed."""
    over = evolve(kept, delay=evolve(kept.delay, fired=True))
    overlay.puts[_place(keys, over.delay)] = _dump(over)
    overlay.puts[timed(keys, kept.delay)] = None
    overlay.puts[timed(keys, over.delay)] = b""
    overlay.rows[delay_key(over.delay.state.id, over.delay.offset)] = None


def waiting(below: Below, keys: Keys, key: str) -> AttachedTables | None:
    """The delay of this key that has not fired, if there is one."""
    run_id, nul, digits = key.rpartition("\0")
    if not nul or not digits.isdecimal() or len(digits) > DIGITS or delay_key(run_id, int(digits)) != key:
        return None
    record = below.value(keys.delays + text(run_id) + number(int(digits)))
    kept = None if record is None else _readable(record, run_id, int(digits))
    return None if kept is None or kept.delay.fired else kept


def _readable(record: bytes, run_id: str, offset: int) -> AttachedTables | None:
    """The delay of a record, if it can be read."""
    with suppress(*UNREADABLE):
        return load(record, run_id, offset)
    return None


def timed(keys: Keys, delay: Delay) -> bytes:
    """The index key of a delay by time."""
    mark = FIRED if delay.fired else PENDING
    return keys.dues + mark + number(delay.due) + number(delay.offset) + text(delay.state.id)


def _place(keys: Keys, delay: Delay) -> bytes:
    return keys.delays + text(delay.state.id) + number(delay.offset)


def _dump(kept: AttachedTables) -> bytes:
    delay, state = kept.delay, kept.delay.state
    maps = (dict(state.labels), dict(state.annotations))
    position = (state.rev, state.transition.text, *maps, state.committed_at)
    return dump(*position, delay.due, delay.commit, delay.fired, kept.exchange_rev)


def load(record: bytes, run_id: str, offset: int) -> AttachedTables:
    """The delay of a record."""
    rev, transition, labels, annotations, at, due, commit, fired, exchange_rev = parse(record)
    state = State(run_id, rev, Transition.parse(transition), labels, annotations, at)
    return AttachedTables(Delay(state, due + 0, commit, offset, fired), exchange_rev + 0)


def read_data(tables: RocksdbTables, query: DataQuery) -> list[StoredData]:
    """The data of one revision, if it is there."""
    if not 0 < query.rev < BIAS:
        return []
    record = tables.disk.get(tables.keys.data + number(query.rev))
    if record is None:
        return []
    _run_id, annotations, blob = parse_data(record)
    return [StoredData(query.rev, blob, annotations)]


def parse_data(record: bytes) -> tuple[str, dict[str, str], bytes]:
    """Run, annotations and blob of a record of data."""
    head, _nul, blob = record.partition(b"\0")
    run_id, annotations = parse(head)
    return run_id, annotations, blob


def read_delays(tables: RocksdbTables, query: DelayQuery) -> list[Delay]:
    """The delays that the query asks for, by due time and offset."""
    found = _listed(tables, query) if query.run_id is None else iter(_of_run(tables, query, query.run_id))
    return list(islice(found, max(query.limit, 0)))


def _of_run(tables: RocksdbTables, query: DelayQuery, run_id: str) -> list[Delay]:
    found = [
        delay
        for delay in delays_of(tables, run_id)
        if query.since < delay.due <= query.until and delay.offset > query.after and not (query.pending and delay.fired)
    ]
    return sorted(found, key=lambda delay: (delay.due, delay.offset))


def delays_of(tables: RocksdbTables, run_id: str) -> Iterator[Delay]:
    """All delays of a run, by offset."""
    prefix = tables.keys.delays + text(run_id)
    for key, record in tables.disk.scan(prefix, after(prefix)):
        if (kept := _readable(record, run_id, read_number(key, len(prefix)))) is not None:
            yield kept.delay


def _listed(tables: RocksdbTables, query: DelayQuery) -> Iterator[Delay]:
    keys = tables.keys
    walks = [_between(tables, keys.dues + mark, query) for mark in ((PENDING,) if query.pending else (PENDING, FIRED))]
    for end in merge(*walks):
        offset = read_number(end, NUMBER)
        if offset > query.after:
            code = end[2 * NUMBER :]
            record = tables.disk.get(keys.delays + code + number(offset))
            if record is not None and (kept := _readable(record, read_text(code, 0)[0], offset)) is not None:
                yield kept.delay


def _between(tables: RocksdbTables, prefix: bytes, query: DelayQuery) -> Iterator[bytes]:
    """What follows the prefix in the keys of delays that are due in time."""
    start, stop = (prefix + number(_bounded(bound)) + b"\xff" for bound in (query.since, query.until))
    return (key[len(prefix) :] for key, _none in tables.disk.scan(start, stop)) if start < stop else iter(())


def _bounded(due: int) -> int:
    return max(-BIAS, min(due, BIAS - 1))
