"""Pruning and checking of a PostgreSQL store."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from stepflow.drivers.port.queries import Condition
from stepflow.drivers.port.store import Maintenance
from stepflow.drivers.postgres import schema
from stepflow.drivers.postgres.arrays import restored, texts
from stepflow.drivers.postgres.conditions import conditions
from stepflow.drivers.postgres.connection import LONG_ANSWER_S
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.limits import forget
from stepflow.drivers.postgres.lists import FLOWS
from stepflow.drivers.postgres.lock_and_read import BEGIN
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import TransactionRunner
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.model.lifecycle import FINAL, SUSPECT

# A run ended after it was created, so the index by creation time bounds the search.
ENDED = (
    f"{FLOWS.replace('$2', '$1')} select s.id from flow cross join unnest($4::text[]) as u (status) cross join lateral ("
    "select x.id from stepflow.states x where x.shard = $1 and x.flow = flow.name and x.status = u.status"
    " and x.delay is null and x.created_at < $2 and x.committed_at < $2 and x.epoch is null"
    " and not exists (select 1 from stepflow.delays d where d.shard = x.shard and d.run_id = x.id and not d.fired)"
    " order by x.created_at, x.id limit $3 for no key update skip locked) s where flow.name is not null limit $3"
)
# Asked once the runs are locked: a delay may have been set since they were looked for.
DELAYED = "select run_id from stepflow.delays where shard = $1 and run_id = any($2::text[]) and not fired"
CHAIN = """
with recursive chain (rev) as (
    select rev from stepflow.states where shard = $1 and id = any($2::text[])
    union all
    select h.prev from chain c join stepflow.history h on h.shard = $1 and h.rev = c.rev where h.prev > 0
)
"""
# A revision that was pruned stays the newest if it was that.
FLOOR = """
insert into stepflow.meta (name, value)
select 'floor', max(rev) from stepflow.states where shard = $1 and id = any($2::text[])
on conflict (name) do update set value = greatest(meta.value, excluded.value)
"""
DELETIONS = (
    FLOOR,
    f"{CHAIN}delete from stepflow.history where shard = $1 and rev in (select rev from chain)",
    "delete from stepflow.events where shard = $1 and run_id = any($2::text[])",
    "delete from stepflow.delays where shard = $1 and run_id = any($2::text[])",
    "delete from stepflow.data where shard = $1 and run_id = any($2::text[])",
    "delete from stepflow.journal where shard = $1 and run_id = any($2::text[])",
    "delete from stepflow.labels where shard = $1 and id = any($2::text[])",
    "delete from stepflow.states where shard = $1 and id = any($2::text[])",
)

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "run {} has no history of its revision": "select s.id from stepflow.states s left join stepflow.history h"
        " on h.shard = s.shard and h.rev = s.rev and h.id = s.id where h.rev is null and s.delay is null",
        "run {} has no stored exchange": "select s.id from stepflow.states s left join stepflow.history h"
        " on h.shard = s.shard and h.rev = s.exchange_rev and h.id = s.id where h.exchange is null and s.delay is null",
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
        "run {} is queued in the wrong partition": "select id from stepflow.queue where (partition = 3) <> (owner <> '')"
        f" or partition <> 3 and (partition = 2) <> (crashes >= {SUSPECT} or blocked_by <> '') or partition = 1 and limits <> '' or partition = 4 and limits = ''",
        "an event of run {} belongs to no run": "select e.run_id from stepflow.events e left join stepflow.states s"
        " on s.shard = e.shard and s.id = e.run_id where s.id is null",
        "delay {} and its row to be claimed disagree on its being pending": "select coalesce(d.number, s.delay)::text"
        " from (select * from stepflow.delays where not fired) d full join (select * from stepflow.states where delay is not null)"
        " s on s.shard = d.shard and s.delay = d.number where d.number is null or s.id is null",
        "a journal row of {} belongs to no run": "select j.run_id from stepflow.journal j left join stepflow.states s"
        " on s.shard = j.shard and s.id = j.run_id where s.id is null",
        "a label of run {} belongs to no run": "select l.id from stepflow.labels l left join stepflow.states s"
        " on s.shard = l.shard and s.id = l.id where s.id is null",
    }
)
"""Problem -> query that finds the things that have it."""

SHOWN = 10  # things listed of one problem


class PostgresMaintenance(Maintenance):
    """Upkeep of one namespace; `check` looks at the whole schema."""

    def __init__(self, place: ServerTarget, route: Route, namespace: str) -> None:
        self._place, self._route, self._namespace = place, route, namespace

    @contextmanager
    def _runner(self) -> Iterator[tuple[TransactionRunner, Shards]]:
        connector = Connector(self._place, self._route)
        with connector.first() as connection:
            shards = schema.prepare(connection, self._place)
        runner = TransactionRunner(connector, 1)
        try:
            yield runner, Shards(self._namespace, shards)
        finally:
            runner.pool.close()

    def prune(self, before: int, limit: int) -> int:
        deleted = 0
        with self._runner() as (runner, shards):
            for shard in shards.all:
                left = limit - deleted
                if left > 0:
                    deleted += runner.run(lambda c, args=(shard, before, left): _prune(runner, c, *args))  # type: ignore[misc]
            runner.run(lambda c: forget(runner, c, shards.all[0], before))
        return deleted

    def check(self) -> list[str]:
        with self._runner() as (runner, _shards):
            return runner.run(lambda connection: _check(runner, connection), answer_s=LONG_ANSWER_S)

    def conditions(self, now: Callable[[], int]) -> list[Condition]:
        with self._runner() as (runner, _shards):
            return runner.run(lambda connection: conditions(connection, self._route, now))


def _prune(runner: TransactionRunner, connection: Connection, shard: str, before: int, limit: int) -> int:
    connection.execute(BEGIN)
    found = [row[0] for row in connection.execute(runner.sql(ENDED), (shard, before, limit, texts(sorted(FINAL))))]
    delayed = {row[0] for row in connection.execute(runner.sql(DELAYED), (shard, found))}
    ended = [run_id for run_id in found if run_id not in delayed]
    for statement in DELETIONS if ended else ():
        connection.execute(runner.sql(statement), (shard, ended))
    connection.execute("commit")
    return len(ended)


def _check(runner: TransactionRunner, connection: Connection) -> list[str]:
    problems = []
    connection.execute("begin isolation level repeatable read, read only")
    for text, query in CHECKS.items():
        rows = connection.execute(runner.sql(f"{query} limit {SHOWN}")).fetchall()
        problems += [text.format(repr(restored(row[0]))) for row in rows]
    connection.execute("commit")
    return problems
