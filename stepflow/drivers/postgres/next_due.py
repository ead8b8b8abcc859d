"""What is due when: a few index look-ups per flow, however many runs there are."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stepflow.drivers.port import windows
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.postgres.arrays import restored, stored, texts
from stepflow.drivers.postgres.claim_limited import LINES
from stepflow.drivers.postgres.claim_start import BEHIND, ClaimStarts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.limits import limit_usage
from stepflow.drivers.postgres.lock_and_read import POSTED, InboxNotEmpty
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schedules import FIRST
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.model.lifecycle import SUSPECT
from stepflow.model.limits import due_of

_ROWS = "from stepflow.queue q where q.shard = $1 and q.flow = $2 and q.partition = "
_MET = "2 and (q.blocked_by < $3 or q.blocked_by > $3)"
# The earliest due time of the sleeping, of the ready and of the special rows, and how many suspects are due.
_READY = BEHIND.format(
    m=["$5", "$6", "$7", "$8"],
    columns="q.due",
    where="q.shard = $1 and q.flow = $2 and q.partition = 1",
    number=1,
    lock="",
)
AHEAD = (
    f"select (select q.due {_ROWS}0 and q.due >= $9 order by q.due limit 1),"
    f" ({_READY}), s.due, s.suspects"
    f" from (select min(q.due), count(*) filter (where q.crashes >= {SUSPECT} and q.due <= $4) from (select q.due, q.crashes"
    f" {_ROWS}{_MET} order by q.priority, q.due, q.id) q) as s (due, suspects)"
)
# The lines of a flow, at most $3, and when the first row of each was due.
LINE = (
    f"select line.text, (select q.due {_ROWS}4 and q.limits = line.text order by q.priority, q.due, q.id limit 1)"
    f" from ({LINES}) line"
)
OWNED = (
    "select q.owner, q.held from unnest($1::text[]) as u (shard) cross join lateral (select x.owner, count(*) as held"
    " from stepflow.queue x where x.shard = u.shard and x.partition = 3 and x.flow = any($2::text[])"
    " group by x.owner order by x.owner) q"
)


def next_due(
    runner: TransactionRunner,
    connection: Connection,
    shards: Shards,
    head: VisibleRev,
    starts: ClaimStarts,
    flows: Mapping[str, str],
    now: int,
) -> DueSummary:
    """What is due when, for these flows (name -> definition). Raises InboxNotEmpty when the inbox must be applied first."""
    lines = [(runner.sql(LINE), (shard, stored(flow), windows.MANY_LINES)) for shard in shards.all for flow in flows]
    looks: list[Statement] = [
        (runner.sql(AHEAD), (shard, stored(flow), stored(definition), now, *ranges, sleepers))
        for shard in shards.all
        for flow, definition in flows.items()
        for ranges, sleepers in (starts.ranges(shard, flow, now),)
    ]
    held = (runner.sql(OWNED), (texts(shards.all), texts(list(flows))))
    number = head.begin()
    scheduled = (runner.sql(FIRST), (shards.all[0],))
    posted, owned, first_schedule, last, holders, *found = fetch_all(
        connection, (runner.sql(POSTED), (texts(shards.all),)), held, scheduled, *head.asking(), *looks, *lines
    )
    ahead = found[: len(looks)]
    if posted[0][0]:
        raise InboxNotEmpty
    dues = [int(due) for ((*some, _count),) in ahead for due in some if due is not None]
    suspects = sum(int(row[-1]) for (row,) in ahead)
    first_rows = found[len(looks) :]
    limited = _limited(runner, connection, shards, first_rows, now)
    if any(len(rows) >= windows.MANY_LINES for rows in first_rows) and not (limited and min(limited) <= now):
        every = [(text, (*key[:2], windows.ALL_LINES)) for text, key in lines]
        limited = _limited(runner, connection, shards, fetch_all(connection, *every), now)
    dues += limited
    head.verify(connection, last)
    counts = Counter[str]()
    for owner, count in owned:
        counts[restored(owner)] += count
    return DueSummary(
        min(dues, default=None),
        suspects,
        counts,
        head.newest(connection, shards.all, head.judge(number, last, holders), last),
        head.timeline,
        first_schedule[0][0] if first_schedule else None,
    )


def _limited(
    runner: TransactionRunner, connection: Connection, shards: Shards, found: Sequence[Any], now: int
) -> list[int]:
    """When the first rows of these lines may be claimed, as far as that is known."""
    heads = [(restored(text), int(due)) for rows in found for text, due in rows]
    if not heads:
        return []
    usage = limit_usage(runner, connection, shards, {text for text, _due in heads}, now)
    return [due for text, first in heads if (due := due_of(first, text, usage, now)) is not None]
