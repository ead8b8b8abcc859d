"""Citus: how the tables are distributed over the workers of a cluster, and how a session finds out that they are."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Collection, Sequence

from stepflow.drivers.port.queries import Condition
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.transactions import for_schema
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StoreError

SHARDS = 8  # of a store that is made for Citus, unless the URL says another number
# All by the column `shard`, and equal values of it on one worker: what belongs to a run is joined and committed there.
DISTRIBUTED = (
    "states", "history", "queue", "labels", "events", "journal", "delays", "data", "counters", "begun", "dedup_keys",
    "owners", "inbox", "conflicts", "tallied", "paused_flows",
)  # fmt: skip
REFERENCE = ("schedules", "meta")  # whole on every node
EXTENSION = "select 1 from pg_catalog.pg_extension where extname = 'citus'"
HAS_CATALOG = "to_regclass('pg_catalog.pg_dist_partition') is not null"
IN_CATALOG = (
    "select c.relname, p.partmethod::text, p.colocationid from pg_catalog.pg_dist_partition p"
    " join pg_catalog.pg_class c on c.oid = p.logicalrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = $1"
)
NOTED = "select 1 from stepflow.meta where name = 'citus'"
TABLES = "select tablename from pg_catalog.pg_tables where schemaname = $1"
_ONCE = (
    " where not exists (select 1 from pg_catalog.pg_dist_partition where logicalrelid = 'stepflow.{table}'::regclass)"
)


def distribution(place: ServerTarget) -> list[str]:
    """The statements that distribute the tables of a store; those that are distributed already stay as they are."""
    # A block, so that the change is not planned where the tables are distributed already.
    spread = (
        "do $$ begin if exists (select 1" + _ONCE.format(table="meta") + ") then"
        f" update stepflow.meta set value = {SHARDS} where name = 'shards' and value = 1"
        " and not exists (select 1 from stepflow.states); end if; end $$"
    )
    texts = [] if place.shards else [spread]
    texts += [
        f"select create_distributed_table('stepflow.{table}', 'shard', colocate_with => '"
        + ("stepflow.states" if number else "none")
        + "')"
        + _ONCE.format(table=table)
        for number, table in enumerate(DISTRIBUTED)
    ]
    texts += [f"select create_reference_table('stepflow.{table}')" + _ONCE.format(table=table) for table in REFERENCE]
    texts.append("insert into stepflow.meta (name, value) values ('citus', 1) on conflict (name) do nothing")
    return [for_schema(text, place.schema) for text in texts]


def is_distributed(connection: Connection, place: ServerTarget) -> bool:
    """Whether the store was distributed, by our statements or by others."""
    if connection.execute(for_schema(NOTED, place.schema)).fetchall():
        return True
    return any(name == "states" for name, _method, _group in _catalog(connection, place))


def distribute(connection: Connection, place: ServerTarget) -> None:
    """Distribute the tables of a store that no session uses; once more if it was interrupted.

    Raises StoreError where the database has no Citus.
    """
    if not connection.execute(EXTENSION).fetchall():
        raise StoreError(
            f"{place.url}: the database has no extension citus: connect to the coordinator of a cluster, and run"
            " `create extension citus` there first; nothing was changed"
        )
    for statement in distribution(place):
        connection.execute(statement)


def condition(connection: Connection, place: ServerTarget) -> Condition:
    """Whether every table is distributed as the statements of a session need it."""
    catalog = {name: (method, group) for name, method, group in _catalog(connection, place)}
    tables = {str(name) for (name,) in connection.execute(TABLES, (place.schema,))}
    if not place.citus:
        return Condition(
            "distribution", not catalog, _listed(catalog, "distributed, but not by stepflow migrate --citus")
        )
    wrong = sorted(name for name in DISTRIBUTED if catalog.get(name, ("", 0))[0] != "h")
    wrong += sorted(name for name in REFERENCE if catalog.get(name, ("", 0))[0] != "n")
    wrong += sorted(tables - {*DISTRIBUTED, *REFERENCE})
    apart = {catalog[name][1] for name in DISTRIBUTED if name in catalog}
    if wrong:
        return Condition("distribution", False, _listed(wrong, "not distributed: run stepflow migrate --citus"))
    text = "by Citus, all tables colocated" if len(apart) == 1 else "not all tables are colocated: distribute them anew"
    return Condition("distribution", len(apart) == 1, text)


def _catalog(connection: Connection, place: ServerTarget) -> Sequence[tuple[str, str, int]]:
    """Table, method and colocation group of the tables that Citus knows."""
    if not connection.execute(f"select {HAS_CATALOG}").fetchall()[0][0]:
        return []
    return connection.execute(IN_CATALOG, (place.schema,)).fetchall()


def _listed(names: Collection[str], problem: str) -> str:
    return f"{', '.join(names)}: {problem}" if names else "none: all tables are on this server"
