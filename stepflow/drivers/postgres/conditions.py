"""What slows down or endangers a PostgreSQL store, for `stepflow doctor`: each condition with what was seen and what to do."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from stepflow.drivers.port.queries import Condition
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.route import Route

LONG_S = 60.0  # of a transaction: dead rows that it may still see are kept
LAG_S, LAG_BYTES = 10.0, 64 << 20  # of a standby
KEPT_BYTES = 1 << 30  # of write-ahead log that a replication slot holds back
CLOCK_S = 1.0
STALE_ROWS, STALE_SHARE = (
    100_000,
    2.0,
)  # changed or dead rows of a table, and as a multiple of the live ones: autovacuum begins earlier

LONG = """
select pid::text, coalesce(usename, '?'), coalesce(application_name, ''), state, extract(epoch from clock_timestamp() - xact_start)
from pg_stat_activity where xact_start < clock_timestamp() - make_interval(secs => $1) and backend_type = 'client backend'
union all
select gid, owner, 'prepared transaction', 'prepared', extract(epoch from clock_timestamp() - prepared)
from pg_prepared_xacts where prepared < clock_timestamp() - make_interval(secs => $1)
order by 5 desc limit 5
"""
STANDBYS = """
select coalesce(nullif(application_name, ''), client_addr::text, pid::text), coalesce(extract(epoch from replay_lag), 0),
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)
from pg_stat_replication
"""
SLOTS = """
select slot_name, active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)
from pg_replication_slots where restart_lsn is not null
"""
LOG_SIZE = "select coalesce(sum(size), 0), pg_size_bytes(current_setting('max_wal_size')) from pg_ls_waldir()"
STATISTICS = """
select pg_class.relname, n_mod_since_analyze, n_dead_tup, greatest(last_analyze, last_autoanalyze)::text
from pg_stat_all_tables join pg_class on pg_class.oid = relid
where relnamespace = (select relnamespace from pg_class where oid = 'stepflow.states'::regclass)
    and (n_mod_since_analyze >= greatest($1, $2 * n_live_tup) or n_dead_tup >= greatest($1, $2 * n_live_tup))
order by n_mod_since_analyze + n_dead_tup desc, 1 limit 5
"""
NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"


def conditions(
    connection: Connection, route: Route, now: Callable[[], int], sql: Callable[[str], str]
) -> list[Condition]:
    """Look at the server; `now()` is this host's time in microseconds UTC, `sql` puts the store's schema into a text."""
    found = [_clock(connection, now), _pooler(route), _long_transactions(connection)]
    (standby,) = connection.execute("select pg_is_in_recovery()").fetchone() or (False,)
    if standby:
        return [*found, Condition("replication", False, "this server is a standby: nothing can be written to it")]
    return [*found, _statistics(connection, sql), _replication(connection), _log_size(connection)]


def _clock(connection: Connection, now: Callable[[], int]) -> Condition:
    before = now()
    (theirs,) = connection.execute(NOW).fetchone() or (before,)
    ahead_s = (theirs - (before + now()) / 2) / 1e6
    text = f"the server's is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this host's"
    return Condition("clock difference", abs(ahead_s) < CLOCK_S, text)


def _pooler(route: Route) -> Condition:
    if route.direct:
        return Condition("pooler", True, "none: connections end at the server")
    mode = "transaction: no notifications, and a dead worker is noticed after ten seconds"
    return Condition("pooler", True, f"mode {mode if route.per_transaction else 'session'}")


def _long_transactions(connection: Connection) -> Condition:
    rows = connection.execute(LONG, (LONG_S,)).fetchall()
    shown = "; ".join(
        f"{pid} ({', '.join(filter(None, (user, name, state)))}) {age:.0f} s" for pid, user, name, state, age in rows
    )
    advice = ": vacuum removes no row that they may see; end them"
    return Condition("long transactions", not rows, shown + advice if rows else f"none longer than {LONG_S:g} s")


def _statistics(connection: Connection, sql: Callable[[str], str]) -> Condition:
    rows = connection.execute(sql(STATISTICS), (STALE_ROWS, STALE_SHARE)).fetchall()
    shown = "; ".join(
        f"{table}: {changed} rows changed since the last ANALYZE ({last or 'never'}), {dead} are dead"
        for table, changed, dead, last in rows
    )
    advice = ": the planner goes by old numbers; is autovacuum on?"
    return Condition("statistics", not rows, shown + advice if rows else "autovacuum keeps up")


def _replication(connection: Connection) -> Condition:
    standbys, slots = connection.execute(STANDBYS).fetchall(), connection.execute(SLOTS).fetchall()
    texts = [f"{name} is {lag:.1f} s and {_size(size)} behind" for name, lag, size in standbys]
    texts += [
        f"slot {name} ({'active' if active else 'inactive'}) holds {_size(size)} of write-ahead log"
        for name, active, size in slots
    ]
    late = any(lag > LAG_S or size > LAG_BYTES for _name, lag, size in standbys)
    return Condition(
        "replication",
        not late and all(size <= KEPT_BYTES for _name, _active, size in slots),
        "; ".join(texts) or "none",
    )


def _log_size(connection: Connection) -> Condition:
    try:
        size, most = connection.execute(LOG_SIZE).fetchone() or (0, 0)
    except psycopg.errors.InsufficientPrivilege:
        return Condition("write-ahead log", True, "not visible to this user: GRANT pg_monitor to see its size")
    return Condition("write-ahead log", size <= 2 * most, f"{_size(size)}, max_wal_size is {_size(most)}")


def _size(size: float) -> str:
    return f"{float(size) / (1 << 20):.1f} MB"
