"""Claims: due rows of a SQLite store are given to an owner in the order of priority, due time and id, as far as their limits allow."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Claim, Fence
from stepflow.drivers.sqlite.bulk import many
from stepflow.drivers.sqlite.limits import SqliteLimits
from stepflow.drivers.sqlite.query import RUN, SqliteReader
from stepflow.drivers.sqlite.queue import ReadyRows
from stepflow.drivers.sqlite.session_cache import RowIds
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import admission, admit, after_start
from stepflow.model.state import new_tuple

# Rows of a flow that one claim makes ready at most: a bound for its time. Of more rows that became due since the last
# claim, those that were due first come first, whatever their priority.
PROMOTED = 5_000

# Promoted rows are in the order of priorities, in one line per text of limits (?6). Blocked ones are looked for on both sides
# of the own definition, so that those which this worker blocked cost nothing. The row of a delay has no State; its claim_rev
# is always that of its snapshot.
CANDIDATES = (
    "SELECT q.priority, q.due, q.id, q.flow, q.crashes, q.cancel, q.limits, ifnull(s.rev, q.claim_rev), q.rowid, s.rowid,"
    f" {RUN}, s.exchange_rev"
    " FROM stepflow_queue AS q INDEXED BY stepflow_queue_{index}"
    " LEFT JOIN stepflow_states AS s ON s.shard = q.shard AND s.id = q.id WHERE q.shard = ?1 AND q.flow = ?2 AND q.owner = '' AND q.due <= ?3"
)
ORDER = " ORDER BY q.priority, q.due, q.id LIMIT ?4"
READY = f"{CANDIDATES.format(index='next')} AND q.partition = 1 AND q.limits = ?5"
PLAIN = f"{READY} AND q.blocked_by = ''{ORDER}"
BELOW = f"{READY} AND q.blocked_by > '' AND q.blocked_by < ?6{ORDER}"
ABOVE = f"{READY} AND q.blocked_by > ?6{ORDER}"
SUSPECTS = f"{CANDIDATES.format(index='suspect')} AND q.partition = 2 AND q.blocked_by <> ?5{ORDER}"

_NEXT_LINE = (
    "SELECT (SELECT limits FROM stepflow_queue INDEXED BY stepflow_queue_next WHERE shard = ?1 AND flow = ?2"
    " AND owner = '' AND partition = 1 AND limits > {last} ORDER BY limits LIMIT 1)"
)
_LINE = (
    f"WITH RECURSIVE line(text) AS ({_NEXT_LINE.format(last=chr(39) * 2)} UNION ALL"
    f" {_NEXT_LINE.format(last='line.text')} FROM line WHERE line.text IS NOT NULL)"
)
# The texts of limits for which rows of a flow are ready, by leaping from one to the next.
LINES = f"{_LINE} SELECT text FROM line WHERE text IS NOT NULL"
# The same with the first row of each that is not blocked, if there is one.
HEADS = (
    f"{_LINE} SELECT line.text, ifnull(q.priority, ?3), ifnull(q.due, 0), ifnull(q.id, '') FROM line"
    " LEFT JOIN stepflow_queue AS q ON q.rowid = (SELECT rowid FROM stepflow_queue AS x INDEXED BY stepflow_queue_next"
    " WHERE x.shard = ?1 AND x.flow = ?2 AND x.owner = '' AND x.partition = 1 AND x.limits = line.text AND x.blocked_by = ''"
    " ORDER BY x.priority, x.due, x.id LIMIT 1) WHERE line.text IS NOT NULL"
)
FIRST = -(1 << 62)  # the place of a line all of whose rows are blocked: some of them may be for this worker

# By rowid, as STEP does it; the rows are there, they have just been selected.
TAKE = (
    "INSERT INTO stepflow_queue (owner, epoch, rowid, claim_rev, shard, id, flow, due, partition)"
    " SELECT ?1, ?2, column1, column2, '', '', '', 0, 0 FROM (VALUES {rows}) WHERE true"
    " ON CONFLICT (rowid) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch, claim_rev = excluded.claim_rev,"
    " blocked = '', blocked_by = ''"
)
PROMOTE = (
    "UPDATE stepflow_queue SET partition = 1 WHERE shard = ?1 AND id IN (SELECT id FROM stepflow_queue INDEXED BY stepflow_queue_later"
    " WHERE shard = ?1 AND flow = ?2 AND owner = '' AND partition = 0 AND due <= ?3 ORDER BY due LIMIT ?4)"
)


Found = tuple[Any, ...]
"""A candidate, a row of CANDIDATES: such rows sort as claims go. What belongs to its State is None for a delay."""

ID, LIMITS = 2, 6
WHOLE = 10  # columns before those of the State


@define
class SqliteClaims:
    """Claims for `owner` from the rows of one shard; `flows` maps names to definition hashes. `places` learns of them."""

    rows: ReadyRows
    owner: str
    flows: Mapping[str, str]
    places: dict[str, RowIds]

    def claim(self, limit: int, suspects: bool, skip: Collection[str]) -> list[Claim]:
        """Give due rows to the owner."""
        if limit <= 0:
            return []
        found: list[Found] = []
        for flow in self.flows:
            found += self._suspects(flow, limit + len(skip)) if suspects else self._ready(flow, limit + len(skip))
        if skip:
            found = [one for one in found if one[ID] not in skip]
        found.sort()
        if any(one[LIMITS] for one in found):
            found = self._admitted(found, limit)
        return self._take(found[:limit])

    @property
    def _control(self) -> SqliteLimits:
        return SqliteLimits(self.rows.connection, self.rows.shard, self.rows.now)

    def _ready(self, flow: str, limit: int) -> list[Found]:
        """Enough candidates: those without limits, and of the first lines that have room."""
        execute, key = self.rows.connection.execute, (self.rows.shard, flow)
        execute(PROMOTE, (*key, self.rows.now, max(limit, PROMOTED)))
        found = self._line(flow, limit, "")
        lines = execute(HEADS, (*key, FIRST)).fetchall()
        if lines:
            limit_usage = self._control.limit_usage([text for text, *_head in lines])
            free = {text: admission(text, limit_usage, self.rows.now).free for text, *_head in lines}
            lines = sorted((line for line in lines if free[line[0]]), key=lambda line: line[1:])
            for text, *_head in lines[:limit]:
                found += self._line(flow, min(limit, free[text]), text)
        return found

    def _line(self, flow: str, limit: int, text: str) -> list[Found]:
        execute, key = self.rows.connection.execute, (self.rows.shard, flow, self.rows.now, limit, text)
        rows = execute(PLAIN, key).fetchall()
        for query in (BELOW, ABOVE):
            rows += execute(query, (*key, self.flows[flow])).fetchall()
        return rows

    def _suspects(self, flow: str, limit: int) -> list[Found]:
        key = (self.rows.shard, flow, self.rows.now, limit, self.flows[flow])
        return self.rows.connection.execute(SUSPECTS, key).fetchall()

    def _admitted(self, found: Sequence[Found], limit: int) -> list[Found]:
        """Those that their limits let go; it is noted which of them begin."""
        control = self._control
        limit_usage = control.limit_usage({one[LIMITS] for one in found})
        order = ((number, one[ID], one[LIMITS]) for number, one in enumerate(found))
        taken = set(admit(order, limit_usage, self.rows.now, limit))
        found = [one for one in found if one[ID] in taken]
        for one in found:
            control.begins(one[LIMITS])
            if (rest := after_start(one[LIMITS])) != one[LIMITS]:
                self.rows.limit(one[ID], rest)
        return found

    def _take(self, found: Sequence[Found]) -> list[Claim]:
        if not found:
            return []
        epoch, owner = self.rows.epochs(), self.owner
        values: list[object] = []
        runs: list[tuple[Sequence[Any], QueueRow]] = []
        for one in found:
            priority, due, run_id, flow, crashes, cancel, limits, rev, place, state = one[:WHOLE]
            values += (place, rev)
            row = (
                flow,
                due,
                owner,
                epoch,
                rev,
                priority,
                crashes,
                bool(cancel),
                "",
                "",
                limits and after_start(limits),
            )
            runs.append((one[WHOLE:], new_tuple(QueueRow, row)))
            if state is not None:
                self.places[run_id] = RowIds(epoch, state, place)
        many(self.rows.connection, TAKE, 2, values, owner, epoch)
        records = SqliteReader(self.rows.connection, self.rows.shard).claimed(runs)
        return [
            new_tuple(Claim, (new_tuple(Fence, (one[ID], epoch)), row, record))
            for one, (_run, row), record in zip(found, runs, records, strict=True)
        ]
