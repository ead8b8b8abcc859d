"""The hot path: all steps and journal rows of a batch in a constant number of statements.

A *step* is a fence and one write of the fenced run, and perhaps the end of its queue row, or its next due time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field

from stepflow.drivers.port.commit import Dequeue, Enqueue
from stepflow.drivers.port.step import Append, Member, Step, ends_more
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.sqlite.bulk import HISTORY, LABEL, many
from stepflow.drivers.sqlite.journal import WRITTEN, SqliteJournal
from stepflow.drivers.sqlite.rows import derived_of, partition
from stepflow.drivers.sqlite.session_cache import RowIds
from stepflow.model.state import Transition

# The epoch was compared before, with that of the place. Other labels than before, of which the commit does not tell, are left to
# the general path, which keeps their index.
# A run that goes on has no status, before and after: to set it to the same would write a page of the lists' index.
STEP = (
    "UPDATE stepflow_states SET rev = column3, committed_at = ?1, transition = column4, annotations = column6,"
    " event = column8, polls = column9, exchange_rev = CASE WHEN column10 THEN column10 ELSE exchange_rev END"
    " FROM (VALUES {rows}) WHERE stepflow_states.rowid = column1 AND rev = column2 AND labels = column5 AND status = ''"
)
# The same of a run that ends.
LAST_STEP = STEP.replace("SET rev = column3,", "SET rev = column3, status = column7,").replace(" AND status = ''", "")
# The same of a run whose labels change; `StepBatch.write` keeps their index. The last column has the labels before.
RELABEL_STEP = LAST_STEP.replace("labels = column5", "labels = column11").replace(
    "SET rev = column3,", "SET rev = column3, labels = column5,"
)
UNLABEL = "DELETE FROM stepflow_labels WHERE shard = ?1 AND (name, value, id) IN (VALUES {rows})"
PAST = (
    "INSERT OR IGNORE INTO stepflow_past_labels (shard, name, value, id)"
    " SELECT ?1, column1, column2, column3 FROM (VALUES {rows})"
)
# The same of a run whose exchange did not change, and which waits for nothing: what is not bound need not be copied.
PLAIN_STEP = (
    "UPDATE stepflow_states SET rev = column3, committed_at = ?1, transition = column4, annotations = column6, event = '',"
    " polls = 0 FROM (VALUES {rows}) WHERE stepflow_states.rowid = column1 AND rev = column2 AND labels = column5"
    " AND status = ''"
)
# The only step of a batch, as most are that the caller of a blocking engine makes: no batch has to be sorted and bound for it.
ONLY_STEP = (
    "UPDATE stepflow_states SET rev = ?1, committed_at = ?2, transition = ?3, annotations = ?5, event = ?6, polls = ?7,"
    " exchange_rev = ifnull(?8, exchange_rev) WHERE rowid = ?9 AND rev = ?10 AND labels = ?4 AND status = ''"
)
ONLY_LAST_STEP = ONLY_STEP.replace("SET rev = ?1,", "SET rev = ?1, status = ?11,").replace(" AND status = ''", "")
# Of the connection that writes: the row of the history for every new revision that leaves the exchange as it was. A statement
# of its own would have to be given the same values once more.
REVISION = """
CREATE TEMP TRIGGER stepflow_revision AFTER UPDATE OF rev ON main.stepflow_states WHEN NEW.exchange_rev = OLD.exchange_rev
BEGIN
    INSERT INTO stepflow_history (rev, shard, id, prev, transition, labels, annotations, committed_at)
    VALUES (NEW.rev, NEW.shard, NEW.id, OLD.rev, NEW.transition, NEW.labels, NEW.annotations, NEW.committed_at);
