"""Claims where some of the due runs have limits: one session at a time decides over all candidates."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from attrs import evolve

from stepflow.drivers.port import windows
from stepflow.drivers.port.turns import Candidate, admitted
from stepflow.drivers.port.windows import Window, in_windows
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.limits import begins, claiming, limit_usage
from stepflow.drivers.postgres.lock_and_read import BEGIN
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.partitions import (
    LOCKED_STATE,
    PostgresPartition,
    Request,
    candidates_of,
    look_at,
    take_of,
)
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all
from stepflow.model.lifecycle import SUSPECT
from stepflow.model.limits import LimitUsage, admission, after_start

_NEXT = (
    "select (select limits from stepflow.queue where shard = $1 and flow = $2 and partition = 4 and limits > {last}"
    " order by limits limit 1)"
)
# The texts of limits for which rows of a flow are ready, by leaping from one to the next; $3 lines at most.
LINES = (
    f"with recursive line (text) as ({_NEXT.format(last=chr(39) * 2)} union all"
    f" {_NEXT.format(last='line.text')} from line where line.text is not null)"
    " select text from line where text is not null limit $3"
)
# The first rows of all lines in the order of claims, behind $6, $7, $8, without the lines $5.
TURNS = """
select x.priority, x.due, x.id, x.limits from stepflow.queue x where x.shard = $1 and x.flow = $2 and x.partition = 4
    and x.due <= $3 and x.id <> all($4::text[]) and x.limits <> all($5::text[]) and (x.priority, x.due, x.id) > ($6, $7, $8)
    order by x.priority, x.due, x.id limit $9
"""
# $5, $6: a line and how many of its rows are wanted at most.
READY = """
select q.priority, q.due, q.id, q.limits from unnest($5::text[], $6::bigint[]) as t (line, most), lateral (
    select * from stepflow.queue x where x.shard = $1 and x.flow = $2 and x.partition = 4 and x.limits = t.line
        and x.due <= $3 and x.id <> all($4::text[]) order by x.priority, x.due, x.id limit t.most) q
"""
SPECIAL = f"""
select q.priority, q.due, q.id, q.limits from stepflow.queue q where q.shard = $1 and q.flow = $2 and q.due <= $3
    and q.id <> all($4::text[]) and q.partition = 2 and q.limits <> '' and (q.blocked_by < $5 or q.blocked_by > $5)
    and (q.crashes >= {SUSPECT}) = $6::boolean order by q.priority, q.due, q.id
"""
TAKE = """
with u as materialized (
    select * from unnest($2::text[], $3::text[]) as t (id, rest)
), c as materialized (
    select q.at, s.at as state, s.rev, s.polls, nextval('stepflow.epochs') as epoch, u.rest
    from u cross join {row} q cross join {state} s
), s as (
    update stepflow.states t set epoch = c.epoch from c where not c.polls and t.ctid = c.state
)
update stepflow.queue q set partition = 3, owner = $5, claim_rev = c.rev, blocked = '', blocked_by = '', limits = c.rest,
    epoch = case when c.polls then c.epoch end
