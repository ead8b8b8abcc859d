"""Claims: due rows of a SQLite store are given to an owner in the order of law 5, as far as their limits allow."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

from attrs import define

from stepflow.drivers.port import windows
from stepflow.drivers.port.commit import Claim, Fence
from stepflow.drivers.port.rules import claimed
from stepflow.drivers.port.stored import in_order
from stepflow.drivers.port.turns import Candidate, admitted, first
from stepflow.drivers.port.windows import Window, in_windows
from stepflow.drivers.sqlite.bulk import many
from stepflow.drivers.sqlite.limits import SqliteLimits
from stepflow.drivers.sqlite.lists import RUN
from stepflow.drivers.sqlite.query import SqliteReader
from stepflow.drivers.sqlite.queue import ReadyRows
from stepflow.drivers.sqlite.rows import NUMBER, unreadable_cancel
from stepflow.drivers.sqlite.session_cache import RowIds
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import LimitUsage, admission, after_start
from stepflow.model.state import new_tuple

# Rows of a flow that one claim makes ready at most: a bound for its time. Of more rows that became due since the last
# claim, those that were due first come first, whatever their priority.
PROMOTED = 5_000

# Promoted rows are in the order of priorities, in one line per text of limits (?6). Blocked ones are looked for on both sides
# of the own definition, so that those which this worker blocked cost nothing. The row of a delay has no State; its claim_rev
# is always that of its snapshot.
CANDIDATES = (
    f"SELECT {NUMBER.format('priority')}, q.due, q.id, q.flow, {NUMBER.format('crashes')}, q.cancel, q.limits,"
    f" {NUMBER.format('unfinished')}, ifnull(s.rev, q.claim_rev), q.rowid, s.rowid,"
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

# Whether there is a ready row with limits, or a blocked one: most flows have none, and need none of the look-ups for them.
# Two look-ups: SQLite seeks (limits, blocked_by) > ('', '') as >= and would read all ready rows that are equal to it.
_SPECIAL = (
    "EXISTS (SELECT 1 FROM stepflow_queue INDEXED BY stepflow_queue_next WHERE shard = ?1 AND flow = ?2 AND owner = ''"
    " AND partition = 1 AND {more})"
)
_LIMITED, _BLOCKED = "limits > ''", "limits = '' AND blocked_by > ''"
SPECIAL = f"SELECT {_SPECIAL.format(more=_LIMITED)} OR {_SPECIAL.format(more=_BLOCKED)}"
_NEXT_LINE = (
    "SELECT (SELECT limits FROM stepflow_queue INDEXED BY stepflow_queue_next WHERE shard = ?1 AND flow = ?2"
    " AND owner = '' AND partition = 1 AND limits > {last} ORDER BY limits LIMIT 1)"
)
_LINE = (
    f"WITH RECURSIVE line(text) AS ({_NEXT_LINE.format(last=chr(39) * 2)} UNION ALL"
    f" {_NEXT_LINE.format(last='line.text')} FROM line WHERE line.text IS NOT NULL LIMIT ?4)"
)
# The texts of limits for which rows of a flow are ready, by leaping from one to the next; ?4 lines at most.
LINES = f"{_LINE} SELECT text FROM line WHERE text IS NOT NULL"
# The same with the first row of each that is not blocked, if there is one.
HEADS = (
    f"{_LINE} SELECT line.text, ifnull({NUMBER.format('priority')}, ?3), ifnull(q.due, 0), ifnull(q.id, '') FROM line"
    " LEFT JOIN stepflow_queue AS q ON q.rowid = (SELECT rowid FROM stepflow_queue AS x INDEXED BY stepflow_queue_next"
    " WHERE x.shard = ?1 AND x.flow = ?2 AND x.owner = '' AND x.partition = 1 AND x.limits = line.text AND x.blocked_by = ''"
    " ORDER BY x.priority, x.due, x.id LIMIT 1) WHERE line.text IS NOT NULL"
)
# The first rows of all lines, behind ?6 to ?8, without the lines ?5 (a JSON list) and those that this worker blocked (?9).
TURNS = (
    f"{CANDIDATES.format(index='turns')} AND q.partition = 1 AND q.limits <> '' AND q.blocked_by <> ?9"
    f" AND q.limits NOT IN (SELECT value FROM json_each(?5)) AND (q.priority, q.due, q.id) > (?6, ?7, ?8){ORDER}"
)
FIRST = -(1 << 62)  # the place of a line all of whose rows are blocked: some of them may be for this worker

# By rowid, as STEP does it; the rows are there, they have just been selected.
TAKE = (
    "INSERT INTO stepflow_queue (owner, epoch, rowid, claim_rev, shard, id, flow, due, partition)"
    " SELECT ?1, ?2, column1, column2, '', '', '', 0, 0 FROM (VALUES {rows}) WHERE true"
    " ON CONFLICT (rowid) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch, claim_rev = excluded.claim_rev,"
    " blocked = '', blocked_by = ''"
)
# A row whose cancel mark is damaged goes to the partition where no claim looks; the mark stays.
SET_ASIDE = "UPDATE stepflow_queue SET partition = 3, blocked = ?, blocked_by = '' WHERE rowid = ?"
PROMOTE = (
    "UPDATE stepflow_queue SET partition = 1 WHERE shard = ?1 AND id IN (SELECT id FROM stepflow_queue INDEXED BY stepflow_queue_later"
    " WHERE shard = ?1 AND flow = ?2 AND owner = '' AND partition = 0 AND due <= ?3 ORDER BY due LIMIT ?4)"
)


def has_special(connection: sqlite3.Connection, shard: str, flow: str) -> bool:
    """Whether a flow has a ready row with limits, or a blocked one."""
    return bool(connection.execute(SPECIAL, (shard, flow)).fetchone()[0])


Found = tuple[Any, ...]
"""A row of CANDIDATES. What belongs to its State is None for a delay."""

ID, FLOW, CANCEL, LIMITS = 2, 3, 5, 6
_order = itemgetter(0, 1, ID)
PLACE = 9
WHOLE = 11  # columns before those of the State


def _candidate(row: Found) -> Candidate:
    return row[: ID + 1], row[FLOW], row[LIMITS], row


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
        heads: dict[str, list[Any]] = {}
        for flow in self.flows:
            if suspects:
                found += self._suspects(flow, limit + len(skip))
                continue
            self._promote(flow, limit + len(skip))
            special = has_special(self.rows.connection, self.rows.shard, flow)
            found += self._ready(flow, limit + len(skip), special)
            heads[flow] = self._heads(flow, windows.MANY_LINES) if special else []
        if any(len(lines) >= windows.MANY_LINES for lines in heads.values()):
            if (chosen := self._in_windows([one for one in found if one[ID] not in skip], limit, skip)) is not None:
                return self._take(self._begun(chosen))
            heads = {flow: self._heads(flow, windows.ALL_LINES) for flow in heads}
        for flow, lines in heads.items():
            found += self._of_lines(flow, limit + len(skip), lines)
        if skip:
            found = [one for one in found if one[ID] not in skip]
        limited = any(one[LIMITS] for one in found)
        if not limited and (len(self.flows) == 1 or len(found) == 1):
            return self._take(in_order(found, _order)[:limit])
        candidates = [_candidate(one) for one in found]
        if limited:
            return self._take(self._admitted(candidates, limit))
        return self._take([one[3] for one in first(candidates, self.flows, limit)])

    def _in_windows(self, others: Sequence[Found], limit: int, skip: Collection[str]) -> list[Found] | None:
        """What to take of `others`, which have no limits, and of the first rows of all lines; None if that is not known."""
        rows = self.rows

        def fetch(asked: Sequence[Window], full: Collection[str], number: int) -> list[list[Candidate]]:
            lines = json.dumps(list(full))
            keys = [(rows.shard, w.flow, rows.now, number, lines, *w.end, self.flows[w.flow]) for w in asked]
            return [[_candidate(one) for one in rows.connection.execute(TURNS, key)] for key in keys]

        def usage_of(every: Collection[str]) -> LimitUsage:
            return self._control.limit_usage(every)

        asked = [Window(rows.shard, flow, skip=skip) for flow in self.flows]
        candidates = [_candidate(one) for one in others]
        chosen = in_windows(asked, candidates, self.flows, fetch, usage_of, rows.now, limit)
        return None if chosen is None else [one[3] for one in chosen]

    @property
    def _control(self) -> SqliteLimits:
        return SqliteLimits(self.rows.connection, self.rows.shard, self.rows.now)

    def _ready(self, flow: str, limit: int, special: bool) -> list[Found]:
        """The first rows without limits, also blocked ones if there are `special` rows."""
        if special:
            return self._line(flow, limit, "")
        return self.rows.connection.execute(PLAIN, (self.rows.shard, flow, self.rows.now, limit, "")).fetchall()

    def _promote(self, flow: str, limit: int) -> None:
        """Make the rows ready that became due."""
        self.rows.connection.execute(PROMOTE, (self.rows.shard, flow, self.rows.now, max(limit, PROMOTED)))

    def _heads(self, flow: str, most: int) -> list[Any]:
        """The lines of a flow, at most so many, each with its first row."""
        return self.rows.connection.execute(HEADS, (self.rows.shard, flow, FIRST, most)).fetchall()

    def _of_lines(self, flow: str, limit: int, lines: list[Any]) -> list[Found]:
        """The first rows of the first lines that have room."""
        found: list[Found] = []
        if lines:
            limit_usage = self._control.limit_usage([text for text, *_head in lines])
            free = {text: admission(text, limit_usage, self.rows.now).free for text, *_head in lines}
            free_lines = [line for line in lines if free[line[0]] and isinstance(line[2], int)]
            lines = in_order(free_lines, lambda line: line[1:])
            left = limit
            for text, _priority, _due, first_id in lines:
                if not left:
                    break
                found += self._line(flow, min(limit, free[text]), text)
                left -= first_id != ""  # a line all of whose rows are blocked keeps no other one from being looked at
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

    def _admitted(self, candidates: Sequence[Candidate], limit: int) -> list[Found]:
        """Those that their limits admit; it is recorded which of them begin."""
        usage = self._control.limit_usage({text for _order, _flow, text, _row in candidates})
        chosen, _known = admitted(candidates, self.flows, usage, self.rows.now, limit)
        return self._begun([one[3] for one in chosen])

    def _begun(self, found: list[Found]) -> list[Found]:
        """The same; it is recorded that they begin."""
        self._control.begins(one[LIMITS] for one in found)
        for one in found:
            if (rest := after_start(one[LIMITS])) != one[LIMITS]:
                self.rows.limit(one[ID], rest)
        return found

    def _readable(self, found: Sequence[Found]) -> Sequence[Found]:
        """The rows whose cancel mark can be read; the others are set aside."""
        damaged = [one for one in found if not isinstance(one[CANCEL], int)]
        if not damaged:
            return found
        values = [(unreadable_cancel(one[CANCEL]), one[PLACE]) for one in damaged]
        self.rows.connection.executemany(SET_ASIDE, values)
        return [one for one in found if one not in damaged]

    def _take(self, found: Sequence[Found]) -> list[Claim]:
        found = self._readable(found)
        if not found:
            return []
        epoch, owner = self.rows.epochs(), self.owner
        values: list[object] = []
        runs: list[tuple[Sequence[Any], QueueRow]] = []
        for one in found:
            priority, due, run_id, flow, crashes, cancel, limits, unfinished, rev, place, state = one[:WHOLE]
            values += (place, rev)
            rest = priority, crashes, bool(cancel), limits, unfinished
            runs.append((one[WHOLE:], claimed(flow, due, owner, epoch, rev, *rest)))
            if state is not None:
                self.places[run_id] = RowIds(epoch, state, place)
        many(self.rows.connection, TAKE, 2, values, owner, epoch)
        records = SqliteReader(self.rows.connection, self.rows.shard).claimed(runs)
        return [
            new_tuple(Claim, (new_tuple(Fence, (one[ID], epoch)), row, record))
            for one, (_run, row), record in zip(found, runs, records, strict=True)
        ]
