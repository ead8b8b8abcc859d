"""The hot path: all steps of a batch in a constant number of statements.

A *step* is a fence and one write of the fenced run, and perhaps the end of its queue row, or its next due time.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from attrs import define, field

from stepflow.drivers.sqlite.fast import HISTORY, many
from stepflow.drivers.sqlite.rows import HEAD, lane, map_text
from stepflow.drivers.values import Commit, Dequeue, Enqueue

# ?3 is the newest revision as far as this session knows: if others have written meanwhile, or posted something, no row
# is changed. Negative when it was looked up in this transaction. (It is selected, too, only to be numbered before the rows.)
UNSEEN = f"(SELECT ?3 < 0 OR (?3 = ({HEAD}) AND NOT EXISTS (SELECT 1 FROM stepflow_inbox)))"
# One look-up per row finds the old row and replaces it. created_at is not updated, so it carries the expected revision;
# other labels than before are left to the slow path, which keeps their index.
STEP = (
    "INSERT INTO stepflow_states (shard, id, created_at, rev, transition, labels, annotations, status, event,"
    " polls, exchange_rev, committed_at, flow, input_hash)"
    " SELECT ?1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11, ?2, '', ?3"
    " FROM (VALUES {rows}) AS b CROSS JOIN stepflow_queue AS q ON q.shard = ?1 AND q.id = column2 AND q.epoch = column1"
    f" WHERE {UNSEEN}"
    " ON CONFLICT (shard, id) DO UPDATE SET rev = excluded.rev, transition = excluded.transition,"
    " annotations = excluded.annotations, status = excluded.status, event = excluded.event, polls = excluded.polls,"
    " committed_at = excluded.committed_at,"
    " exchange_rev = CASE WHEN excluded.exchange_rev THEN excluded.exchange_rev ELSE exchange_rev END"
    " WHERE rev = excluded.created_at AND labels = excluded.labels"
)
# The same of a run without labels and annotations whose exchange did not change, and which waits for nothing: what is not
# bound need not be copied.
PLAIN_STEP = (
    "INSERT INTO stepflow_states (shard, id, created_at, rev, transition, committed_at, flow, input_hash, labels,"
    " annotations, status, event, polls, exchange_rev)"
    " SELECT ?1, column2, column3, column4, column5, ?2, '', ?3, '{{}}', '{{}}', column6, '', 0, 0"
    " FROM (VALUES {rows}) AS b CROSS JOIN stepflow_queue AS q ON q.shard = ?1 AND q.id = column2 AND q.epoch = column1"
    f" WHERE {UNSEEN}"
    " ON CONFLICT (shard, id) DO UPDATE SET rev = excluded.rev, transition = excluded.transition,"
    " annotations = excluded.annotations, status = excluded.status, event = '', polls = 0,"
    " committed_at = excluded.committed_at"
    " WHERE rev = excluded.created_at AND labels = excluded.labels"
)
PLAIN_HISTORY = (
    "INSERT INTO stepflow_history (rev, shard, id, prev, transition, labels, annotations, committed_at)"
    " SELECT column1, ?1, column2, column3, column4, '{{}}', '{{}}', ?2 FROM (VALUES {rows})"
)
END = "DELETE FROM stepflow_queue WHERE shard = ?1 AND id IN (VALUES {rows})"
# For a row that STEP found fenced. One with a cancel mark, or with another priority, is left to the slow path.
LATER = (
    "INSERT INTO stepflow_queue (id, flow, due, priority, lane, epoch, shard)"
    " SELECT column1, column2, column3, column4, column5, column6, ?1 FROM (VALUES {rows})"
    " WHERE true ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due, lane = excluded.lane,"
    " epoch = excluded.epoch, owner = '', claim_rev = 0, crashes = 0, blocked = '', blocked_by = ''"
    " WHERE cancel = 0 AND priority = excluded.priority"
)


@define
class Steps:
    """The rows that the steps of a batch will change, ready to be bound; `others` are the places of what is no step."""

    count: int = 0
    others: list[int] = field(factory=list)
    plain: list[object] = field(factory=list)
    plain_history: list[object] = field(factory=list)
    rows: list[object] = field(factory=list)
    history: list[object] = field(factory=list)
    ended: list[object] = field(factory=list)
    later: list[Enqueue] = field(factory=list)

    def write(
        self,
        connection: sqlite3.Connection,
        shard: str,
        now: int,
        epochs: Callable[[int], int],
        unseen: int = -1,
    ) -> bool:
        """Write them; False when one may not be applied: roll back.

        `unseen` is the newest revision unless somebody else has written since: False then, too, and if something was posted.
        """
        for step, width, values in ((PLAIN_STEP, 6, self.plain), (STEP, 11, self.rows)):
            if values and many(connection, step, width, values, shard, now, unseen) * width != len(values):
                return False
        many(connection, PLAIN_HISTORY, 4, self.plain_history, shard, now)
        many(connection, HISTORY, 7, self.history, shard, now)
        if self.ended and many(connection, END, 1, self.ended, shard) != len(self.ended):
            return False
        return not self.later or _put_off(connection, shard, self.later, now, epochs(len(self.later)))


def steps_of(batch: Sequence[Commit], rev: int) -> Steps:
    """The steps of a batch, with the revisions after `rev`. One pass, for all that is asked of each of them."""
    steps = Steps()
    plain, plain_history, first = steps.plain, steps.plain_history, rev
    for index, commit in enumerate(batch):
        fence, unowned, writes, consume, queue, publish, cancel, delays, data, resolve, once = commit
        if fence is None or len(writes) != 1 or publish or consume or unowned or cancel or delays or data:
            steps.others.append(index)
            continue
        ((state, exchange, _born),) = writes
        run_id, last, transition, labels, annotations, _then = state
        if run_id != fence.id or not last or resolve or once or (queue and not _usual(queue, commit)):
            steps.others.append(index)
            continue
        rev += 1
        if exchange is None and transition.plain and not labels and not annotations:
            text = transition.text
            plain += (fence.epoch, run_id, last, rev, text, transition.status)
            plain_history += (rev, run_id, last, text)
        else:
            text, maps = transition.text, (map_text(labels), map_text(annotations))
            derived = (transition.status, transition.event, transition.polls)
            steps.rows += (fence.epoch, run_id, last, rev, text, *maps, *derived, 0 if exchange is None else rev)
            steps.history += (rev, run_id, last, text, *maps, exchange)
        if queue:
            part = queue[0]
            if isinstance(part, Enqueue):
                steps.later.append(part)
            else:
                steps.ended.append(run_id)
    steps.count = rev - first
    return steps


def _usual(queue: Sequence[Enqueue | Dequeue], commit: Commit) -> bool:
    """Whether a step changes its queue row as most do."""
    part, state = queue[0], commit.writes[0].state
    if len(queue) > 1 or part.id != state.id:
        return False
    return not part.owned and not part.limits if isinstance(part, Enqueue) else state.transition.status != ""


def _put_off(connection: sqlite3.Connection, shard: str, later: Sequence[Enqueue], now: int, epoch: int) -> bool:
    rows: list[object] = []
    for number, part in enumerate(later):
        rows += (part.id, part.flow, part.due, part.priority, lane(part.due, now), epoch + number)
    return many(connection, LATER, 6, rows, shard) == len(later)
