"""The inbox on PostgreSQL: starts and publishes that are posted through a caller's own transaction, applied by the next session."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Created
from stepflow.drivers.port.inbox import dump
from stepflow.drivers.port.pruning import PRUNED, PrunedId
from stepflow.drivers.postgres.arrays import restored, stored
from stepflow.drivers.postgres.callers_transaction import Dialogue
from stepflow.drivers.postgres.errors import member_error
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StoreError

# Nothing is inserted, and nothing goes wrong in the caller's transaction, where the store is another one.
HERE = "select to_regclass(:name) is not null"
SAME = "select 1 from stepflow.meta where name = 'store' and value = :store"
KNOWN = (
    "select rev, flow, input_hash, created_at from stepflow.states where shard = :shard and id = :id and delay is null"
)
POST = "insert into stepflow.inbox (shard, seq, body) select :shard, nextval('stepflow.posts'), :body returning seq"
OLDEST = "select seq, body from stepflow.inbox where shard = $1 order by seq limit $2 for update"
DONE = "delete from stepflow.inbox where shard = $1 and seq = any($2::bigint[])"


def body_of(commit: Commit) -> str:
    """The JSON text of a commit. Raises StoreError for one that cannot be posted."""
    body = stored(dump(commit))
    try:
        body.encode()
    except UnicodeEncodeError as error:
        raise member_error(error) from error
    return body


def posting(place: ServerTarget, store: int, shard: str, body: str, run_id: str) -> Dialogue[Created | PrunedId | None]:
    """Insert a commit; it takes place if the transaction is committed. Of a run that exists, or was pruned, only how."""
    elsewhere = StoreError(f"tx= is a connection to another database than the engine's store {place.url}")
    quoted = f'"{place.schema}".'
    ((here,),) = yield HERE, {"name": f"{quoted}inbox"}
    if not here or not (yield SAME.replace("stepflow.", quoted), {"store": store}):
        raise elsewhere
    if run_id and (found := (yield KNOWN.replace("stepflow.", quoted), {"shard": shard, "id": stored(run_id)})):
        rev, flow, input_hash, created_at = found[0]
        if rev == PRUNED:
            return PrunedId(run_id, input_hash, created_at)
        return Created(restored(flow), input_hash, created_at)
    yield POST.replace("stepflow.", quoted), {"shard": shard, "body": body}
    return None
