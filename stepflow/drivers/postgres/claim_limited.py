"""Claims where some of the due runs have limits: one session at a time decides over all candidates."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import evolve

from stepflow.drivers.port import windows
from stepflow.drivers.port.turns import Candidate, Order, admitted
from stepflow.drivers.port.windows import Window, in_windows
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.claim_starts import ClaimStarts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.held_limits import HeldLimits, HeldReading
from stepflow.drivers.postgres.limits import begins, claiming, limit_usage
from stepflow.drivers.postgres.line_starts import BEGIN as FROM_THE_BEGINNING
from stepflow.drivers.postgres.line_starts import FRESH, UNKNOWN, Lines, Looks, after, columns
from stepflow.drivers.postgres.lock_and_read import BEGIN, drawn_epochs
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.partitions import (
    AT,
    LOCKED_STATE,
    NEXT_EPOCH,
    QUEUE_ROW,
    STATE_ROW,
    PostgresPartition,
    Request,
    candidates_of,
    look_at,
    note_taken,
    take_of,
    with_epochs,
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
# The first rows of all lines in the order of claims, from $6, $7, $8 on, without the lines $5.
TURNS = """
select x.priority, x.due, x.id, x.limits from stepflow.queue x where x.shard = $1 and x.flow = $2 and x.partition = 4
    and x.due <= $3 and x.id <> all($4::text[]) and x.limits <> all($5::text[]) and (x.priority, x.due, x.id) >= ($6, $7, $8)
    order by x.priority, x.due, x.id limit $9
"""
# $5, $6: a line and how many of its rows are wanted at most; $7 to $9: from where on.
READY = """
select q.priority, q.due, q.id, q.limits from unnest($5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[])
    as t (line, most, priority, due, id), lateral (
    select * from stepflow.queue x where x.shard = $1 and x.flow = $2 and x.partition = 4 and x.limits = t.line
        and x.due <= $3 and x.id <> all($4::text[]) and (x.priority, x.due, x.id) >= (t.priority, t.due, t.id)
        order by x.priority, x.due, x.id limit t.most) q
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
    select q.at, s.at as state, s.rev, s.polls, {epoch} as epoch, u.rest
    from u cross join {row} q cross join {state} s
), s as (
    update stepflow.states t set epoch = c.epoch from c where not c.polls and {state_row}
)
update stepflow.queue q set partition = 3, owner = $5, claim_rev = c.rev, blocked = '', blocked_by = '', limits = c.rest, holding = c.epoch,
    epoch = case when c.polls then c.epoch end
