"""The journal rows of runs: the statements that write and forget them, and how they are read."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

from stepflow.drivers.port.journal import JournalQuery, JournalRow, Progress, progress_of
from stepflow.drivers.port.rules import Changes
from stepflow.drivers.port.step import Append
from stepflow.drivers.postgres.arrays import flags, numbers, restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lock_and_read import POSTED, InboxNotEmpty
from stepflow.drivers.postgres.lookup import found, located
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all

_PUT = """
insert into stepflow.journal (shard, seq, run_id, key, kind, name, text, failed, epoch, token, written_at)
select $1, nextval('stepflow.seqs'), run_id, key, kind, name, text, failed, epoch, $9::bigint, written_at from (
    select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::bigint[], $10::bigint[])
        with ordinality as t (run_id, key, kind, name, text, failed, epoch, written_at, n){where} order by n) u
on conflict (shard, run_id, key) do update set kind = excluded.kind, name = excluded.name, text = excluded.text,
    failed = excluded.failed, epoch = excluded.epoch, token = excluded.token, written_at = excluded.written_at
"""
PUT = _PUT.format(where="")
# Unseen: the runs $11 are locked, and hold the epochs $12; else the cast fails on purpose, see `commit_fast.STEPS`.
APPEND = f"""
with s as materialized (
    select s.id from unnest($11::text[], $12::bigint[]) as u (id, epoch)
    cross join {found("states", "x.shard = $1 and x.id = u.id and x.epoch = u.epoch", "x.id", " for no key update")} s
), held as materialized (
    select count(*) = cardinality($11::text[]) as yes from s
), j as (
    {_PUT.format(where=" where (select yes from held)")}
)
select null, case when yes then 0 else ('stale: ' || $11::text)::integer end from held
"""
# '' names all rows, a name that ends in ':' those whose keys begin with it.
FORGET = f"""
delete from stepflow.journal t using unnest($2::text[], $3::text[]) as u (run_id, name)
    {
    located(
        "journal",
        "x.shard = $1 and x.run_id = u.run_id and (x.key = u.name or u.name = ''"
        " or (right(u.name, 1) = ':' and starts_with(x.key, u.name)))",
    )
}
"""
BETWEEN = "\1\3"
_COLUMNS = "run_id, key, kind, name, text, failed, seq, epoch, written_at"
# One row per run with all columns joined, which is fetched and divided several times as fast as a thousand rows.
_JOINED = ", ".join(
    [f"string_agg(j.{column}, e'\\x01\\x03')" for column in ("key", "kind", "name", "text")]
    + ["string_agg(case when j.failed then 't' else 'f' end, '')"]
    + [f"string_agg(j.{column}::text, ',')" for column in ("seq", "epoch", "written_at")]
)
READ = (
    f"select u.id, j.* from unnest($2::text[]) as u (id) cross join lateral (select {_JOINED}"
    " from stepflow.journal j where j.shard = $1 and j.run_id = u.id) j where j.* is not null"
)
READ_KEY = (
    "select j.* from unnest($2::text[]) as u (id) cross join "
    + found("journal", "x.shard = $1 and x.run_id = u.id and x.key = $5", _COLUMNS)
    + " j where j.seq > $3 and j.seq < $4"
)
# Of a long journal the texts of no other rows are read: the numbers of those that are asked for are found first.
_PART = (
    "select j.* from unnest($2::text[]) as u (id) cross join lateral (select k.key from "
    + found("journal", "x.shard = $1 and x.run_id = u.id", "x.key, x.seq")
    + " k where k.seq > $3 and k.seq < $4 order by k.seq {order} limit $5) p cross join "
    + found("journal", "x.shard = $1 and x.run_id = u.id and x.key = p.key", _COLUMNS)
    + " j"
)
READ_FIRST, READ_LAST = _PART.format(order="asc"), _PART.format(order="desc")
# A scalar query with a limit: of `exists` the planner may make a hash table of the whole journal.
_ANY = "(select true from stepflow.journal x where x.shard = {shard} and x.run_id = {run}{more} order by x.key limit 1) is not null"
JOURNALED = _ANY.format(shard="$1", run="s.id", more="")
BY_EPOCH = "select u.id, j.kind from unnest($2::text[], $3::bigint[]) as u (id, epoch) cross join " + (
    found("journal", "x.shard = $1 and x.run_id = u.id and x.epoch = u.epoch", "kind") + " j"
)
KEPT = (
    "select count(*) > 0 from unnest($2::text[], $3::text[]) as u (run_id, key) cross join "
    + found("journal", "x.shard = $1 and x.run_id = u.run_id and x.key = u.key", "x.token")
    + " j where j.token = $4"
)

LAST_SEQ = (1 << 63) - 1
Written = tuple[str, JournalRow]
"""A run and a row of it, with its epoch and time."""


def fits_append(append: Append) -> bool:
    """Whether the statement for Appends can make this one: it knows nothing of events, and writes no key twice."""
    rows = append.rows
    return not append.consume and len(rows) > 0 and (len(rows) == 1 or len({row.key for row in rows}) == len(rows))


def append_statements(shards: Shards, appends: Sequence[Append], now: int, token: int) -> list[Statement]:
    """The statements that write the rows of these Appends and check their claims, unseen."""
    found: list[Statement] = []
    by_id = {append.id: append for append in appends}
    for shard, ids in shards.split(by_id).items():
        mine = [by_id[run_id] for run_id in ids]
        written = [
            (append.id, row._replace(epoch=append.epoch, at=row.at or now)) for append in mine for row in append.rows
        ]
        found.append((APPEND, (*_values(shard, written, token), texts(ids), numbers([one.epoch for one in mine]))))
    return found


def journal_statements(shards: Shards, changes: Changes, token: int) -> list[Statement]:
    """Forget and write rows as the rules noted it."""
    found: list[Statement] = []
    for shard in shards.split(run_id for run_id, _name in changes.forgets):
        names = [(run_id, name) for run_id, name in changes.forgets if shards.of(run_id) == shard]
        found.append((FORGET, (shard, texts([i for i, _name in names]), texts([name for _id, name in names]))))
    for shard, written in _by_shard(shards, changes.journal).items():
        found.append((PUT, _values(shard, written, token)))
    return found


def _by_shard(shards: Shards, journal: Sequence[Written]) -> Mapping[str, Sequence[Written]]:
    parts: dict[str, list[Written]] = {shard: [] for shard in shards.split(run_id for run_id, _row in journal)}
    for one in journal:
        parts[shards.of(one[0])].append(one)
    return parts


def _values(shard: str, written: Sequence[Written], token: int) -> tuple[object, ...]:
    rows = [row for _id, row in written]
    return (
        shard,
        texts([run_id for run_id, _row in written]),
        texts([row.key for row in rows]),
        texts([row.kind for row in rows]),
        texts([row.name for row in rows]),
        texts([row.text for row in rows]),
        flags([row.failed for row in rows]),
        numbers([row.epoch for row in rows]),
        token,
        numbers([row.at for row in rows]),
    )


def kept(runner: TransactionRunner, connection: Connection, shards: Shards, changes: Changes, token: int) -> bool:
    """Whether rows of the call with this token are there."""
    parts = [
        (runner.sql(KEPT), (shard, texts([i for i, _row in some]), texts([row.key for _id, row in some]), token))
        for shard, some in _by_shard(shards, changes.journal).items()
    ]
    return any(rows[0][0] for rows in fetch_all(connection, *parts)) if parts else False


def read_journals(
    runner: TransactionRunner, connection: Connection, shards: Shards, query: JournalQuery
) -> list[tuple[JournalRow, ...]]:
    """The rows of each run that the query asks for. Raises InboxNotEmpty when the inbox is to be applied first."""
    ids, (statement, more) = query.ids, _part(query)
    journals: dict[str, list[JournalRow]] = {run_id: [] for run_id in ids}
    parts = [(runner.sql(statement), (shard, texts(some), *more)) for shard, some in shards.split(ids).items()]
    posted, *found = fetch_all(connection, (runner.sql(POSTED), (texts(shards.all),)), *parts)
    if posted:
        raise InboxNotEmpty
    for rows in found:
        if query.whole:
            journals |= {restored(run_id): _divided(*columns) for run_id, *columns in rows}
            continue
        for run_id, key, kind, name, text, *given in rows:
            row = JournalRow(restored(key), restored(kind), restored(name), restored(text), *given)
            journals[restored(run_id)].append(row)
    return [tuple(sorted(journals[run_id], key=attrgetter("seq"))) for run_id in ids]


def _divided(
    keys: str, kinds: str, names: str, values: str, failed: str, seqs: str, epochs: str, times: str
) -> list[JournalRow]:
    """The rows of a run from its joined columns."""
    columns = [divided(joined) for joined in (keys, kinds, names, values)]
    flags_of = [one == "t" for one in failed]
    counts = [map(int, joined.split(",")) for joined in (seqs, epochs, times)]
    return list(map(JournalRow._make, zip(*columns, flags_of, *counts, strict=True)))


def divided(joined: str) -> list[str]:
    """The texts of a joined column. In a stored text each \\1 begins a pair, which is none of the separators."""
    if "\1\1" not in joined and "\1\2" not in joined:
        return joined.split(BETWEEN)
    return [restored(item.replace("\1\4", "\1\1")) for item in joined.replace("\1\1", "\1\4").split(BETWEEN)]


def _part(query: JournalQuery) -> tuple[str, tuple[object, ...]]:
    """The statement that reads what the query asks for, and what it gets beside the runs."""
    if query.whole:
        return READ, ()
    between = query.after, LAST_SEQ if query.before is None else query.before
    if query.key is not None:
        return READ_KEY, (*between, stored(query.key))
    return READ_LAST if query.last else READ_FIRST, (*between, query.limit)


def progress_by(
    runner: TransactionRunner, connection: Connection, shards: Shards, epochs: Mapping[str, int]
) -> dict[str, Progress]:
    """What the claims of these epochs wrote to the journals of their runs."""
    kinds: dict[str, set[str]] = {run_id: set() for run_id in epochs}
    for shard, ids in shards.split(epochs).items():
        key = (shard, texts(ids), numbers([epochs[run_id] for run_id in ids]))
        for run_id, kind in connection.execute(runner.sql(BY_EPOCH), key):
            kinds[restored(run_id)].add(restored(kind))
    return {run_id: progress_of(some) for run_id, some in kinds.items()}
