"""Between table rows and the port's values; which shard a run is in."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stepflow.drivers.port import stored
from stepflow.drivers.port.commit import Created, Event, Record
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.deltas import UNKNOWN, ExchangeParts
from stepflow.drivers.postgres.arrays import restored
from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.lifecycle import SUSPECT, QueueRow
from stepflow.model.shard import shard_of
from stepflow.model.state import WAITING, State, Transition

LATER, READY, SPECIAL, OWNED, LIMITED, PAUSED = range(6)  # the partitions of the queue
# The index entry `x` of a label `u` of a run `s`, which was created at that time.
LABEL_KEY = "x.shard = $1 and x.label = u.label and x.created_at = s.created_at and x.id = u.id"
LONGEST_LABEL, LABEL_BYTES = 500, 1000  # characters; what is longer is indexed by its digest

STATE = "s.id, s.rev, s.transition, s.labels, s.annotations, s.committed_at"
CREATED = "s.flow, s.input_hash, s.created_at"
QUEUE = (
    "q.flow, q.due, q.owner, coalesce(q.epoch, s.epoch), q.claim_rev, q.priority, q.crashes, q.cancel, q.blocked, q.blocked_by,"
    " q.limits, q.unfinished, q.paused"
)


def run_of(key: str) -> str:
    """The id of the run whose delay has this key; empty if it is no key of a delay."""
    run_id, _nul, offset = key.rpartition("\0")
    return run_id if offset.isdecimal() else ""


class Shards:
    """The shards of one namespace; a delay is in that of its run."""

    def __init__(self, namespace: str, number: int) -> None:
        self.number = number
        self.all = tuple(f"{namespace}/{k}" for k in range(number))
        self.of: Callable[[str], str]
        if number == 1:
            self.of = lambda _run_id: self.all[0]
        else:
            cache = BoundedCache[str, str](
                lambda run_id: shard_of(namespace, run_of(run_id) or run_id, number), size_of_texts, 65_536, 16 << 20
            )
            self.of = cache.__getitem__

    def split(self, ids: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """The ids by shard, each once and in a fixed order, so that no two transactions lock them crosswise."""
        if self.number == 1:
            found = sorted(set(ids))
            return {self.all[0]: found} if found else {}
        parts: defaultdict[str, list[str]] = defaultdict(list)
        for run_id in sorted(set(ids)):
            parts[self.of(run_id)].append(run_id)
        return dict(sorted(parts.items()))


def waiting(transition: Transition) -> str:
    """The column `waiting` of a transition."""
    return transition.annotations.get(WAITING, "") if transition.annotations else ""


def label_key(name: str, value: str) -> str:
    """The indexed form of one label."""
    return _label_keys[name, value]


def _label_key(label: tuple[str, str]) -> str:
    name, value = label
    text = json.dumps([name, value], ensure_ascii=False)
    short = len(text) <= LONGEST_LABEL and len(text.encode()) <= LABEL_BYTES
    return text if short else hashlib.sha256(text.encode()).hexdigest()


_label_keys = BoundedCache(_label_key, lambda label, key: size_of_texts(key, *label))


def partition(
    due: int, now: int, crashes: int = 0, blocked_by: str = "", limits: str = "", paused: bool = False
) -> int:
    """The partition of an unowned row."""
    if paused:
        return PAUSED
    if crashes >= SUSPECT or blocked_by:
        return SPECIAL
    if due > now:
        return LATER
    return LIMITED if limits else READY


def read_state(row: Sequence[Any]) -> State:
    """A State from the columns `STATE`."""
    return stored.read_state(restored(row[0]), *row[1:])


def read_queue(row: Sequence[Any]) -> QueueRow | None:
    """A queue row from the columns `QUEUE`; None where a left join found none."""
    flow, due, owner, epoch, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished, paused = row
    if flow is None:
        return None
    return QueueRow(
        restored(flow), due, restored(owner), epoch, claim_rev, priority, crashes, cancel, restored(blocked),
        restored(blocked_by), restored(limits), unfinished, paused,
    )  # fmt: skip


def read_record(
    run: Sequence[Any],
    row: QueueRow | None,
    exchange: str = "",
    events: tuple[Event, ...] = (),
    delay: Delay | None = None,
    journaled: bool = False,
    parts: ExchangeParts = UNKNOWN,
) -> Record:
    """A record from the columns `STATE` and `CREATED`, and the queue row."""
    state, created = read_state(run[:6]), Created(restored(run[6]), *run[7:9])
    return Record(state, created, exchange, row, events, delay, journaled, parts)
