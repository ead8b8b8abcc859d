"""The raw limit of PostgreSQL: psycopg on stepflow's own schema, all steps of a commit in one prepared statement.

Several forms were tried: one statement for both tables, fed with array literals, was the fastest. Slower were two statements
in a pipeline, lists that psycopg converts, and an `executemany` in a pipeline, which took four times as long.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

from stepflow.drivers.postgres.arrays import numbers, texts
from stepflow.drivers.postgres.connector import SETTINGS
from tests.bench.begun import STEPS, Step, begin, commits
from tests.bench.target import target

OPTIONS = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in SETTINGS.items())

# The epoch of a run is a column of its row: the check costs one comparison.
WRITE = """
with u as materialized (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
        as t (id, epoch, prev, rev, transition, at)
), s as (
    update stepflow.states t set rev = u.rev, transition = u.transition, committed_at = u.at from u
    where t.shard = '/0' and t.id = u.id and t.rev = u.prev and t.epoch = u.epoch returning u.*, t.exchange_rev
)
insert into stepflow.history (rev, shard, id, prev, token, transition, labels, annotations, committed_at, exchange_rev)
select rev, '/0', id, prev, 1, transition, '{}', '{}', at, exchange_rev from s
"""


def _columns(steps: list[Step]) -> tuple[str, ...]:
    ids, epochs, prevs, revs, moves, times = zip(*steps, strict=True)
    return texts(ids), numbers(epochs), numbers(prevs), numbers(revs), texts(moves), numbers(times)


def measure(folder: Path, *, store: str, place: str, runs: int, batch: int) -> dict[str, Any]:
    """Steps per second with `batch` steps in one commit, on one connection with the driver's settings."""
    at = target(store, place)
    with at.session() as session:
        work = [_columns(steps) for steps in commits(begin(session, runs), batch)]
        with psycopg.connect(place, autocommit=True, options=OPTIONS, cursor_factory=psycopg.RawCursor) as connection:
            began = perf_counter()
            written = sum(connection.execute(WRITE, columns, prepare=True).rowcount for columns in work)
            spent = perf_counter() - began
        found = at.revisions() - runs
    return {"value": found / spent, "steps": min(found, written), "expected": runs * STEPS}