END
"""
END = "DELETE FROM stepflow_queue WHERE rowid IN (VALUES {rows})"
PARK = (
    END + " AND cancel = 0"
)  # one with a cancel mark goes on, or may end only as cancelled: the general path sees to it
# For a row whose epoch was compared. One with a cancel mark, or with another priority, is left to the slow path.
LATER = (
    "INSERT INTO stepflow_queue (id, flow, due, priority, partition, epoch, shard)"
    " SELECT column1, column2, column3, column4, column5, column6, ?1 FROM (VALUES {rows})"
    " WHERE true ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due, partition = excluded.partition,"
    " epoch = excluded.epoch, owner = '', claim_rev = 0, crashes = 0, unfinished = 0, blocked = '', blocked_by = ''"
    " WHERE cancel = 0 AND priority = excluded.priority"
)
# For a row whose epoch was compared: the committer holds it with another epoch, as if it had claimed it again.
HOLD = (
    "INSERT INTO stepflow_queue (id, flow, due, priority, epoch, claim_rev, shard, owner)"
    " SELECT column1, column2, column3, column4, column5, column6, ?1, ?2 FROM (VALUES {rows})"
    " WHERE true ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due, owner = excluded.owner,"
    " epoch = excluded.epoch, claim_rev = excluded.claim_rev, crashes = 0, unfinished = 0, blocked = '', blocked_by = ''"
    " WHERE priority = excluded.priority"
)


@define
class StepBatch:
    """The rows that the steps of a batch will change, and the journal rows of its Appends, ready to be bound.

    `moved` are the runs whose queue rows the committer holds for
    another flow, by the number of the commit; `held` says with which epochs. `others` are the numbers of the members that are no Step, or not one to be applied; some of them may become one as soon
    as it is known where the `unplaced` runs are.
    """

    count: int = 0
    others: list[int] = field(factory=list)
    unplaced: list[str] = field(factory=list)
    plain: list[object] = field(factory=list)
    rows: list[object] = field(factory=list)
    last_rows: list[object] = field(factory=list)
    relabelled_rows: list[object] = field(factory=list)  # of runs whose labels change
    dropped: list[object] = field(factory=list)  # name, value and run of the labels that such runs had
    added: list[object] = field(factory=list)  # and of those that they have now
    history: list[object] = field(factory=list)
    ended: dict[str, int] = field(factory=dict)  # runs, and the rowids of their queue rows
    parked: dict[str, int] = field(factory=dict)
    later: list[Enqueue] = field(factory=list)
    owned: list[tuple[Enqueue, RowIds, int]] = field(factory=list)  # with the place and the new revision of the run
    moved: dict[int, str] = field(factory=dict)
    held: dict[str, RowIds] = field(factory=dict)
    journal: list[object] = field(factory=list)
    appended: list[int] = field(factory=list)  # the numbers of the Appends; among `others`, too

    @property
    def left(self) -> list[str]:
        """The runs that their holder releases with these steps."""
        return [*self.ended, *self.parked, *(part.id for part in self.later)]

    def indexes(self, size: int) -> Iterable[int]:
        """The numbers of the steps in a batch of this size."""
        return sorted(set(range(size)).difference(self.others)) if self.others else range(size)

    def write(
        self, connection: sqlite3.Connection, shard: str, owner: str, now: int, epochs: Callable[[int], int]
    ) -> bool:
        """Write them; False when one may not be applied: roll back."""
        if self.journal:
            SqliteJournal(connection, shard).put(self.journal)
        before = connection.total_changes
        many(connection, PLAIN_STEP, 6, self.plain, now)
        many(connection, STEP, 10, self.rows, now)
        many(connection, LAST_STEP, 10, self.last_rows, now)
        many(connection, RELABEL_STEP, 11, self.relabelled_rows, now)
        changed = 2 * self.count - len(self.history) // 7  # the rows themselves, and those that REVISION made
        if connection.total_changes - before != changed:
            return False
        many(connection, PAST, 3, self.dropped, shard)
        many(connection, UNLABEL, 3, self.dropped, shard)
        many(connection, LABEL, 3, self.added, shard)
        if self.history:
            many(connection, HISTORY, 7, self.history, shard, now)
        if self.ended and many(connection, END, 1, list(self.ended.values())) != len(self.ended):
            return False
        if self.parked and many(connection, PARK, 1, list(self.parked.values())) != len(self.parked):
            return False
        if self.owned and not self._hold(connection, shard, owner, epochs(len(self.owned))):
            return False
        return not self.later or _put_off(connection, shard, self.later, now, epochs(len(self.later)))

    def relabel(self, run_id: str, before: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """The labels of a run change: those that stay keep their rows of the index."""
        for name, value in before.items():
            if labels.get(name) != value:
                self.dropped += (name, value, run_id)
        for name, value in labels.items():
            if before.get(name) != value:
                self.added += (name, value, run_id)

    def _hold(self, connection: sqlite3.Connection, shard: str, owner: str, epoch: int) -> bool:
        rows: list[object] = []
        for number, (part, place, rev) in enumerate(self.owned):
            rows += (part.id, part.flow, part.due, part.priority, epoch + number, rev)
            self.held[part.id] = RowIds(epoch + number, place.state, place.row)
        return many(connection, HOLD, 6, rows, shard, owner) == len(self.owned)


def steps_of(batch: Sequence[Member], rev: int, now: int, places: Mapping[str, RowIds]) -> StepBatch:
    """The steps of a batch at `now` whose fence is that of the run's place, with the revisions after `rev`."""
    steps = StepBatch()
    plain, first = steps.plain, rev
    others, journal, appended = steps.others, steps.journal, steps.appended
    for index, step in enumerate(batch):
        if type(step) is not Step:
            others.append(index)
            if type(step) is not Append or step.consume:
                continue
            run_id, epoch = step.id, step.epoch
            place = places.get(run_id)
            if place is None:
                steps.unplaced.append(run_id)
            elif place.epoch == epoch:
                for row in step.rows:
                    journal += (run_id, *row[:WRITTEN], epoch, row.at or now)
                appended.append(index)
            continue
        place, part, transition = places.get(step.id), step.part, step.transition
        if place is None:
            steps.unplaced.append(step.id)
            others.append(index)
            continue
        if place.epoch != step.epoch or (part is not None and not _usual(part, transition)):
            others.append(index)
            continue
        labels, annotations = step.labels, step.annotations
        if transition.plain and step.exchange is None and step.labels_before is None:
            rev += 1
            maps = map_text(labels) if labels else "{}", map_text(annotations) if annotations else "{}"
            plain += (place.state, step.rev, rev, transition.text, *maps)
        elif transition.status and ends_more(step):
            others.append(index)
            continue
        else:
            rev += 1
            exchange, before, text = step.exchange, step.labels_before, transition.text
            maps = map_text(labels), map_text(annotations)
            rows = steps.last_rows if transition.status else steps.rows
            changed = 0 if exchange is None else rev
            if before is None:
                rows += (place.state, step.rev, rev, text, *maps, *derived_of(transition), changed)
            else:
                steps.relabel(step.id, before, labels)
                values = (place.state, step.rev, rev, text, *maps, *derived_of(transition), changed, map_text(before))
                steps.relabelled_rows += values
            if exchange is not None:
                steps.history += (rev, step.id, step.rev, text, *maps, exchange)
        if part is None:
            continue
        if isinstance(part, Dequeue):
            (steps.ended if transition.status == "cancelled" else steps.parked)[step.id] = place.row
        elif part.owned:
            steps.owned.append((part, place, rev))
            steps.moved[index] = step.id
        else:
            steps.later.append(part)
    steps.count = rev - first
    return steps


