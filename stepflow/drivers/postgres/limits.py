"""Flow control in the PostgreSQL tables: what stands against limits, when runs began, and which deduplication keys hold."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stepflow.drivers.port.commit import Commit, DedupKey
from stepflow.drivers.postgres.arrays import numbers, restored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.held_limits import HeldReading
from stepflow.drivers.postgres.lookup import either, found
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.server_clock import LOCK_AND_WAITED
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.model.limits import Limit, LimitUsage, rated

GUARD = "select pg_advisory_xact_lock($1)"
# A row is the starts of one claim, so a window of many starts has few rows.
BEGUN = """
select t.key, b.at, b.runs from unnest($2::text[], $3::bigint[], $4::bigint[]) as t (key, since, most), lateral (
    select at, runs from stepflow.begun where shard = $1 and key = t.key and at > t.since order by at desc limit t.most) b
"""
BEGIN_ALL = (
    "insert into stepflow.begun (shard, key, at, runs) select $1, t.key, $3, count(*) from unnest($2::text[]) as t (key)"
    " group by t.key"
)
_OLD = (
    "select x.ctid as old from stepflow.begun x where x.shard = $1 and x.key = t.key and x.at <= t.since order by x.at"
)
FORGET = "delete from stepflow.begun b using unnest($2::text[], $3::bigint[]) as t (key, since) " + either(
    f"cross join lateral ({_OLD}) x where b.ctid = x.old", "where b.shard = $1 and b.key = t.key and b.at <= t.since"
)
RESERVED = (
    "select d.* from unnest($2::text[]) as u (key) cross join"
    f" {found('dedup_keys', 'x.shard = $1 and x.key = u.key and x.until > $3', 'key, run_id')} d"
)
THERE = (
    "select s.id from unnest($2::text[]) as u (id) cross join"
    f" {found('states', 'x.shard = $1 and x.id = u.id and x.rev > 0', 'x.id')} s"
)
RESERVE = """
insert into stepflow.dedup_keys (shard, key, run_id, until) select $1, * from unnest($2::text[], $3::text[], $4::bigint[])
on conflict (shard, key) do update set run_id = excluded.run_id, until = excluded.until
"""
# Start times and reservations that ended before a time, up to $3 of them.
OVER = tuple(
    f"delete from stepflow.{table} t using (select x.ctid as at from stepflow.{table} x where x.shard = $1 and x.{time} < $2"
    f" limit $3) e where t.ctid = e.at{either('', ' and t.shard = $1')}"
    for table, time in (("begun", "at"), ("dedup_keys", "until"))
)


def claiming(runner: TransactionRunner, shards: Shards) -> Statement:
    """The statement after which this transaction alone claims runs with limits in the namespace; it tells how long that took."""
    return LOCK_AND_WAITED, (lock_key(runner.place.schema, f"limits/{shards.all[0]}"),)


def limit_usage(
    runner: TransactionRunner,
    connection: Connection,
    shards: Shards,
    given: Iterable[str],
    now: int,
    reading: HeldReading,
) -> LimitUsage:
    """What stands against these limits."""
    found = LimitUsage()
    wanted: dict[str, Limit] = {}
    for limit in (limit for text in given for limit in rated(text)):
        wanted[limit.key] = limit.wider(wanted.get(limit.key))
    limits = list(wanted.values())
    since = numbers([now - limit.per_us for limit in limits])
    key = (shards.all[0], texts(list(wanted)), since, numbers([limit.rate for limit in limits]))
    held, begun = fetch_all(connection, reading.statement, (runner.sql(BEGUN), key))
    reading.found(held)
    for _shard, run_id, text, _number in held:
        found.holds(restored(text), restored(run_id))
    for name, at, runs in reversed(begun):  # each key's newest came first
        found.begun.setdefault(restored(name), []).extend([at] * runs)
    return found


def begins(shards: Shards, given: Iterable[str], now: int) -> list[Statement]:
    """Note that runs with these limits were claimed; what no period reaches back to goes away."""
    limits = [limit for text in given for limit in rated(text)]
    if not limits:
        return []
    since: dict[str, int] = {}  # what no period reaches back to is older than that of the shortest one
    for limit in limits:
        since[limit.key] = max(since.get(limit.key, 0), now - limit.per_us)
    old = (shards.all[0], texts(list(since)), numbers(since.values()))
    return [(FORGET, old), (BEGIN_ALL, (shards.all[0], texts([limit.key for limit in limits]), now))]


def reserved(
    runner: TransactionRunner, connection: Connection, shards: Shards, commits: Sequence[Commit], now: int
) -> dict[str, str]:
    """Key -> run id of the deduplication keys of these commits that hold; other transactions cannot reserve them meanwhile."""
    keys = sorted({commit.dedup.key for commit in commits if commit.dedup is not None})
    if not keys:
        return {}
    place, first = runner.place.schema, shards.all[0]
    guards = sorted(lock_key(place, f"dedup/{first}/{key}") for key in keys)
    *_locked, rows = fetch_all(
        connection, *[(GUARD, (guard,)) for guard in guards], (runner.sql(RESERVED), (first, texts(keys), now))
    )
    found = {restored(key): restored(run_id) for key, run_id in rows}
    asked = [(runner.sql(THERE), (shard, texts(ids))) for shard, ids in shards.split(found.values()).items()]
    there = {restored(run_id) for some in (fetch_all(connection, *asked) if asked else ()) for (run_id,) in some}
    return {key: run_id for key, run_id in found.items() if run_id in there}


def reservations(shards: Shards, given: Sequence[DedupKey]) -> list[Statement]:
    """These keys hold from now on."""
    if not given:
        return []
    ids = texts([dedup.run_id for dedup in given])
    values = (shards.all[0], texts([dedup.key for dedup in given]), ids, numbers([dedup.until for dedup in given]))
    return [(RESERVE, values)]
