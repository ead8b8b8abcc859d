"""prune: deletes ended runs in short transactions; a run that is too large for one is hidden in its first and deleted in several.

Candidates are looked for outside of the transactions, each once per pruning. A run's history is deleted from its newest revision
back, so what is left of it is a sound chain, which begins where the hidden record says (`exchange_rev`). No other transaction is
waited for but the end of another pruning's: a run that one has locked is left to the next pruning.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from attrs import define, field, frozen

from stepflow.drivers.port.pruning import GONE, NOWHERE, PAGE, PRUNED, PRUNING, RUNS, Budget, Candidates, Pruned, own_of
from stepflow.drivers.port.stored import read_map
from stepflow.drivers.postgres import tally
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.limits import OVER
from stepflow.drivers.postgres.list_ways import FLOWS
from stepflow.drivers.postgres.lock_and_read import BEGIN
from stepflow.drivers.postgres.lookup import either, found, located
from stepflow.drivers.postgres.rows import Shards, label_key
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.drivers.postgres.write_changes import RELABEL
from stepflow.model.lifecycle import FINAL

GROUPS = f"{FLOWS.replace('$2', '$1')} select name from flow where name is not null"
_PENDING = "select 1 from stepflow.delays d where d.shard = $1 and d.run_id = x.id and not d.fired"
# A run ended after it was created, so the index by creation time bounds the search.
LOOK = (
    f"select x.created_at, x.id, case when x.committed_at >= $4 or x.epoch is not null then true else exists ({_PENDING}) end"
    " from stepflow.states x where x.shard = $1 and x.flow = $2 and x.status = $3 and x.delay is null and x.created_at < $4"
    " and (x.created_at, x.id) > ($5, $6) order by x.created_at, x.id limit $7"
)
_FINAL = ", ".join(repr(str(status)) for status in sorted(FINAL))
_ENDED = f"x.shard = $1 and x.id = u.id and x.delay is null and x.epoch is null and x.committed_at < $3 and x.status in ({_FINAL})"
ENDED = (
    "select s.* from unnest($2::text[]) as u (id) cross join"
    f" {found('states', _ENDED, 'x.id, x.rev, x.labels, x.flow, x.status', ' for update skip locked')} s"
)
# Asked once the runs are locked: a delay may have been set since they were looked for.
DELAYED = f"select x.id from unnest($2::text[]) as x (id) where exists ({_PENDING})"
_STAND_INS = "from stepflow.states x where x.shard = $1 and x.flow = '' and x.delay is null and x.status ="
HIDDEN = (
    f"select x.id, x.exchange_rev, x.created_at {_STAND_INS} '{PRUNING}' order by x.created_at, x.id limit $2"
    " for update skip locked"
)
MORE = (
    f"select exists (select 1 {_STAND_INS} '{PRUNING}')"
    f" or exists (select 1 {_STAND_INS} '{GONE}' and x.created_at <= $2)"
)
EXPIRE = (
    f"delete from stepflow.states t using (select x.ctid as at {_STAND_INS} '{GONE}' and x.created_at <= $2"
    " order by x.created_at, x.id limit $3 for update skip locked) e where t.ctid = e.at"
    f"{either('', ' and t.shard = $1')}"
)
# A revision that was pruned stays the newest if it was that.
FLOOR = (
    "insert into stepflow.meta (name, value) values ('floor', $1) on conflict (name)"
    " do update set value = greatest(meta.value, excluded.value)"
)
_SIZE = "coalesce(octet_length(x.exchange), 0)"
REVISIONS = f"""
select u.n, c.size, c.rev from unnest($2::bigint[]) with ordinality as u (rev, n) cross join lateral (
    with recursive chain (rev, prev, size) as (
        select x.rev, x.prev, {_SIZE} from stepflow.history x where x.shard = $1 and x.rev = u.rev
        union all
        select h.* from chain c
            cross join {found("history", "x.shard = $1 and x.rev = c.prev", f"x.rev, x.prev, {_SIZE}")} h where c.prev > 0
    ) select * from chain) c limit $3