def write_only_step(
    connection: sqlite3.Connection, shard: str, step: Step, place: RowIds, rev: int, now: int
) -> bool | None:
    """Write the only step of a batch, with the revision `rev`; None if it is for `StepBatch`, False as `StepBatch.write`."""
    part, transition, exchange = step.part, step.transition, step.exchange
    if place.epoch != step.epoch or step.labels_before is not None or (transition.status and ends_more(step)):
        return None
    text, status, labels, annotations = (
        transition.text,
        transition.status,
        map_text(step.labels),
        map_text(step.annotations),
    )
    event, polls = ("", False) if transition.plain else derived_of(transition)[1:]
    values = (
        rev,
        now,
        text,
        labels,
        annotations,
        event,
        polls,
        None if exchange is None else rev,
        place.state,
        step.rev,
    )
    if part is None and not status:
        done = connection.execute(ONLY_STEP, values)
    elif part is not None and status and isinstance(part, Dequeue):
        done = connection.execute(ONLY_LAST_STEP, (*values, status))
    else:
        return None
    if done.rowcount != 1:
        return False
    if exchange is not None:
        many(connection, HISTORY, 7, (rev, step.id, step.rev, text, labels, annotations, exchange), shard, now)
    end = END if status == "cancelled" else PARK
    return part is None or many(connection, end, 1, (place.row,)) == 1


def _usual(part: Enqueue | Dequeue, transition: Transition) -> bool:
    """Whether a step changes its queue row as most do."""
    if isinstance(part, Enqueue):
        return not part.limits
    return transition.status != "" or not transition.events


def _put_off(connection: sqlite3.Connection, shard: str, later: Sequence[Enqueue], now: int, epoch: int) -> bool:
    rows: list[object] = []
    for number, part in enumerate(later):
        rows += (part.id, part.flow, part.due, part.priority, partition(part.due, now), epoch + number)
    return many(connection, LATER, 6, rows, shard) == len(later)
