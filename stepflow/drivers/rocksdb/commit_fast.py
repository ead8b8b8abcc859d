"""The hot path: the steps and journal rows of a batch, which need no layer of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stepflow.drivers.port.commit import Commit, CommitResult, Committed, Dequeue, Enqueue
from stepflow.drivers.port.step import Append, Member, Step, answer, ends_more, whole
from stepflow.drivers.rocksdb import journal
from stepflow.drivers.rocksdb.errors import MEMBER_ERRORS, member_error
from stepflow.drivers.rocksdb.keys import number, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.records import RunRecord, dump_position, dump_revision
from stepflow.drivers.rocksdb.revision_index import Block
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.errors import StepflowError
from stepflow.model.lifecycle import QueueRow

General = Callable[[Commit], Committed | StepflowError]


def apply(
    overlay: Overlay, tables: RocksdbTables, batch: Sequence[Member], now: int, usual: General
) -> list[CommitResult]:
    """Apply a batch in its order: steps of runs that go on or end here, all others by the `usual` way, which also tells why not, and reads runs."""
    runs, rows = tables.cached()
    keys, puts, head, results = tables.keys, overlay.puts, overlay.head, list[CommitResult]()
    history, tagged, block = keys.history, keys.tagged, Block(keys, puts, now)
    codes = block.codes
    positions: dict[str, str] = {}  # of runs without labels and annotations, by transition
    for member in batch:
        if type(member) is not Step:
            if type(member) is Append and _may_append(member, runs, rows):
                results.append(_appended(overlay, tables, member, now))
            else:
                block.write(head.rev)
                results.append(answer(member, usual(whole(member))))
            continue
        step, run, row = member, runs.get(member.id), rows.get(member.id)
        transition, part, labels, last = step.transition, step.part, step.labels, step.rev
        if (
            run is None
            or row is None
            or row.epoch != step.epoch
            or run.rev != last
            or run.transition.status
            or (transition.status or row.paused if part is None else not _leaves(step, part, run, row))
        ):
            block.write(head.rev)
            results.append(answer(step, usual(whole(step))))
            continue
        exchange, annotations, rev = step.exchange, step.annotations, head.rev + 1
        try:
            place = number(rev)
            if labels or annotations:
                position = dump_position(now, transition, labels, annotations)
            elif (position := positions.get(transition.text, "")) == "":
                position = positions[transition.text] = dump_position(now, transition)
            record = dump_revision(last, run.exchange_rev if exchange is None else rev, position, exchange or "")
            tags = [tagged + text(name) + text(value) + place for name, value in labels.items()] if labels else ()
        except MEMBER_ERRORS as error:
            results.append(member_error(error))
            continue
        head.rev = rev
        puts[history + run.code + place] = record
        codes.append(run.code)
        for tag in tags:
            puts[tag] = b""
        if part is not None or (labels is not run.labels and labels != run.labels):
            run = overlay.copy(run)  # the indexes change: they are told by what the run was before
            run.labels = dict(labels)
            if part is not None:
                overlay.rows[step.id] = None
        run.rev, run.transition, run.committed_at = rev, transition, now
        if annotations is not run.annotations:  # a copy: later changes by the caller do not reach the store
            run.annotations = dict(annotations)
        if exchange is not None:
            run.exchange_rev = rev
        results.append((rev, now))
    block.write(head.rev)
    return results


def _may_append(append: Append, runs: Mapping[str, RunRecord | None], rows: Mapping[str, QueueRow | None]) -> bool:
    """Whether these rows are of a cached run whose claim holds, and use up no event."""
    row = rows.get(append.id)
    if row is None or row.epoch != append.epoch or row.paused:
        return False
    return not append.consume and runs.get(append.id) is not None


def _appended(overlay: Overlay, tables: RocksdbTables, append: Append, now: int) -> Committed | StepflowError:
    try:
        journal.append(overlay, tables.keys, append, now)
    except MEMBER_ERRORS as error:
        return member_error(error)
    return Committed(committed_at=now)


def _leaves(step: Step, part: Enqueue | Dequeue, run: RunRecord, row: QueueRow) -> bool:
    """Whether a step takes its queue row away because the run ends here, with no parent to be told, or is parked."""
    if type(part) is not Dequeue or run.pending or ends_more(step):
        return False
    if row.cancel:
        return step.transition.status == "cancelled"
    return step.transition.status != "" or not step.transition.events