from c where q.ctid = c.at
returning q.id, c.epoch, q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits, q.unfinished, c.polls
""".format(
    row=found(
        "queue",
        "x.shard = $1 and x.id = u.id and x.partition in (2, 4) and x.due <= $4",
        more=" for no key update skip locked",
    ),
    state=LOCKED_STATE,
)


def lines(runner: TransactionRunner, shards: Shards, flows: Iterable[str], most: int) -> list[Statement]:
    """The statements that tell the lines, at most so many of each flow and shard."""
    keys = [(shard, stored(flow), most) for shard in shards.all for flow in flows]
    return [(runner.sql(LINES), key) for key in keys]


class Limited:
    """The claims of one owner; `lock` guards the drawing of epochs."""

    def __init__(self, runner: TransactionRunner, shards: Shards, owner: str, lock: Statement) -> None:
        self._runner, self._shards, self._owner, self._lock = runner, shards, owner, lock

    def take(self, connection: Connection, request: Request, partitions: Sequence[PostgresPartition]) -> list[Any]:
        """The rows of what was taken: of `partitions`, whose rows have no limits, and of those that have some."""
        guard = claiming(self._runner, self._shards)
        plain = [look_at(self._runner, partition, request) for partition in partitions]
        asked = [] if request.suspects else lines(self._runner, self._shards, request.flows, windows.MANY_LINES)
        special = self._special(request)
        _begun, ((waited,),), _locked, *found = fetch_all(
            connection, (BEGIN, ()), guard, self._lock, *plain, *[one for _partition, one in special], *asked
        )
        # The runs begin after the wait for the claims of others, and others before it: as of its end a period has as many.
        request = evolve(request, now=request.now + waited)
        candidates: list[Candidate] = [
            one for partition, rows in zip(partitions, found, strict=False) for one in candidates_of(partition, rows)
        ]
        rest = found[len(partitions) :]
        for (partition, _statement), rows in zip(special, rest, strict=False):
            candidates += _read(partition, rows)
        known = rest[len(special) :]
        if any(len(rows) >= windows.MANY_LINES for rows in known):
            chosen = self._in_windows(connection, request, candidates)
            if chosen is None:
                every = lines(self._runner, self._shards, request.flows, windows.ALL_LINES)
                known = fetch_all(connection, *every)
                chosen = self._by_line(connection, request, candidates, known)
        else:
            chosen = self._by_line(connection, request, candidates, known)
        return self._write(connection, request, chosen)

    def _special(self, request: Request) -> list[tuple[PostgresPartition, Statement]]:
        """The statements for the blocked or suspect rows that have limits."""
        skip, text = texts(sorted(request.skip)), self._runner.sql(SPECIAL)
        return [
            (
                PostgresPartition(shard, flow, "special"),
                (text, (shard, stored(flow), request.now, skip, stored(definition), request.suspects)),
            )
            for shard in self._shards.all
            for flow, definition in request.flows.items()
        ]

    def _by_line(
        self, connection: Connection, request: Request, others: Sequence[Candidate], known: Sequence[Any]
    ) -> list[Candidate]:
        """What to take of `others` and of the first rows of each line that has room."""
        now, skip = request.now, texts(sorted(request.skip))
        parts = [(shard, flow) for shard in self._shards.all for flow in request.flows]
        every = {restored(text) for rows in known for (text,) in rows}
        usage = limit_usage(self._runner, connection, self._shards, every | {one[2] for one in others}, now)
        free = {text: min(request.limit, admission(text, usage, now).free) for text in every}
        asked: list[tuple[PostgresPartition, Statement]] = []
        for (shard, flow), rows in zip(parts, known, strict=False):  # none are known of suspects
            open_lines = [text for (line,) in rows if free[text := restored(line)]]
            most = numbers([free[text] for text in open_lines])
            values = (shard, stored(flow), now, skip, texts(open_lines), most)
            where = PostgresPartition(shard, flow)
            asked += [(where, (self._runner.sql(READY), values))] if open_lines else []
        answers = fetch_all(connection, *[statement for _where, statement in asked]) if asked else []
        candidates = [*others]
        for (where, _statement), rows in zip(asked, answers, strict=True):
            candidates += _read(where, rows)
        return admitted(candidates, request.flows, usage, now, request.limit)[0]

    def _in_windows(
        self, connection: Connection, request: Request, others: Sequence[Candidate]
    ) -> list[Candidate] | None:
        """What to take of `others` and of the first rows of all lines; None if more rows would have to be looked at."""
        now, skip = request.now, texts(sorted(request.skip))

        def fetch(asked: Sequence[Window], full: Collection[str], number: int) -> list[list[Candidate]]:
            statements = [
                (
                    self._runner.sql(TURNS),
                    (
                        one.shard,
                        stored(one.flow),
                        now,
                        skip,
                        texts(sorted(full)),
                        *one.end[:2],
                        stored(one.end[2]),
                        number,
                    ),
                )
                for one in asked
            ]
            answers = fetch_all(connection, *statements)
            return [
                _read(PostgresPartition(one.shard, one.flow), rows) for one, rows in zip(asked, answers, strict=True)
            ]

        def usage_of(every: Collection[str]) -> LimitUsage:
            return limit_usage(self._runner, connection, self._shards, every, now)

        asked = [Window(shard, flow) for shard in self._shards.all for flow in request.flows]
        return in_windows(asked, others, request.flows, fetch, usage_of, now, request.limit)

    def _write(self, connection: Connection, request: Request, chosen: Sequence[Candidate]) -> list[Any]:
        plain = Counter(where for _order, _flow, text, where in chosen if not text)
        takes = [take_of(self._runner, partition, request, number, self._owner) for partition, number in plain.items()]
        limits = {order[2]: text for order, _flow, text, _where in chosen if text}
        for shard, ids in self._shards.split(limits).items():
            rest = texts([after_start(limits[run_id]) for run_id in ids])
            takes.append((self._runner.sql(TAKE), (shard, texts(ids), rest, request.now, stored(self._owner))))
        rows = [row for found in fetch_all(connection, *takes) for row in found] if takes else []
        taken = [limits[run_id] for row in rows if (run_id := restored(row[0])) in limits]
        notes = [(self._runner.sql(text), values) for text, values in begins(self._shards, taken, request.now)]
        fetch_all(connection, *notes, ("commit", ()))
        return rows


def _read(partition: PostgresPartition, rows: Sequence[Any]) -> list[Candidate]:
    return [
        ((priority, due, restored(run_id)), partition.flow, restored(text), partition)
        for priority, due, run_id, text in rows
    ]