from c where {queue_row}
returning q.id, c.epoch, q.flow, q.due, q.claim_rev, q.priority, q.crashes, q.cancel, q.limits, q.unfinished, c.polls
""".format(
    row=found(
        "queue",
        "x.shard = $1 and x.id = u.id and x.partition in (2, 4) and x.due <= $4",
        AT,
        more=" for no key update skip locked",
    ),
    state=LOCKED_STATE,
    epoch=with_epochs(NEXT_EPOCH, 6),
    state_row=STATE_ROW,
    queue_row=QUEUE_ROW,
)


Part = tuple[str, str]
"""Shard and flow."""


class Limited:
    """The claims of one owner; `lock` guards the drawing of epochs, and `starts` tells where to look."""

    def __init__(
        self, runner: TransactionRunner, shards: Shards, owner: str, lock: Statement, starts: ClaimStarts
    ) -> None:
        self._runner, self._shards, self._owner, self._lock, self._starts = runner, shards, owner, lock, starts
        self.held = HeldLimits(runner, shards)

    def take(self, connection: Connection, request: Request, partitions: Sequence[PostgresPartition]) -> list[Any]:
        """The rows of what was taken: of `partitions`, whose rows have no limits, and of those that have some."""
        guard = claiming(self._runner, self._shards)
        plain = [look_at(self._runner, partition, request) for partition in partitions]
        parts = [] if request.suspects else [(shard, flow) for shard in self._shards.all for flow in request.flows]
        known = [self._starts.lines(shard, flow, request.now) for shard, flow in parts]
        asked = [
            line_statement(self._runner, shard, flow, request.now, lines, windows.MANY_LINES)
            for (shard, flow), lines in zip(parts, known, strict=True)
        ]
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
        looks = {
            part: looks_of(lines, rows) for part, lines, rows in zip(parts, known, rest[len(special) :], strict=True)
        }
        reading = self.held.reading(many_dead=self._starts.used)
        chosen = self._chosen(connection, request, candidates, looks, reading)
        rows, taken = self._write(connection, request, chosen)
        reading.took([(self._shards.of(restored(row[0])), row[0], row[1]) for row in rows if row[8]])
        if not request.skip and len(rows) == len(chosen):
            ids = [one[0][2] for one in chosen]
            for (part, look), lines in zip(looks.items(), known, strict=True):
                self._starts.looked(*part, request.now, lines, look, ids)
        seen = Counter(partition for _order, _flow, text, partition in candidates if not text)
        for partition in partitions:
            some = taken.get(partition, [])
            more = len(some) < seen[partition] or len(some) >= request.limit
            note_taken(self._starts, request, partition, some, more=more)
        return rows

    def _chosen(
        self,
        connection: Connection,
        request: Request,
        candidates: list[Candidate],
        looks: dict[Part, Looks],
        reading: HeldReading,
    ) -> list[Candidate]:
        """What to take of the candidates without lines and of the first rows of the lines."""
        if any(look.many for look in looks.values()):
            chosen = self._in_windows(connection, request, candidates, looks, reading)
            if chosen is not None:
                return chosen
            every = [line_statement(self._runner, *part, request.now, UNKNOWN, windows.ALL_LINES) for part in looks]
            for part, rows in zip(looks, fetch_all(connection, *every), strict=True):
                looks[part] = evolve(looks[part], starts=looks_of(UNKNOWN, rows).starts)
        return self._by_line(connection, request, candidates, looks, reading)

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
        self,
        connection: Connection,
        request: Request,
        others: Sequence[Candidate],
        looks: Mapping[Part, Looks],
        reading: HeldReading,
    ) -> list[Candidate]:
        """What to take of `others` and of the first rows of each line that has room."""
        now, skip = request.now, texts(sorted(request.skip))
        every = {text for look in looks.values() for text in look.starts}
        given = every | {one[2] for one in others}
        usage = limit_usage(self._runner, connection, self._shards, given, now, reading)
        free = {text: min(request.limit, admission(text, usage, now).free) for text in every}
        asked: list[tuple[Part, Statement]] = []
        for part, look in looks.items():
            most = {text: free[text] for text in look.starts if free[text]}
            if most:
                asked.append((part, ready(self._runner, part, now, skip, most, look.starts)))
                look.asked = most
        answers = fetch_all(connection, *[statement for _part, statement in asked]) if asked else []
        candidates = [*others]
        for (part, _statement), rows in zip(asked, answers, strict=True):
            found = _read(PostgresPartition(*part), rows)
            candidates += found
            if not looks[part].many:
                looks[part].rows = found
        return admitted(candidates, request.flows, usage, now, request.limit)[0]

    def _in_windows(
        self,
        connection: Connection,
        request: Request,
        others: Sequence[Candidate],
        looks: Mapping[Part, Looks],
        reading: HeldReading,
    ) -> list[Candidate] | None:
        """What to take of `others` and of the first rows of all lines; None if more rows would have to be looked at."""
        now, skip = request.now, texts(sorted(request.skip))
        starts = {part: look.first for part, look in looks.items()}

        def fetch(asked: Sequence[Window], full: Collection[str], number: int) -> list[list[Candidate]]:
            statements = []
            for one in asked:
                start = starts.get((one.shard, one.flow)) or after(one.end)
                values = (one.shard, stored(one.flow), now, skip, texts(sorted(full)), *start, number)
                statements.append((self._runner.sql(TURNS), values))
            answers = fetch_all(connection, *statements)
            found = []
            for one, rows in zip(asked, answers, strict=True):
                found.append(_read(PostgresPartition(one.shard, one.flow), rows))
                if starts.pop((one.shard, one.flow), None):
                    looks[(one.shard, one.flow)].rows = found[-1]
            return found

        def usage_of(every: Collection[str]) -> LimitUsage:
            return limit_usage(self._runner, connection, self._shards, every, now, reading)

        asked = [Window(*part) for part in looks]
        return in_windows(asked, others, request.flows, fetch, usage_of, now, request.limit)

    def _write(
        self, connection: Connection, request: Request, chosen: Sequence[Candidate]
    ) -> tuple[list[Any], dict[PostgresPartition, Sequence[Any]]]:
        """The rows of all that was taken, and those of each partition without limits."""
        plain = Counter(where for _order, _flow, text, where in chosen if not text)
        epochs = drawn_epochs(self._runner, connection, len(chosen))
        takes = [
            take_of(self._runner, partition, request, number, self._owner, epochs)
            for partition, number in plain.items()
        ]
        limits = {order[2]: text for order, _flow, text, _where in chosen if text}
        for shard, ids in self._shards.split(limits).items():
            rest = texts([after_start(limits[run_id]) for run_id in ids])
            more = () if epochs is None else (numbers(islice(epochs, len(ids))),)
            takes.append((self._runner.sql(TAKE), (shard, texts(ids), rest, request.now, stored(self._owner), *more)))
        found = fetch_all(connection, *takes) if takes else []
        rows = [row for some in found for row in some]
        taken = [limits[run_id] for row in rows if (run_id := restored(row[0])) in limits]
        notes = [(self._runner.sql(text), values) for text, values in begins(self._shards, taken, request.now)]
        fetch_all(connection, *notes, ("commit", ()))
        return rows, dict(zip(plain, found, strict=False))


def line_statement(runner: TransactionRunner, shard: str, flow: str, now: int, known: Lines, most: int) -> Statement:
    """The statement that tells the lines, at most so many, or the rows that may have appeared if lines are known."""
    if known is UNKNOWN:
        return runner.sql(LINES), (shard, stored(flow), most)
    return runner.sql(FRESH), (shard, stored(flow), now, *known.fresh)


def looks_of(known: Lines, rows: Sequence[Any]) -> Looks:
    """Where to look, as the statement told."""
    if known is UNKNOWN:
        return Looks({restored(text): FROM_THE_BEGINNING for (text,) in rows}, many=len(rows) >= windows.MANY_LINES)
    starts, first = known.with_fresh(rows)
    return Looks(starts, first, many=known.many or len(starts) >= windows.MANY_LINES)


def ready(
    runner: TransactionRunner, part: Part, now: int, skip: str, most: Mapping[str, int], starts: Mapping[str, Order]
) -> Statement:
    """The statement for the first rows of lines: so many of each at most."""
    shard, flow = part
    wanted = (texts(list(most)), numbers(most.values()), *columns([starts[text] for text in most]))
    return runner.sql(READY), (shard, stored(flow), now, skip, *wanted)


def _read(partition: PostgresPartition, rows: Sequence[Any]) -> list[Candidate]:
    return [
        ((priority, due, restored(run_id)), partition.flow, restored(text), partition)
        for priority, due, run_id, text in rows
    ]
