"""SqliteMaintenance: prunes and checks a SQLite store."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from stepflow.drivers.port.deltas import FORMAT, MARK
from stepflow.drivers.port.disk_space import disk_space
from stepflow.drivers.port.pruning import Candidates, Pruned
from stepflow.drivers.port.queries import Condition, PostConflict
from stepflow.drivers.port.store import Maintenance
from stepflow.drivers.sqlite import inbox
from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.meta import damages
from stepflow.drivers.sqlite.prune import SqlitePruning
from stepflow.errors import Corrupt
from stepflow.model.lifecycle import SUSPECT
from stepflow.model.shard import shard_of

MOST_LOG_BYTES = 256 << 20  # of the write-ahead log, which is truncated to a quarter of that when no reader needs it
CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "run {} has no history of its revision": "SELECT s.id FROM stepflow_states AS s LEFT JOIN stepflow_history AS h"
        " ON h.rev = s.rev AND h.shard = s.shard AND h.id = s.id WHERE h.rev IS NULL AND s.rev > 0",
        "run {} has no stored exchange": "SELECT s.id FROM stepflow_states AS s LEFT JOIN stepflow_history AS h"
        " ON h.rev = s.exchange_rev AND h.id = s.id WHERE h.exchange IS NULL AND s.rev > 0",
        "the exchange of revision {} builds on one that is missing": "SELECT h.rev FROM stepflow_history AS h,"
        " json_each(substr(h.exchange, 3, instr(h.exchange, char(10)) - 3)) AS part LEFT JOIN stepflow_history AS p"
        f" ON p.rev = part.value WHERE substr(h.exchange, 1, 2) = '{MARK}{FORMAT}' AND part.key > 1 AND p.exchange IS NULL",
        "the State of run {} differs from its history": "SELECT s.id FROM stepflow_states AS s JOIN stepflow_history AS h"
        " ON h.rev = s.rev WHERE h.transition <> s.transition OR h.labels <> s.labels OR h.annotations <> s.annotations",
        "revision {} follows one that is missing": "SELECT h.rev FROM stepflow_history AS h LEFT JOIN stepflow_history AS p"
        " ON p.rev = h.prev AND p.shard = h.shard AND p.id = h.id WHERE h.prev > 0 AND p.rev IS NULL",
        "revision {} belongs to no run": "SELECT h.rev FROM stepflow_history AS h LEFT JOIN stepflow_states AS s"
        " ON s.shard = h.shard AND s.id = h.id WHERE s.id IS NULL",
        "the queue row of {} belongs to no run": "SELECT q.id FROM stepflow_queue AS q LEFT JOIN stepflow_states AS s"
        " ON s.shard = q.shard AND s.id = q.id LEFT JOIN stepflow_delays AS d ON d.shard = q.shard AND d.key = q.id"
        " AND d.fired = 0 WHERE s.id IS NULL AND d.key IS NULL",
        "delay {} has no stored exchange": "SELECT d.number FROM stepflow_delays AS d LEFT JOIN stepflow_history AS h"
        " ON h.rev = d.exchange_rev AND h.id = d.run_id WHERE d.fired = 0 AND d.exchange_rev > 0 AND h.exchange IS NULL",
        "delay {} is pending, but nothing will claim it": "SELECT d.number FROM stepflow_delays AS d"
        " LEFT JOIN stepflow_queue AS q ON q.shard = d.shard AND q.id = d.key WHERE d.fired = 0 AND q.id IS NULL",
        "delay {} has a number that is given again": "SELECT d.number FROM stepflow_delays AS d"
        " LEFT JOIN stepflow_counters AS c ON c.shard = d.shard AND c.name = 'delays' WHERE d.number > ifnull(c.last, 0)",
        "data {} has a number that is given again": "SELECT d.rev FROM stepflow_data AS d"
        " LEFT JOIN stepflow_counters AS c ON c.shard = d.shard AND c.name = 'data' WHERE d.rev > ifnull(c.last, 0)",
        "a former label of run {} belongs to no run": "SELECT l.id FROM stepflow_past_labels AS l"
        " LEFT JOIN stepflow_states AS s ON s.shard = l.shard AND s.id = l.id WHERE s.id IS NULL",
        "run {} is queued in the wrong partition": "SELECT id FROM stepflow_queue WHERE owner = ''"
        f" AND (paused = 0 AND crashes >= {SUSPECT}) <> (partition = 2) OR owner = '' AND paused <> (partition = 3)"
        " OR owner = '' AND blocked_by <> '' AND partition = 0",
        "an event of run {} belongs to no run": "SELECT e.run_id FROM stepflow_events AS e LEFT JOIN stepflow_states AS s"
        " ON s.shard = e.shard AND s.id = e.run_id WHERE s.id IS NULL",
        "a journal row of {} belongs to no run": "SELECT j.run_id FROM stepflow_journal AS j LEFT JOIN stepflow_states AS s"
        " ON s.shard = j.shard AND s.id = j.run_id LEFT JOIN stepflow_delays AS d ON d.shard = j.shard AND d.key = j.run_id"
        " AND d.fired = 0 WHERE s.id IS NULL AND d.key IS NULL",
        "a label of run {} belongs to no run": "SELECT l.id FROM stepflow_labels AS l LEFT JOIN stepflow_states AS s"
        " ON s.shard = l.shard AND s.id = l.id WHERE s.id IS NULL",
    }
)
"""Problem -> query that finds the records with it."""

SHOWN = 10  # records that are listed per problem


class SqliteMaintenance(Maintenance):
    """Maintenance of one namespace; `check` reads the whole file."""

    def __init__(self, open_database: Callable[[], SqliteDatabase], namespace: str) -> None:
        self._open, self._shard = open_database, shard_of(namespace, "", 1)
        self._candidates = Candidates(0)

    @contextmanager
    def _database(self) -> Iterator[SqliteDatabase]:
        database = self._open()
        try:
            yield database
        finally:
            database.close()

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        if self._candidates.before != before:
            self._candidates = Candidates(before)
        with self._database() as database:
            yield from SqlitePruning(database, self._shard, self._candidates, limit, now, keep_until).pieces()

    def conflicts(self, limit: int) -> list[PostConflict]:
        with self._database() as database, database.reading() as reader:
            return inbox.conflicts(reader, self._shard, limit)

    def conditions(self, now: Callable[[], int]) -> list[Condition]:  # noqa: ARG002
        with self._database() as database:
            log = database.path.with_name(f"{database.path.name}-wal")
            size = log.stat().st_size if log.exists() else 0
        advice = ": a reader holds an old snapshot; end its transaction" if size > MOST_LOG_BYTES else ""
        log_size = Condition("write-ahead log", size <= MOST_LOG_BYTES, f"{size / (1 << 20):.1f} MB{advice}")
        return [log_size, disk_space(log.parent)]

    def check(self) -> list[str]:
        try:
            return self._problems()
        except Corrupt as error:
            return [str(error)]

    def _problems(self) -> list[str]:
        with self._database() as database, database.reading() as reader:
            found = [row[0] for row in reader.execute("PRAGMA quick_check")]
            problems = [f"SQLite: {text}" for text in found if text != "ok"]
            if problems:
                return problems
            problems += damages(reader)
            for text, query in CHECKS.items():
                things = reader.execute(f"{query} LIMIT {SHOWN}")
                problems += [text.format(repr(row[0])) for row in things]
            return problems
