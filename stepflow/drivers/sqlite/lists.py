"""lists: lists of runs. Each is read in all ways in which its runs can be found, until the first one has a page.

What no way looks at costs nothing: open runs cost the lists of ended ones nothing, and the other way round, and runs with a label cost the lists of others nothing.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import define

from stepflow.drivers.port.queries import ListKey, RunQuery
from stepflow.drivers.port.stored import in_order
from stepflow.drivers.sqlite.bulk import many_rows
from stepflow.drivers.sqlite.list_ways import ROW, SLEEPING_FLOWS, ListWay, Row, SqliteSearch, Stream
from stepflow.drivers.sqlite.rows import QUEUE, STATE

RUN = f"{STATE}, s.flow, s.input_hash, s.created_at"
_FLOW = (
    "SELECT x.flow FROM stepflow_states AS x INDEXED BY stepflow_states_listed WHERE x.shard = {shard}{more}"
    " ORDER BY x.flow LIMIT 1"
)


def flows_sql(shard: str) -> str:
    """The recursive table `flow` of the flows (name) that created runs, by leaping from one to the next; `shard` is a parameter."""
    first, following = _FLOW.format(shard=shard, more=""), _FLOW.format(shard=shard, more=" AND x.flow > flow.name")
    return (
        f"WITH RECURSIVE flow(name) AS (SELECT ({first}) UNION ALL"
        f" SELECT ({following}) FROM flow WHERE flow.name IS NOT NULL)"
    )


FLOWS = f"{flows_sql('?1')} SELECT name FROM flow WHERE name IS NOT NULL"
_COLUMNS = f"SELECT {RUN}, {QUEUE}"
OF_IDS = f"{_COLUMNS} FROM stepflow_states AS s {ROW} WHERE s.shard = ?1 AND s.rev > 0 AND s.id IN (VALUES {{rows}})"
# Two of the sets of ids may have the same one.
_OF_MEMBERS = (
    "FROM (SELECT DISTINCT id FROM ({})) AS l CROSS JOIN stepflow_states AS s ON s.shard = :shard AND s.id = l.id"
)


@define
class SqliteLists:
    """The lists of one shard on one connection."""

    connection: sqlite3.Connection
    shard: str

    def runs(self, query: RunQuery) -> tuple[list[Row], ListKey | None]:
        """The rows (columns `RUN` and `QUEUE`) of the page, and the key at which it ended early."""
        if query.ids is not None:
            return many_rows(self.connection, OF_IDS, query.ids, self.shard), None
        if not query.groups or query.limit <= 0:
            return [], None
        search = SqliteSearch(query, self.shard)
        ways = search.ways(self._flows, self._to_flows)
        best: tuple[list[Row], ListKey | None] = [], None
        for most in query.looks:
            for way in ways:
                if way.members and self._has_more(search, way.members, most):
                    continue
                rows, end = self._read(search, way, most)
                if len(rows) >= query.limit or end is None:
                    return rows, None
                if best[1] is None or (end > best[1] if query.ascending else end < best[1]):
                    best = rows, end
        return best

    def _read(self, search: SqliteSearch, way: ListWay, most: int) -> tuple[list[Row], ListKey | None]:
        """The rows of a way up to the key at which `most` runs of a stream have been looked at; None: all rows."""
        end = self._end(search, way.streams, most)
        found = [row for stream in way.streams for row in self._rows(search, stream, end)]
        if way.members:
            key = {"id": "0, s.id", "due": "q.due, q.id"}.get(search.query.order, "s.created_at, s.id")
            terms = search.member_terms(way.members)
            found += self._rows(search, Stream(_OF_MEMBERS.format(way.members), [], terms, key=key), end)
        found = in_order(found, search.key_of, reverse=not search.query.ascending)
        return found[: search.query.limit], end

    def _end(self, search: SqliteSearch, streams: Sequence[Stream], most: int) -> ListKey | None:
        """The first key at which `most` runs of a stream will have been looked at, if its runs must meet conditions."""
        found: list[ListKey] = []
        for stream in streams:
            if stream.terms:
                order = search.ordered(stream.key)
                edge = f"SELECT {stream.key} {stream.source} {_where(stream.keys)} {order} LIMIT 1 OFFSET :scan"
                found += self.connection.execute(edge, {**search.values, **stream.values, "scan": most})
        return (min if search.query.ascending else max)(found, default=None)

    def _rows(self, search: SqliteSearch, stream: Stream, end: ListKey | None) -> list[Row]:
        """The rows of one stream, those up to `end`."""
        terms, values = [*stream.keys, *stream.terms], search.values | stream.values
        if end is not None:
            terms.append(f"({stream.key}) {'<=' if search.query.ascending else '>='} (:end_at, :end_id)")
            values |= {"end_at": end[0], "end_id": end[1]}
        order = search.ordered(stream.key)
        text = f"{_COLUMNS} {stream.source} {stream.join} {_where(terms)} {order} LIMIT :limit"
        return self.connection.execute(text, values).fetchall()

    def _has_more(self, search: SqliteSearch, members: str, most: int) -> bool:
        """Whether a set has more than `most` members."""
        count = f"SELECT count(*) FROM (SELECT 1 FROM ({members}) LIMIT :most)"
        return int(self.connection.execute(count, {**search.values, "most": most + 1}).fetchone()[0]) > most

    def _flows(self) -> list[str]:
        return [name for (name,) in self.connection.execute(FLOWS, (self.shard,))]

    def _to_flows(self) -> list[str]:
        return [name for (name,) in self.connection.execute(SLEEPING_FLOWS, {"shard": self.shard})]


def _where(terms: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(terms)}"
