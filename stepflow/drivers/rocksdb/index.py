"""index: derives the index keys of a run and of its queue row; a change writes the difference."""

from __future__ import annotations

from collections import Counter
from itertools import product

from stepflow.drivers.rocksdb.keys import Change, Keys, number, text
from stepflow.drivers.rocksdb.records import RunRecord
from stepflow.model.lifecycle import SUSPECT, UNTIL_DUE, QueueRow, Status, status_from

Entry = tuple[bytes, bytes]
"""An index key and its record."""

Side = tuple[RunRecord | None, QueueRow | None]
"""A run and its queue row, before or after a change."""

Kind = tuple[bytes, str]
"""(letter, text): plain or blocked by this definition; the same for a suspect; limited by this text of limits; or paused."""

PLAIN, SUSPECTED, LIMITED, HELD_BACK = b"0", b"1", b"2", b"3"
LIVE = "live"  # the group of runs with a queue row, whose status depends on the time
LETTERS = {Status.RUNNING: b"R", Status.PAUSED: b"P", Status.BLOCKED: b"B", Status.SLEEPING: b"S", Status.WAITING: b"V"}
_FACTS = ("owned", "paused", "blocked", "polls")
# The letter of a row that is not due, by whether these facts hold; the status of a run without a row by whether it awaits an event.
_LETTER_OF = {
    holds: LETTERS[status_from(frozenset(fact for fact, held in zip(_FACTS, holds, strict=True) if held))]
    for holds in product((False, True), repeat=len(_FACTS))
}
_WITHOUT_ROW = {
    False: status_from(frozenset({"no_row"})).value,
    True: status_from(frozenset({"no_row", "awaits_event"})).value,
}
_STATUS_OF = {letter: status for status, letter in LETTERS.items()}


def group_of(run: RunRecord, row: QueueRow | None) -> str:
    """The final status; `live` with a queue row, else the status that the run has without one."""
    transition = run.transition
    if transition.status:
        return transition.status
    if row is not None:
        return LIVE
    return _WITHOUT_ROW[transition.events != ()]


def age_of(run: RunRecord, row: QueueRow | None) -> tuple[str, str]:
    """The group and creating flow under which a run is counted and listed."""
    return group_of(run, row), run.created.flow


def _mark(run: RunRecord, row: QueueRow) -> bytes:
    """The record from which `status_at` derives the status of a live run: a letter and the due time."""
    letter = _LETTER_OF[row.owner != "", row.paused, row.blocked != "", run.transition.polls]
    return letter if row.owner else b"%b%d" % (letter, row.due)


def status_at(mark: bytes, now: int, *, flow_paused: bool = False) -> str:
    """The status of a live run at `now`, from its index record."""
    status = _STATUS_OF[mark[:1]]
    if flow_paused and status is not Status.RUNNING:
        return Status.PAUSED.value
    return (Status.QUEUED if status in UNTIL_DUE and int(mark[1:]) <= now else status).value


def age_entry(keys: Keys, run: RunRecord, row: QueueRow | None) -> Entry:
    """The index entry of a run by age."""
    group = group_of(run, row)
    mark = _mark(run, row) if row is not None and group == LIVE else b""
    return _age_key(keys, run, group), mark


def _age_key(keys: Keys, run: RunRecord, group: str) -> bytes:
    return keys.group(group, run.created.flow) + number(run.created.created_at) + run.code


def label_keys(keys: Keys, run: RunRecord) -> set[bytes]:
    """The index keys of a run by its labels."""
    age = number(run.created.created_at) + run.code
    return {keys.labels + text(name) + text(value) + age for name, value in run.labels.items()}


def ended_entry(keys: Keys, run: RunRecord, row: QueueRow | None) -> Entry | None:
    """The index entry of a run that may be pruned, else None."""
    if row is not None or not run.transition.status:
        return None
    return keys.ended + number(run.committed_at) + run.code, b""


def run_entries(keys: Keys, run: RunRecord, row: QueueRow | None) -> dict[bytes, bytes]:
    """All index records of a run."""
    found = (age_entry(keys, run, row), ended_entry(keys, run, row))
    return {**dict(entry for entry in found if entry), **dict.fromkeys(label_keys(keys, run), b"")}


def kind_of(row: QueueRow) -> Kind:
    """The kind of a row that has no owner; limits count there too if it is blocked or a suspect."""
    if row.paused:
        return HELD_BACK, ""
    if row.crashes >= SUSPECT:
        return SUSPECTED, row.blocked_by
    return (LIMITED, row.limits) if row.limits and not row.blocked_by else (PLAIN, row.blocked_by)


def partition_prefix(keys: Keys, row: QueueRow) -> bytes:
    """The prefix of the partition of a row without an owner: its flow, kind and priority."""
    return keys.partition(row.flow, *kind_of(row), row.priority)


def row_entry(keys: Keys, row: QueueRow, code: bytes) -> bytes:
    """The index key of a queue row: under its owner, or in its partition."""
    if row.owner:
        return keys.owned(row.owner) + code
    return partition_prefix(keys, row) + number(row.due) + code


def index_change(out: Change, groups: Counter[tuple[str, str]], keys: Keys, before: Side, after: Side) -> None:
    """Write the difference that a change of a run and its row makes to the indexes and counts."""
    (old, old_row), (run, row) = before, after
    if old is run and run is not None and old_row is not None and row is not None and not run.transition.status:
        if (mark := _mark(run, row)) != _mark(run, old_row):  # a claim or a release: the key of the run does not change
            out[_age_key(keys, run, LIVE)] = mark
        return
    if old is not run and (old is None or run is None or old.labels != run.labels):
        was = set() if old is None else label_keys(keys, old)
        now = set() if run is None else label_keys(keys, run)
        out.update(dict.fromkeys(was - now))
        out.update(dict.fromkeys(now - was, b""))
    _move(out, age_entry(keys, old, old_row) if old else None, age_entry(keys, run, row) if run else None)
    _move(out, ended_entry(keys, old, old_row) if old else None, ended_entry(keys, run, row) if run else None)
    if old is not None:
        groups[age_of(old, old_row)] -= 1
    if run is not None:
        groups[age_of(run, row)] += 1


def _move(out: Change, old: Entry | None, new: Entry | None) -> None:
    """Replace an index record by another one."""
    if old == new:
        return
    if old is not None and (new is None or old[0] != new[0]):
        out[old[0]] = None
    if new is not None:
        out[new[0]] = new[1]
