"""damaged: what the rest of a store tells of a run or queue row whose record cannot be read, found by looking at whole indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from stepflow.drivers.port.commit import Created
from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.index import Side, age_entry, age_of, index_change
from stepflow.drivers.rocksdb.keys import Change, Keys, after, indexed_id, queued_key, read_number, read_text
from stepflow.drivers.rocksdb.records import UNREADABLE, RunRecord, parse_row
from stepflow.model.state import Unreadable


def complete(disk: Disk, keys: Keys, run: RunRecord) -> None:
    """Give a run that is `unread` what its record had, but for the hash of its input, and priority and limits if it has no row."""
    for key in _of(disk, keys, keys.ages, run):
        _group, at = read_text(key, len(keys.ages))
        flow, at = read_text(key, at)
        run.created = Created(flow, "", read_number(key, at))
    events = [read_number(key, len(keys.events + run.code)) for key in _under(disk, keys.events + run.code)]
    run.pending, run.oldest = len(events), min(events, default=0)
    run.journaled = any(_under(disk, keys.journal + run.code))
    with suppress(*UNREADABLE):
        row = parse_row(disk.get(keys.queue + run.code) or b"")
        run.priority, run.limits = row.priority, row.limits


def reindex(disk: Disk, keys: Keys, out: Change, groups: Counter[tuple[str, str]], before: Side, side: Side) -> None:
    """Write what a change makes of the indexes of a run that could not be read before, so that they do not follow from it.

    Its labels are left until it has a revision that can be read.
    """
    (old, _row), (run, row) = before, side
    assert old is not None
    for key in _of(disk, keys, keys.ages, old):
        group, at = read_text(key, len(keys.ages))
        groups[group, read_text(key, at)[0]] -= 1
        out[key] = None
    out.update(dict.fromkeys(_of(disk, keys, keys.ended, old)))
    if run is not None and type(run.transition) is Unreadable:
        entry, mark = age_entry(keys, run, row)
        out[entry] = mark
        groups[age_of(run, row)] += 1
        return
    out.update(dict.fromkeys(_of(disk, keys, keys.labels, old)))
    index_change(out, groups, keys, (None, None), (run, row))


def entries_of(disk: Disk, keys: Keys, name: str) -> list[bytes]:
    """The index entries of the queue row with this key, which cannot be read, so that they do not follow from it."""
    rows = chain(_under(disk, keys.held), _under(disk, keys.partitions))
    return [key for key in rows if queued_key(keys, key) == name]


def _of(disk: Disk, keys: Keys, prefix: bytes, run: RunRecord) -> list[bytes]:
    """The entries of a run in the index with this prefix."""
    return [key for key in _under(disk, prefix) if key.endswith(run.code) and indexed_id(keys, key) == run.id]


def _under(disk: Disk, prefix: bytes) -> Iterator[bytes]:
    return (key for key, _record in disk.scan(prefix, after(prefix)))
