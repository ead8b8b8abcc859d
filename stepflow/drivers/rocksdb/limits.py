"""Flow control in records: what stands against limits, when runs began, and which deduplication keys hold."""

from __future__ import annotations

from collections.abc import Iterable

from stepflow.drivers.port.commit import Once
from stepflow.drivers.rocksdb.keys import Change, Keys, after, number, read_number, text
from stepflow.drivers.rocksdb.overlay import Draft
from stepflow.drivers.rocksdb.records import dump, parse
from stepflow.drivers.rocksdb.tables import Space
from stepflow.errors import Duplicate
from stepflow.model.limits import Traffic, rated


def traffic(space: Space, texts: Iterable[str], now: int) -> Traffic:
    """What stands against these limits."""
    found = Traffic()
    held = [key for keys in space.held.values() for key in sorted(keys)]
    space.warm(held)
    for key in held:
        if (row := space.row(key)) is not None:
            found.holds(row.limits, key)
    for limit in (limit for one in texts for limit in rated(one)):
        prefix = space.keys.begun + text(limit.key)
        times = space.disk.scan(prefix + number(now - limit.per_us + 1), after(prefix))
        known = found.begun.get(limit.key, [])
        found.begun[limit.key] = max(known, [read_number(key, len(prefix)) for key, _none in times], key=len)
    return found


def begins(draft: Draft, space: Space, limits: str, run_id: str, now: int) -> None:
    """A run with these limits was claimed; what no period reaches back to goes away."""
    for limit in rated(limits):
        prefix = space.keys.begun + text(limit.key)
        for key, _none in space.disk.scan(prefix, prefix + number(now - limit.per_us + 1)):
            draft.puts[key] = None
        draft.puts[prefix + number(now) + text(run_id)] = b""


def duplicate(draft: Draft, keys: Keys, once: Once, now: int) -> Duplicate | None:
    """The refusal of a commit that may happen once, or None."""
    record = draft.value(keys.once + text(once.key))
    if record is None:
        return None
    run_id, until = parse(record)
    return None if until <= now or draft.run(run_id) is None else Duplicate(once.key, run_id)


def promise(draft: Draft, keys: Keys, once: Once) -> None:
    """The key holds from now on."""
    draft.puts[keys.once + text(once.key)] = dump(once.run_id, once.until)


def over(space: Space, before: int) -> Change:
    """The deletion of what was over before this time."""
    keys = space.keys
    out: Change = {}
    for key, record in space.disk.scan(keys.once, after(keys.once)):
        if parse(record)[1] < before:
            out[key] = None
    for key, _none in space.disk.scan(keys.begun, after(keys.begun)):
        if read_number(key, key.index(b"\0\1", len(keys.begun)) + 2) < before:
            out[key] = None
    return out
