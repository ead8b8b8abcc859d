"""Lists of runs. Each is read in all ways in which its runs can be found, until the first one has a page.

What no way looks at costs nothing: open runs cost the lists of ended ones nothing, and the other way round, and runs with a label cost the lists of others nothing.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.queries import ListKey, RunList, RunQuery
from stepflow.drivers.postgres.arrays import restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.list_ways import COLUMNS, ROW, ListPart, ways_of
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.rows import Shards, read_queue, read_record
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all

OF_IDS = (
    f"select {COLUMNS} from unnest($1::text[]) as u (id) cross join {found('states', 'x.shard = $2 and x.id = u.id', 'x.*')} s left join {ROW} q on true"
    " where s.delay is null and s.rev > 0"
)

ListWay = list[ListPart]
"""The parts of one way in all shards."""


@define
class Lists:
    """The lists of one namespace on one connection."""

    runner: TransactionRunner
    shards: Shards
    connection: Connection

    def runs(self, query: RunQuery) -> RunList:
        """The runs that the query asks for, in its order."""
        if query.ids is not None:
            parts = self.shards.split(query.ids).items()
            return RunList(self._records((self.runner.sql(OF_IDS), (texts(ids), shard)) for shard, ids in parts))
        if not query.groups or query.limit <= 0:
            return RunList()
        # One shard at a time: its index has the order.
        of_shards = [ways_of(query, shard) for shard in self.shards.all]
        ways: list[ListWay] = [[part for parts in same for part in parts] for same in zip(*of_shards, strict=True)]
        best = RunList()
        for most in query.looks:
            for page in self._tries(query, ways, most):
                if len(page) >= query.limit or page.end is None:
                    return RunList(page)
                if best.end is None or (page.end > best.end if query.ascending else page.end < best.end):
                    best = page
        return best

    def _tries(self, query: RunQuery, ways: Sequence[ListWay], most: int) -> Iterator[RunList]:
        """The page of each way that can be read by looking at about `most` runs, those first whose page is the last one."""
        for way, end in sorted(self._ends(query, ways, most), key=lambda one: one[1] is not None):
            statements = (statement for part in way for statement in part.pages(end))
            found = self._records((self.runner.sql(text), values) for text, values in statements)
            found.sort(
                key=lambda record: (query.key_of(record)[0], stored(record.state.id)), reverse=not query.ascending
            )
            yield RunList(found[: query.limit], end)

    def _ends(self, query: RunQuery, ways: Sequence[ListWay], most: int) -> list[tuple[ListWay, ListKey | None]]:
        """The ways that look at about `most` runs, and the first key at which each will have done so; None: it reads all of its runs."""
        counts = [[count for part in way if (count := part.count(most)) is not None] for way in ways]
        large = [sum(row[0][0] for row in rows) > most for rows in self._answers(counts)]
        small = [way for way, too_large in zip(ways, large, strict=True) if not too_large]
        edges = [[edge for part in way for edge in part.edges(most)] for way in small]
        if [] in edges:  # it reads all of its runs: the others need no look
            return [(small[edges.index([])], None)]
        found = list[tuple[ListWay, ListKey | None]]()
        for way, rows in zip(small, self._answers(edges), strict=True):
            keys = [(int(at), str(run_id)) for part in rows for at, run_id in part]
            end = (min if query.ascending else max)(keys, default=None)
            found.append((way, None if end is None else (end[0], restored(end[1]))))
        return found

    def _answers(self, asked: Sequence[Sequence[Statement]]) -> list[list[Sequence[tuple[Any, ...]]]]:
        """The rows of each statement, in the same lists, in one round trip."""
        texts = [(self.runner.sql(text), values) for part in asked for text, values in part]
        answers = iter(fetch_all(self.connection, *texts) if texts else ())
        return [[next(answers) for _statement in part] for part in asked]

    def _records(self, statements: Iterable[Statement]) -> list[Record]:
        parts = fetch_all(self.connection, *statements)
        return [read_record(row, read_queue(row[9:22])) for rows in parts for row in rows]
