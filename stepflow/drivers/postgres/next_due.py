"""What is due when: a few index look-ups per flow, however many runs there are."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

from stepflow.drivers.port import windows
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.postgres.arrays import restored, stored, texts
from stepflow.drivers.postgres.claim import PostgresClaims
from stepflow.drivers.postgres.claim_limited import LINES, Part, line_statement, ready
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.limits import limit_usage
from stepflow.drivers.postgres.line_starts import UNKNOWN
from stepflow.drivers.postgres.lock_and_read import POSTED, InboxNotEmpty
from stepflow.drivers.postgres.pauses import NAMES
from stepflow.drivers.postgres.ranges import BEHIND
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schedules import FIRST
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.model.lifecycle import SUSPECT
from stepflow.model.limits import due_of

# Every change is announced, and found by the marks that are read with the beats if that is lost: an answer holds for long, and the longer
# the more statements it took, so that an idle worker sends at most so many a second.
TRUSTED_S, LOOKS, LOOKS_APART = 150.0, 0.2, 0.05

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
    "select x.owner, count(*) from stepflow.queue x where x.shard = $1 and x.partition = 3 and x.flow = any($2::text[])"
    " group by x.owner order by x.owner"
)
# With so many dead rows of the queue that OWNED would walk over: any other owner counts as one that holds a row.
MAY_OWN = "select x.id, 1 from stepflow.owners x where x.shard = $1 and x.id <> $2 and x.reclaimed_at = 0 order by x.id"


def next_due(
    runner: TransactionRunner,
    connection: Connection,
    shards: Shards,
    head: VisibleRev,
    claims: PostgresClaims,
    flows: Mapping[str, str],
    now: int,
) -> DueSummary:
    """What is due when, for these flows (name -> definition). Raises InboxNotEmpty when the inbox must be applied first."""
    starts = claims.starts
    ask_lines = HeadsOfLines(runner, shards, claims, flows, now)
    looks: list[Statement] = [
        (runner.sql(AHEAD), (shard, stored(flow), stored(definition), now, *ranges, sleepers))
        for shard in shards.all
        for flow, definition in flows.items()
        for ranges, sleepers in (starts.ranges(shard, flow, now),)
    ]
    held: list[Statement] = [(runner.sql(OWNED), (shard, texts(list(flows)))) for shard in shards.all]
    if starts.used:
        held = [(runner.sql(MAY_OWN), (shards.all[0], stored(claims.owner)))]
    number = head.begin()
    scheduled = (runner.sql(FIRST), (shards.all[0],))
    paused = (runner.sql(NAMES), (shards.all[0],))
    posts = (runner.sql(POSTED), (texts(shards.all),))
    asked = [posts, scheduled, paused, *head.asking(), *held, *looks, *ask_lines.statements]
    posted, first_schedule, stopped, last, holders, *found = fetch_all(connection, *asked)
    owned, found = found[: len(held)], found[len(held) :]
    names = {restored(flow) for (flow,) in stopped}
    goes_on = [flow not in names for _shard in shards.all for flow in flows]
    ahead = list(compress(found, goes_on))
    if posted:
        raise InboxNotEmpty
    dues = [int(due) for ((*some, _count),) in ahead for due in some if due is not None]
    suspects = sum(int(row[-1]) for (row,) in ahead)
    dues += ask_lines.dues(connection, found[len(looks) :], names)
    head.verify(connection, last)
    counts = Counter[str]()
    for owner, count in (row for rows in owned for row in rows):
        counts[restored(owner)] += count
    return DueSummary(
        min(dues, default=None),
        suspects,
        counts,
        head.newest(connection, shards.all, head.judge(number, last, holders), last),
        head.timeline,
        first_schedule[0][0] if first_schedule else None,
        max(TRUSTED_S, len(asked) / (LOOKS_APART if runner.place.citus else LOOKS)),
    )


class HeadsOfLines:
    """When the first rows of the lines may be claimed; `statements` are asked first, and `dues` is given their answers."""

    def __init__(
        self, runner: TransactionRunner, shards: Shards, claims: PostgresClaims, flows: Iterable[str], now: int
    ) -> None:
        self._runner, self._shards, self._claims, self._now = runner, shards, claims, now
        parts = [(shard, flow) for shard in shards.all for flow in flows]
        self._known = {part: claims.starts.lines(*part, now) for part in parts}
        self.statements = [
            self._line(part, windows.MANY_LINES)
            if known is UNKNOWN or known.many
            else line_statement(runner, *part, now, known, windows.MANY_LINES)
            for part, known in self._known.items()
        ]

    def _line(self, part: Part, most: int) -> Statement:
        return self._runner.sql(LINE), (part[0], stored(part[1]), most)

    def dues(self, connection: Connection, found: Sequence[Any], paused: Collection[str]) -> list[int]:
        """When they may be claimed, as far as that is known; runs of paused flows may not."""
        heads: list[tuple[str, int]] = []
        asked: list[Statement] = []
        many = False
        for (part, known), rows in zip(self._known.items(), found, strict=True):
            if part[1] in paused:
                continue
            if known is UNKNOWN or known.many:
                many = many or len(rows) >= windows.MANY_LINES
                heads += [(restored(text), int(due)) for text, due in rows]
            elif starts := known.with_fresh(rows)[0]:
                asked.append(ready(self._runner, part, self._now, "{}", dict.fromkeys(starts, 1), starts))
        if asked:
            answers = fetch_all(connection, *asked)
            heads += [(restored(text), int(due)) for rows in answers for _priority, due, _id, text in rows]
        limited = self._admitted(connection, heads)
        if many and not (limited and min(limited) <= self._now):
            going = [part for part in self._known if part[1] not in paused]
            every = fetch_all(connection, *[self._line(part, windows.ALL_LINES) for part in going])
            limited = self._admitted(connection, [(restored(text), int(due)) for rows in every for text, due in rows])
        return limited

    def _admitted(self, connection: Connection, heads: Sequence[tuple[str, int]]) -> list[int]:
        if not heads:
            return []
        given, claims, now = {text for text, _due in heads}, self._claims, self._now
        reading = claims.limited.held.reading(many_dead=claims.starts.used)
        usage = limit_usage(self._runner, connection, self._shards, given, now, reading)
        return [due for text, first in heads if (due := due_of(first, text, usage, now)) is not None]