"""
DELETE_REVISIONS = f"delete from stepflow.history t using unnest($2::bigint[]) as u (rev) {located('history', 'x.shard = $1 and x.rev = u.rev')}"
ATTACHED = {
    "events": "octet_length(x.payload)",
    "delays": "0",
    "journal": "octet_length(x.text)",
    "data": "octet_length(x.blob)",
}  # and their size
_OF_RUN = "x.shard = $1 and x.run_id = u.id"
LOOK_ATTACHED = {
    table: "select u.n, a.size, a.at::text from unnest($2::text[]) with ordinality as u (id, n) cross join"
    f" {found(table, _OF_RUN, f'x.ctid as at, {size} as size')} a limit $3"
    for table, size in ATTACHED.items()
}
CONFLICTS_OVER = "delete from stepflow.conflicts where shard = $1 and at < $2"  # there are few
STAND_IN = (
    f"update stepflow.states t set flow = '', status = u.status, exchange_rev = u.rest, created_at = u.until, rev = {PRUNED},"
    f" transition = '{NOWHERE}', labels = '{{}}', annotations = '{{}}', waiting = '', limits = ''"
    " from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) as u (id, status, rest, until)"
    f" {located('states')}"
)
DELETE = f"delete from stepflow.states t using unnest($2::text[]) as u (id) {located('states')}"


@frozen
class EndedRun:
    """A run to be deleted: what is left of its history begins at `rev`; `labels` are those in the index; `fresh`: not hidden yet."""

    id: str
    rev: int
    keep_until: int
    labels: str = "{}"
    flow: str = ""
    status: str = ""
    fresh: bool = False


@define
class PostgresPruning:
    """One pruning of a namespace; `left` is how many runs it may still delete."""

    runner: TransactionRunner
    shards: Shards
    candidates: Candidates
    left: int
    now: int
    keep_until: int

    def pieces(self) -> Iterator[Pruned]:
        """Delete a piece at each step, until there is nothing more to delete."""
        for shard in self.shards.all:
            ids = self.candidates.ids(lambda shard=shard: self._groups(shard), self._page)  # type: ignore[misc]
            waiting = deque[str]()
            while True:
                waiting.extend(islice(ids, max(min(RUNS, self.left) - len(waiting), 0)))
                if not waiting and not self._ask(MORE, shard, self.now)[0][0]:
                    break
                piece, done, changed = self.runner.run(
                    lambda connection, shard=shard, some=tuple(waiting): self._piece(connection, shard, some)  # type: ignore[misc]
                )
                if not waiting and not changed:
                    break  # another pruning is at it
                waiting = deque(islice(waiting, done, None))
                self.left -= piece.runs
                yield piece
        yield from self._delete_over()

    def _ask(self, text: str, *values: object) -> list[Any]:
        return self.runner.run(lambda connection: connection.execute(self.runner.sql(text), values).fetchall())

    def _groups(self, shard: str) -> list[tuple[str, ...]]:
        flows = [name for (name,) in self._ask(GROUPS, shard)]
        return [(shard, flow, str(status)) for flow in flows for status in sorted(FINAL)]

    def _page(self, group: Sequence[str], created_at: int, run_id: str) -> list[Any]:
        rows = self._ask(LOOK, *group, self.candidates.before, created_at, stored(run_id), PAGE)
        return [(at, restored(one), kept) for at, one, kept in rows]

    def _delete_over(self) -> Iterator[Pruned]:
        """Delete conflicts, start times and deduplication keys that ended, a part in each transaction."""
        over, before = self.runner.sql(CONFLICTS_OVER), self.candidates.before
        for shard in self.shards.all:
            if self.runner.run(lambda connection, shard=shard: connection.execute(over, (shard, before)).rowcount):  # type: ignore[misc]
                yield Pruned(pieces=1)
        values = (self.shards.all[0], self.candidates.before, PAGE)
        for text in map(self.runner.sql, OVER):
            deleted = PAGE
            while deleted == PAGE:
                deleted = self.runner.run(lambda connection, text=text: connection.execute(text, values).rowcount)  # type: ignore[misc]
                if deleted:
                    yield Pruned(pieces=1)

    def _piece(self, connection: Connection, shard: str, waiting: Sequence[str]) -> tuple[Pruned, int, bool]:
        """One transaction; how many of the waiting runs need not be looked at again, and whether anything was changed."""
        sql = self.runner.sql
        connection.execute(BEGIN)
        piece = _PostgresPiece(self.runner, connection, shard)
        expired = connection.execute(sql(EXPIRE), (shard, self.now, piece.budget.rows)).rowcount
        hidden = connection.execute(sql(HIDDEN), (shard, RUNS)).fetchall()
        targets = [EndedRun(restored(run_id), rev, keep_until) for run_id, rev, keep_until in hidden]
        key = (shard, texts(waiting))
        ended, delayed = fetch_all(connection, (sql(ENDED), (*key, self.candidates.before)), (sql(DELAYED), key))
        kept = {row[0] for row in delayed}
        targets += [
            EndedRun(restored(run_id), rev, self.keep_until, labels, restored(flow), status, fresh=True)
            for run_id, rev, labels, flow, status in ended
            if run_id not in kept
        ]
        changed = piece.delete(targets, self.now)
        fresh = [target for target in changed if target.fresh]
        if fresh:
            counted = [(target.flow, target.status, target.rev) for target in fresh]
            tally.pruned(self.runner, connection, shard, counted)
        connection.execute("commit")
        done = (
            len(waiting)
            if len(changed) == len(targets)
            else max((waiting.index(target.id) + 1 for target in fresh), default=0)
        )
        return (
            Pruned(len(fresh), piece.revisions, 1, own_of(target.flow for target in fresh)),
            done,
            bool(changed or expired),
        )


@define
class _PostgresPiece:
    """The deletions of one transaction."""

    runner: TransactionRunner
    connection: Connection
    shard: str
    revisions: int = 0
    budget: Budget = field(factory=Budget)

    def delete(self, targets: Sequence[EndedRun], now: int) -> list[EndedRun]:
        """Delete what the budget allows of these runs, in their order; those of which something was deleted."""
        complete, last, rest = self._delete_history(targets)
        changed = list(targets[: complete + (last is not None)])
        for table in ATTACHED:
            complete = min(complete, self._delete_attached(table, [target.id for target in targets[:complete]]))
        self._unindex([target for target in changed if target.fresh])
        gone = [target for target in changed[:complete] if target.keep_until <= now]
        stand_ins = [
            (target, GONE, 0) if number < complete else (target, PRUNING, rest if target is last else 0)
            for number, target in enumerate(changed)
            if number >= complete or target.keep_until > now
        ]
        self._write(gone, stand_ins)
        return changed

    def _write(self, gone: Sequence[EndedRun], stand_ins: Sequence[tuple[EndedRun, str, int]]) -> None:
        if gone:
            self._execute(DELETE, texts([target.id for target in gone]))
        if stand_ins:
            self._execute(
                STAND_IN,
                texts([target.id for target, _status, _rest in stand_ins]),
                texts([status for _target, status, _rest in stand_ins]),
                numbers([rest for _target, _status, rest in stand_ins]),
                numbers([target.keep_until for target, _status, _rest in stand_ins]),
            )

    def _execute(self, text: str, *values: object) -> None:
        self.connection.execute(self.runner.sql(text), (self.shard, *values))

    def _delete_history(self, targets: Sequence[EndedRun]) -> tuple[int, EndedRun | None, int]:
        """How many runs have no history any more, the one after them if part of it was deleted, and where the rest of that begins."""
        values = (self.shard, numbers([target.rev for target in targets]), self.budget.rows + 1)
        rows = self.connection.execute(self.runner.sql(REVISIONS), values).fetchall()
        taken, cut = self._take(rows)
        self.revisions += len(taken)
        if taken:
            self._execute(DELETE_REVISIONS, numbers([rev for _n, _size, rev in taken]))
        if cut is None:
            return len(targets), None, 0
        number, _size, rest = cut
        partly = any(n == number for n, _size, _rev in taken[-1:])
        return number - 1, targets[number - 1] if partly else None, rest

    def _delete_attached(self, table: str, ids: Sequence[str]) -> int:
        """How many of the runs have nothing in this table any more."""
        text = self.runner.sql(LOOK_ATTACHED[table])
        rows = self.connection.execute(text, (self.shard, texts(ids), max(self.budget.rows, 0) + 1)).fetchall()
        taken, cut = self._take(rows)
        if taken:
            delete = f"delete from stepflow.{table} t where t.shard = $1 and t.ctid = any($2::tid[])"
            self._execute(delete, texts([at for _n, _size, at in taken]))
        return len(ids) if cut is None else int(cut[0]) - 1

    def _take(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Sequence[tuple[Any, ...]], tuple[Any, ...] | None]:
        """The first rows (number of the run, size, key) that the budget allows, and the one after them."""
        for count, row in enumerate(rows):
            if self.budget.spent:
                return rows[:count], row
            self.budget.spend(row[1])
        return rows, None

    def _unindex(self, fresh: Sequence[EndedRun]) -> None:
        """Remove the labels of these runs from the index, and keep the newest of their revisions from being given again."""
        if fresh:
            self.connection.execute(self.runner.sql(FLOOR), (max(target.rev for target in fresh),))
        pairs = [(target.id, label_key(*item)) for target in fresh for item in read_map(target.labels).items()]
        if pairs:
            self._execute(RELABEL, texts([run_id for run_id, _key in pairs]), texts([key for _run, key in pairs]))
