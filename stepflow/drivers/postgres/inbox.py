"""The inbox on PostgreSQL: what is posted through a caller's own transaction, which the next session applies."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stepflow.drivers.port.commit import Commit, Created, Record
from stepflow.drivers.port.inbox import as_posted, beginning, dump, made_by, needle, readable, schedule_as_posted
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
KNOWN = (
    "select rev, flow, input_hash, created_at from stepflow.states where shard = :shard and id = :id and delay is null"
)
POST = "insert into stepflow.inbox (shard, seq, body) values (:shard, nextval('stepflow.posts'), :body) returning seq"
RUN = (
    f"select {STATE}, {CREATED}, {QUEUE} from stepflow.states s left join stepflow.queue q on q.shard = s.shard and q.id = s.id"
    " where s.shard = :shard and s.id = :id and s.delay is null and s.rev > 0"
)
POSTED = "select body from stepflow.inbox where shard = :shard and strpos(body, :needle) > 0 order by seq"
STARTS = "select body from stepflow.inbox where shard = :shard and left(body, length(:start)) = :start order by seq"
SCHEDULE = "select id, version, due, body from stepflow.schedules where shard = :shard and id = :id"
OLDEST = "select seq, body from stepflow.inbox where shard = $1 order by seq limit $2 for update"
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
    made = yield from _posted(quoted, posts)
    for post in posts:
        found.append((yield from _posting(quoted, post, made)))  # noqa: PERF401 - a comprehension cannot yield
    return found


def _posted(quoted: str, posts: Sequence[Post]) -> Dialogue[dict[str, Created]]:
    """Those of the runs of these posts that are posted already, and not made yet."""
    found: dict[str, Created] = {}
    for shard in dict.fromkeys(post.shard for post in posts if post.run_id):
        ids = {post.run_id for post in posts if post.run_id and post.shard == shard}
        bodies = yield STARTS.replace("stepflow.", quoted), {"shard": shard, "start": stored(beginning(ids))}
        found |= made_by(ids, (restored(body) for (body,) in bodies))
    return found


def _posting(quoted: str, post: Post, made: Mapping[str, Created]) -> Dialogue[Created | PrunedId | None]:
    shard, run_id, body = post
    if run_id and (found := (yield KNOWN.replace("stepflow.", quoted), {"shard": shard, "id": stored(run_id)})):
        rev, flow, input_hash, created_at = found[0]
        if rev == PRUNED:
            return PrunedId(run_id, input_hash, created_at)
        return Created(restored(flow), input_hash, created_at)
    if run_id in made:
        return made[run_id]
    yield POST.replace("stepflow.", quoted), {"shard": shard, "body": body}
    return None


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
