"""Lists of runs: each begins at the runs of one flow and status, or at those that have a label.

Of both the index has the order, so that runs which ended cost the lists of open ones nothing, and the other way round.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.postgres.arrays import stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.rows import CREATED, QUEUE, STATE, Shards, label_key, read_queue, read_record
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.errors import NotFound
from stepflow.model.lifecycle import Status, status_sql, stored_statuses

STATUS = status_sql(
    {
        "ended": "s.status <> ''",
        "no_row": "q.id is null",
        "awaits_event": "s.waiting like 'event:_%'",
        "owned": "q.owner <> ''",
        "blocked": "q.blocked <> ''",
        "due": "q.due <= $1",
        "polls": "s.waiting not in ('', 'delay')",
    },
    final="s.status",
)
ROW = found("queue", "x.shard = s.shard and x.id = s.id", "x.*")
_FLOW = "select x.flow from stepflow.states x where x.shard = $2 and x.delay is null{more} order by x.flow limit 1"
# The flows that created runs, by leaping from one to the next.
FLOWS = (
    f"with recursive flow (name) as ((select ({_FLOW.format(more='')})) union all"
    f" select ({_FLOW.format(more=' and x.flow > flow.name')}) from flow where flow.name is not null)"
)
# $1 now, $2 shard, $3 limit, $4 statuses (empty while a run is open).
_LISTED = (
    f"select {STATE}, {CREATED}, {QUEUE} from stepflow.states s left join {ROW} q on true where s.shard = $2"
    " and s.delay is null and {terms} order by s.created_at desc, s.id desc limit $3"
)
_NEWEST = " order by r.created_at desc, r.id desc limit $3"
OF_FLOWS = (
    f"{FLOWS} select r.* from flow cross join unnest($4::text[]) as u (status) cross join lateral ({_LISTED}) r"
    f" where flow.name is not null{_NEWEST}"
)
OF_FLOW = f"select r.* from unnest($4::text[]) as u (status) cross join lateral ({_LISTED}) r{_NEWEST}"
OF_FEW = (
    f"select {STATE}, {CREATED}, {QUEUE} from ({{ids}} offset 0) l cross join {found('states', 'x.shard = $2 and x.id = l.id', 'x.*')} s left join {ROW} q on true"
    " where s.delay is null and s.status = any($4::text[]){terms} order by s.created_at desc, s.id desc limit $3"
)
LABELLED_IDS = "select id from stepflow.labels where shard = $2 and label = {}"
# All blocked runs, and the suspects.
BLOCKED_IDS = "select id from stepflow.queue where shard = $2 and partition = 2 order by flow, priority, due, id"
# No `exists`: the planner may make a join of it that begins with all runs that have the label.
LABELLED = "(select 1 from stepflow.labels l where l.shard = $2 and l.label = {} and l.id = s.id) is not null"
FEW = 5_000  # runs with a label, or blocked ones, that are all looked at: fewer than would have to be searched for them
MANY_HAVE = "select count(*) from (select 1 from stepflow.labels where shard = $1 and label = $2 limit $3) l"
MANY_BLOCKED = (
    "select count(*) from (select 1 from stepflow.queue where shard = $1 and partition = 2"
    " order by flow, priority, due, id limit $2) l"
)


@define
class Lists:
    """The lists of one namespace on one connection."""

    runner: TransactionRunner
    shards: Shards
    connection: Connection

    def runs(self, query: RunQuery) -> list[Record]:
        """The runs that the query asks for, the newest created first."""
        statuses = stored_statuses(query.status)
        if query.awaits or query.open:
            statuses = tuple(status for status in statuses if not status)
        if not statuses:
            return []
        limit = max(query.limit, 0)
        after = None if query.after is None else (self._created_at(query.after), stored(query.after))
        # One shard at a time: its index has the order.
        statements = [self._statement(query, statuses, shard, limit, after) for shard in self.shards.all]
        parts = fetch_all(self.connection, *statements)
        records = [read_record(row, read_queue(row[9:21])) for rows in parts for row in rows]
        records.sort(key=lambda record: (record.created.created_at, stored(record.state.id)), reverse=True)
        return records[:limit]

    def _statement(
        self, query: RunQuery, statuses: Sequence[str], shard: str, limit: int, after: tuple[int, str] | None
    ) -> Statement:
        values: list[object] = [query.now, shard, limit, texts(statuses)]
        terms = ["$1::bigint is not null"]

        def add(term: str, *more: object) -> None:
            numbers = [f"${len(values) + 1 + number}" for number in range(len(more))]
            terms.append(term.format(*numbers))
            values.extend(more)

        labels = [stored(label_key(*item)) for item in (query.labels or {}).items()]
        rare = None if query.awaits else self._rare(shard, labels)
        if query.flow is not None:
            add("s.flow = {}", stored(query.flow))
        if query.status is not None and statuses == ("",):
            terms.append(f"{STATUS} = '{query.status}'")
        for label in labels:
            if label != rare:
                add(LABELLED, label)
        if after is not None:
            add("(s.created_at, s.id) < ({}, {})", *after)
        if query.awaits:
            terms += ["s.waiting like 'event:_%'", "$4::text[] is not null"]
            text = _LISTED.format(terms=" and ".join(terms))
        elif rare is not None:
            values.append(rare)
            ids = LABELLED_IDS.format(f"${len(values)}")
            text = OF_FEW.format(ids=ids, terms="".join(f" and {term}" for term in terms))
        elif query.status == Status.BLOCKED and self._few_blocked(shard):
            text = OF_FEW.format(ids=BLOCKED_IDS, terms="".join(f" and {term}" for term in terms))
        else:
            flow = [] if query.flow is not None else ["s.flow = flow.name"]
            text = (OF_FLOW if query.flow is not None else OF_FLOWS).format(
                terms=" and ".join([*flow, "s.status = u.status", *terms])
            )
        return self.runner.sql(text), tuple(values)

    def _rare(self, shard: str, labels: Sequence[str]) -> str | None:
        """The label that the fewest runs have, if these are few."""
        if not labels:
            return None
        rows = fetch_all(self.connection, *[(self.runner.sql(MANY_HAVE), (shard, label, FEW + 1)) for label in labels])
        number, label = min((int(some[0][0]), label) for some, label in zip(rows, labels, strict=True))
        return label if number <= FEW else None

    def _few_blocked(self, shard: str) -> bool:
        ((number,),) = fetch_all(self.connection, (self.runner.sql(MANY_BLOCKED), (shard, FEW + 1)))[0]
        return int(number) <= FEW

    def _created_at(self, run_id: str) -> int:
        query = self.runner.sql("select created_at from stepflow.states where shard = $1 and id = $2 and rev > 0")
        rows = self.connection.execute(query, (self.shards.of(run_id), stored(run_id))).fetchall()
        if not rows:
            raise NotFound(f"after={run_id!r}: there is no such run any more; ask for the first page again")
        return int(rows[0][0])
