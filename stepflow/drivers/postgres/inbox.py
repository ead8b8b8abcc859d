"""The inbox on PostgreSQL: what is posted through a caller's own transaction, which the next session applies."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stepflow.drivers.port.commit import Commit, Created, Record
from stepflow.drivers.port.inbox import (
    BEGINNING,
    as_posted,
    beginnings,
    dump,
    made_by,
    needle,
    readable,
    schedule_as_posted,
)
from stepflow.drivers.port.pruning import PRUNED, PrunedId
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.postgres.arrays import restored, stored
from stepflow.drivers.postgres.callers_connection import Dialogue, samples
from stepflow.drivers.postgres.errors import member_error
from stepflow.drivers.postgres.rows import CREATED, QUEUE, STATE, Shards, read_queue, read_record
from stepflow.drivers.postgres.schedules import read_schedule_row
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StoreError

# Nothing is inserted, and nothing goes wrong in the caller's transaction, where the store is another one.
HERE = "select to_regclass(:name) is not null, length(:texts)"
SAME = "select 1 from stepflow.meta where name = 'store' and value = :store"
# Or posted, with the text of that. The server takes a plan for any `once` to cost more than a plan for 1, so it makes a new one each time: one that it
# made for an empty inbox would read all rows of a long one.
KNOWN = (
    "select known.* from generate_series(1, :once) cross join lateral ("
    "select rev, flow, input_hash, created_at, 0 as seq, '' as body from stepflow.states where shard = :shard and id = :id and delay is null"
    " union all select 0, '', '', 0, seq, body from stepflow.inbox where shard = :shard"
    f' and left(body, {BEGINNING}) collate "C" >= :first and left(body, {BEGINNING}) collate "C" < :last) known order by seq'
)
POST = "insert into stepflow.inbox (shard, seq, body) values (:shard, nextval('stepflow.posts'), :body) returning seq"
RUN = (
    f"select {STATE}, {CREATED}, {QUEUE} from stepflow.states s left join stepflow.queue q on q.shard = s.shard and q.id = s.id"
    " where s.shard = :shard and s.id = :id and s.delay is null and s.rev > 0"
)
POSTED = "select body from stepflow.inbox where shard = :shard and strpos(body, :needle) > 0 order by seq"
SCHEDULE = "select id, version, due, body from stepflow.schedules where shard = :shard and id = :id"
OLDEST = "select seq, body from stepflow.inbox where shard = $1 order by seq limit $2 for update"
UNREAD = "select seq, body from stepflow.conflicts where shard = $1 and posted = $2 order by seq for update"
# Out of the conflicts, into the inbox, in its old place.
AGAIN = (
    "insert into stepflow.inbox (shard, seq, body) select shard, seq, body from stepflow.conflicts where shard = $1 and seq = any($2::bigint[])",
    "delete from stepflow.conflicts where shard = $1 and seq = any($2::bigint[])",
)
NEWEST = "select committed_at from stepflow.history where shard = $1 order by rev desc limit 1"
# A commit that cannot take place; done before it is deleted.
CONFLICT = (
    "insert into stepflow.conflicts (shard, seq, run_id, posted, reason, at, body)"
    " select i.shard, i.seq, $3, $4, $5, $6, i.body from stepflow.inbox i where i.shard = $1 and i.seq = $2"
)
CONFLICTS = "select run_id, posted, reason, at from stepflow.conflicts where shard = any($1::text[]) order by at desc, seq desc limit $2"
MADE = "select id, flow, input_hash from stepflow.states where shard = $1 and id = any($2::text[])"
DONE = "delete from stepflow.inbox where shard = $1 and seq = any($2::bigint[])"


class Post(NamedTuple):
    """A row of the inbox: the JSON text of a commit; `run_id` of the run that it creates, else empty."""

    shard: str
    run_id: str
    body: str


def post_of(commit: Commit, shards: Shards) -> Post:
    """The row of a commit. Raises StoreError for one that cannot be posted."""
    body = stored(dump(commit))
    try:
        body.encode()
    except UnicodeEncodeError as error:
        raise member_error(error) from error
    created = [write.state.id for write in commit.writes]
    ids = created + [event.run_id for event in commit.publish] + [cancel.id for cancel in commit.cancel]
    return Post(shards.of(ids[0]) if ids else shards.all[0], created[0] if created else "", body)


def posting(place: ServerTarget, store: int, posts: Sequence[Post]) -> Dialogue[list[Created | PrunedId | None]]:
    """Insert commits, which take place if the transaction is committed. Of a run that exists, or was pruned, only how."""
    yield from _same_store(place, store, [post.body for post in posts])
    quoted, found = f'"{place.schema}".', []
    for post in posts:
        found.append((yield from _known(quoted, post)) if post.run_id else None)  # noqa: PERF401 - a comprehension cannot yield
    for post, known in zip(posts, found, strict=True):
        if known is None:
            yield POST.replace("stepflow.", quoted), {"shard": post.shard, "body": post.body}
    return found


def _known(quoted: str, post: Post) -> Dialogue[Created | PrunedId | None]:
    """How the run of a post was made, or posted, by this transaction or before it."""
    shard, run_id, _body = post
    first, last = beginnings(run_id)
    given = {"once": 1, "shard": shard, "id": stored(run_id), "first": first, "last": last}
    rows = yield KNOWN.replace("stepflow.", quoted), given
    for rev, flow, input_hash, created_at, _seq, body in rows[:1]:
        if rev == PRUNED:
            return PrunedId(run_id, input_hash, created_at)
        if not body:
            return Created(restored(flow), input_hash, created_at)
    return made_by(run_id, (restored(row[5]) for row in rows))


def loading(place: ServerTarget, store: int, shard: str, run_id: str) -> Dialogue[Record | None]:
    """Read a run as the transaction sees it, with what is posted for it."""
    yield from _same_store(place, store, [run_id])
    quoted, key = f'"{place.schema}".', stored(run_id)
    found = yield RUN.replace("stepflow.", quoted), {"shard": shard, "id": key}
    bodies = yield POSTED.replace("stepflow.", quoted), {"shard": shard, "needle": stored(needle(run_id))}
    record = read_record(found[0], read_queue(found[0][9:22])) if found else None
    return as_posted(record, run_id, readable(restored(body) for (body,) in bodies))


def loading_schedule(place: ServerTarget, store: int, shard: str, schedule_id: str) -> Dialogue[ScheduleRow | None]:
    """Read a schedule as the transaction sees it, with the edits that are posted for it."""
    yield from _same_store(place, store, [schedule_id])
    quoted = f'"{place.schema}".'
    found = yield SCHEDULE.replace("stepflow.", quoted), {"shard": shard, "id": stored(schedule_id)}
    bodies = yield POSTED.replace("stepflow.", quoted), {"shard": shard, "needle": stored(needle(schedule_id))}
    row = read_schedule_row(found[0]) if found else None
    return schedule_as_posted(row, schedule_id, readable(restored(body) for (body,) in bodies))


def _same_store(place: ServerTarget, store: int, texts: Sequence[str]) -> Dialogue[None]:
    """Raise StoreError unless the connection leads to this store, and the encoding of the client has all characters of `texts`."""
    quoted = f'"{place.schema}".'
    ((here, _length),) = yield HERE, {"name": f"{quoted}inbox", "texts": samples(texts)}
    if not here or not (yield SAME.replace("stepflow.", quoted), {"store": store}):
        raise StoreError(f"tx= is a connection to another database than the engine's store {place.url}")
