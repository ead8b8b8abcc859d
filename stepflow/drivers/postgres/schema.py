"""The schema's numbered migrations, applied under a lock when a store is opened."""

from __future__ import annotations

from importlib.resources import files

import psycopg

from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.errors import translate
from stepflow.drivers.postgres.transactions import for_schema
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import ReadOnly, SchemaMismatch
from stepflow.model.shard import fnv1a_64

# Not to_regclass and the like: they may answer from a cache that is older than the lock.
HAS_SCHEMA = "select 1 from pg_catalog.pg_namespace where nspname = $1"
HAS_META = (
    "select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = $1 and c.relname = 'meta'"
)


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration in order, written for the schema `stepflow`."""
    folder = files("stepflow.drivers.postgres") / "migrations"
    found = [(int(file.name.partition("_")[0]), file.read_text("utf-8")) for file in folder.iterdir()]
    return sorted(found)


def lock_key(schema: str, purpose: str) -> int:
    """The key of an advisory lock, a signed 64-bit number; `purpose` tells our locks apart."""
    value = fnv1a_64(f"stepflow/{schema}/{purpose}")
    return value - (1 << 64) if value >> 63 else value


def prepare(connection: Connection, place: ServerTarget) -> int:
    """Create or migrate the schema if needed and check it; returns the number of shards.

    Raises SchemaMismatch for a newer schema or another number of shards, ReadOnly where it cannot be made.
    """
    try:
        if _version(connection, place) < migrations()[-1][0]:
            _migrate(connection, place)
        return _checked_shards(connection, place)
    except psycopg.Error as error:
        raise translate(error, place.url) from error


def _version(connection: Connection, place: ServerTarget) -> int:
    if not connection.execute(HAS_META, (place.schema,)).fetchall():
        return 0
    last, newest = _meta(connection, place, "schema"), migrations()[-1][0]
    if last > newest:
        raise SchemaMismatch(
            f"{place.url} has schema {last}, this version of stepflow knows {newest}: "
            "update stepflow here, or use another schema= in the URL; nothing was changed"
        )
    return last


def _meta(connection: Connection, place: ServerTarget, name: str) -> int:
    text = for_schema("select value from stepflow.meta where name = $1", place.schema)
    row = connection.execute(text, (name,)).fetchone()
    if row is None:
        raise SchemaMismatch(f"{place.url}: its table meta has no {name!r}: use another schema= in the URL")
    return int(row[0])


def store_id(connection: Connection, place: ServerTarget) -> int:
    """The number by which a store is told from others."""
    return _meta(connection, place, "store")


def _checked_shards(connection: Connection, place: ServerTarget) -> int:
    shards = _meta(connection, place, "shards")
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
        last = _version(connection, place)
        if not connection.execute(HAS_SCHEMA, (place.schema,)).fetchall():
            connection.execute(f'create schema "{place.schema}"')
        for number, script in migrations():
            if number > last:
                connection.execute(for_schema(script, place.schema))
        for note in _notes(place, migrations()[-1][0], last):
            connection.execute(note)


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
