"""Pruning and checking of a PostgreSQL store."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from types import MappingProxyType

from attrs import evolve

from stepflow.drivers.port.deltas import FORMAT, MARK
from stepflow.drivers.port.pruning import Candidates, Pruned
from stepflow.drivers.port.queries import Condition, PostConflict
from stepflow.drivers.port.store import Maintenance
from stepflow.drivers.postgres import citus, schema
from stepflow.drivers.postgres.arrays import restored, texts
from stepflow.drivers.postgres.conditions import conditions
from stepflow.drivers.postgres.connection import LONG_ANSWER_S
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.inbox import CONFLICTS
from stepflow.drivers.postgres.prune import PostgresPruning
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import TransactionRunner
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.model.lifecycle import SUSPECT

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "run {} has no history of its revision": "select s.id from stepflow.states s left join stepflow.history h"
        " on h.shard = s.shard and h.rev = s.rev and h.id = s.id where h.rev is null and s.delay is null and s.rev > 0",
        "run {} has no stored exchange": "select s.id from stepflow.states s left join stepflow.history h"
        " on h.shard = s.shard and h.rev = s.exchange_rev and h.id = s.id where h.exchange is null and s.delay is null and s.rev > 0",
        "the exchange of revision {} builds on one that is missing": "select h.rev::text from stepflow.history h"
        " cross join lateral json_array_elements_text(substr(split_part(h.exchange, E'\\n', 1), 3)::json)"
        " with ordinality as part (rev, n) left join stepflow.history p on p.shard = h.shard and p.rev = part.rev::bigint"
        f" where left(h.exchange, 2) = '{MARK}{FORMAT}' and part.n > 2 and p.exchange is null",
        "the State of run {} differs from its history": "select s.id from stepflow.states s join stepflow.history h"
        " on h.shard = s.shard and h.rev = s.rev where s.delay is null and (h.transition <> s.transition or h.labels <> s.labels"
        " or h.annotations <> s.annotations or h.exchange_rev <> s.exchange_rev)",
        "revision {} follows one that is missing": "select h.rev::text from stepflow.history h left join stepflow.history p"
        " on p.shard = h.shard and p.rev = h.prev and p.id = h.id where h.prev > 0 and p.rev is null",
        "revision {} belongs to no run": "select h.rev::text from stepflow.history h left join stepflow.states s"
        " on s.shard = h.shard and s.id = h.id where s.id is null",
        "run {} and its queue row disagree on there being one": "select coalesce(s.id, q.id) from stepflow.states s"
        " full join stepflow.queue q on q.shard = s.shard and q.id = s.id"
        " where s.id is null or (q.id is null) <> (s.epoch is null)",
        "run {} is queued in the wrong partition": "select q.id from stepflow.queue q where (partition = 3) <> (owner <> '')"
        f" or partition <> 3 and (partition = 5) <> paused or partition not in (3, 5)"
        f" and (partition = 2) <> (crashes >= {SUSPECT} or blocked_by <> '') or partition = 1 and limits <> '' or partition = 4 and limits = ''",
        "an event of run {} belongs to no run": "select e.run_id from stepflow.events e left join stepflow.states s"
        " on s.shard = e.shard and s.id = e.run_id where s.id is null",
        "delay {} and its row to be claimed disagree on its being pending": "select coalesce(d.number, s.delay)::text"
        " from (select * from stepflow.delays x where not fired) d full join (select * from stepflow.states x where delay is not null)"
        " s on s.shard = d.shard and s.delay = d.number where d.number is null or s.id is null",
        "a journal row of {} belongs to no run": "select j.run_id from stepflow.journal j left join stepflow.states s"
        " on s.shard = j.shard and s.id = j.run_id where s.id is null",
        "a label of run {} belongs to no run": "select l.id from stepflow.labels l left join stepflow.states s"
        " on s.shard = l.shard and s.id = l.id where s.id is null",
    }
)
"""Problem -> query that finds the things that have it."""

TABLE = re.compile(r"stepflow\.(\w+)")
SHOWN = 10  # things listed of one problem


class PostgresMaintenance(Maintenance):
    """Upkeep of one namespace; `check` looks at the whole schema."""

    def __init__(self, place: ServerTarget, route: Route, namespace: str) -> None:
        self._place, self._route, self._namespace = place, route, namespace
        self._candidates = Candidates(0)

    @contextmanager
    def _runner(self) -> Iterator[tuple[TransactionRunner, Shards]]:
        with Connector(self._place, self._route).first() as connection:
            facts = schema.prepare(connection, self._place)
        place = evolve(self._place, citus=facts.citus)
        runner = TransactionRunner(Connector(place, self._route), 1)
        try:
            yield runner, Shards(self._namespace, facts.shards)
        finally:
            runner.pool.close()

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        if self._candidates.before != before:
            self._candidates = Candidates(before)
        with self._runner() as (runner, shards):
            yield from PostgresPruning(runner, shards, self._candidates, limit, now, keep_until).pieces()

    def check(self) -> list[str]:
        with self._runner() as (runner, _shards):
            return runner.run(lambda connection: _check(runner, connection), answer_s=LONG_ANSWER_S)

    def conflicts(self, limit: int) -> list[PostConflict]:
        with self._runner() as (runner, shards):
            rows = runner.run(lambda c: c.execute(runner.sql(CONFLICTS), (texts(shards.all), limit)).fetchall())
        return [PostConflict(restored(run_id), posted, restored(reason), at) for run_id, posted, reason, at in rows]

    def conditions(self, now: Callable[[], int]) -> list[Condition]:
        with self._runner() as (runner, shards):
            found = runner.run(lambda connection: conditions(connection, self._route, now, runner.sql))
            more = runner.run(lambda connection: [_number_of(shards), citus.condition(connection, runner.place)])
            return [*found, *more]


def _check(runner: TransactionRunner, connection: Connection) -> list[str]:
    problems = []
    connection.execute("begin isolation level repeatable read, read only")
    shards = _every_shard(runner, connection) if runner.place.citus else [None]
    for (text, query), shard in product(CHECKS.items(), shards):
        if shard is not None:
            query = TABLE.sub(r"(select * from stepflow.\1 where shard = $1)", query)
        values = () if shard is None else (shard,)
        rows = connection.execute(runner.sql(f"{query} limit {SHOWN}"), values).fetchall()
        problems += [text.format(repr(restored(row[0]))) for row in rows]
    connection.execute("commit")
    return problems


def _every_shard(runner: TransactionRunner, connection: Connection) -> list[str]:
    """The shards of all namespaces: Citus joins no rows of different workers."""
    tables = sorted({table for query in CHECKS.values() for table in TABLE.findall(query)})
    found = {
        row[0]
        for table in tables
        for row in connection.execute(runner.sql(f"select distinct shard from stepflow.{table}"))
    }
    return sorted(found)


def _number_of(shards: Shards) -> Condition:
    """How many shards the store has; every session has as many, since none opens a store with another number."""
    return Condition("shards", True, f"{shards.number}: shards= in a URL is this number or left out")
