"""The schema's numbered migrations, applied under a lock when a store is opened."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import psycopg
from attrs import frozen

from stepflow.drivers.postgres import citus
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.errors import translate
from stepflow.drivers.postgres.transactions import for_schema
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import ReadOnly, SchemaMismatch
from stepflow.model.shard import fnv1a_64

# Not to_regclass and the like: they may answer from a cache that is older than the lock.
HAS_SCHEMA = "select 1 from pg_catalog.pg_namespace where nspname = $1"
HAS_META = (
    "select exists (select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = $1 and c.relname = 'meta')"
)
# No parameter: Citus, of which this connection does not know, makes no generic plan of it.
META = "select name, value from stepflow.meta"


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration in order, written for the schema `stepflow`."""
    return sorted((_number_of(file.name), file.read_text("utf-8")) for file in _folder().iterdir())


def tables() -> str:
    """The SQL that makes at once what all migrations make one after another."""
    return (files("stepflow.drivers.postgres") / "schema.sql").read_text("utf-8")


def _folder() -> Traversable:
    return files("stepflow.drivers.postgres") / "migrations"


def _number_of(name: str) -> int:
    return int(name.partition("_")[0])


@cache
def newest() -> int:
    """The number of the last migration that this version knows; no script is read for that."""
    return max(_number_of(file.name) for file in _folder().iterdir())


def lock_key(schema: str, purpose: str) -> int:
    """The key of an advisory lock, a signed 64-bit number; `purpose` tells our locks apart."""
    value = fnv1a_64(f"stepflow/{schema}/{purpose}")
    return value - (1 << 64) if value >> 63 else value


@frozen
class Facts:
    """What a store is: the number of its shards, the number by which it is told from others, whether Citus distributes it."""

    shards: int
    store: int
    citus: bool


def prepare(connection: Connection, place: ServerTarget) -> Facts:
    """Create or migrate the schema if needed and check it.

    Raises SchemaMismatch for a newer schema or another number of shards, ReadOnly where it cannot be made.
    """
    try:
        (has_meta, may_be_distributed), *_ = connection.execute(
            f"{HAS_META}, {citus.HAS_CATALOG}", (place.schema,)
        ).fetchall()
        meta = _read_meta(connection, place) if has_meta else {}
        if _version(meta, place) < newest():
            _migrate(connection, place)
            meta = _read_meta(connection, place)
        distributed = "citus" in meta or (may_be_distributed and citus.is_distributed(connection, place))
        return Facts(_checked_shards(meta, place), _number(meta, place, "store"), distributed)
    except psycopg.Error as error:
        raise translate(error, place.url) from error


def _read_meta(connection: Connection, place: ServerTarget) -> dict[str, int]:
    return dict(connection.execute(for_schema(META, place.schema)).fetchall())


def _version(meta: Mapping[str, int], place: ServerTarget) -> int:
    """The number of the last migration, 0 without a table of facts."""
    if not meta:
        return 0
    last = _number(meta, place, "schema")
    if last > newest():
        raise SchemaMismatch(
            f"{place.url} has schema {last}, this version of stepflow knows {newest()}: "
            "update stepflow here, or use another schema= in the URL; nothing was changed"
        )
    return last


def _number(meta: Mapping[str, int], place: ServerTarget, name: str) -> int:
    if name not in meta:
        raise SchemaMismatch(f"{place.url}: its table meta has no {name!r}: use another schema= in the URL")
    return int(meta[name])


def _checked_shards(meta: Mapping[str, int], place: ServerTarget) -> int:
    shards = _number(meta, place, "shards")
    if place.shards not in (None, shards):
        raise SchemaMismatch(
            f"{place.url} has {shards} shards, shards={place.shards} was given: leave shards= out to open it; "
            "the number is fixed when a store is made"
        )
    return shards


def _migrate(connection: Connection, place: ServerTarget) -> None:
    """Bring the schema up to date; others who want to do the same wait."""
    row = connection.execute("show transaction_read_only").fetchone()
    if row and row[0] == "on":
        raise ReadOnly(
            f"{place.url}: the schema {place.schema!r} must be made or migrated: connect to the primary server"
        )
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock($1)", (lock_key(place.schema, "migrate"),))
        (has_meta,) = connection.execute(HAS_META, (place.schema,)).fetchall()[0]
        last = _version(_read_meta(connection, place) if has_meta else {}, place)
        if not connection.execute(HAS_SCHEMA, (place.schema,)).fetchall():
            connection.execute(f'create schema "{place.schema}"')
        for script in [script for number, script in migrations() if number > last] if last else [tables()]:
            connection.execute(for_schema(script, place.schema))
        for note in _notes(place, newest(), last):
            connection.execute(note)
        if last and citus.is_distributed(connection, place):
            citus.distribute(connection, place)  # tables that the migrations made


def _notes(place: ServerTarget, number: int, last: int) -> list[str]:
    """The statements that note which migration was the last, after those up to `last`; and for a new store, what it is."""
    note = "insert into stepflow.meta (name, value) values ('{}', {}) on conflict (name) do update set value = excluded.value"
    values = {"schema": str(number)}
    if not last:
        values |= {"shards": str(place.shards or 1), "store": "(random() * 9e15)::bigint"}
    return [for_schema(note.format(name, value), place.schema) for name, value in values.items()]


def scripts(place: ServerTarget) -> list[tuple[int, str]]:
    """The migrations for this place, each as one script that may be run by hand instead."""
    found: list[tuple[int, str]] = []
    for number, script in migrations():
        before = [] if found else [f'create schema if not exists "{place.schema}"']
        parts = [*before, for_schema(script, place.schema).rstrip().rstrip(";"), *_notes(place, number, number - 1)]
        found.append((number, "".join(f"{part};\n" for part in parts)))
    return found
