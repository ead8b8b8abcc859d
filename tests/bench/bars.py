"""The bars: which figure must be how many times which other one, measured as interleaved pairs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from tests.bench.driver_rows import BESIDE, STORES
from tests.bench.probe import Sampler
from tests.bench.rows import ROWS, SLEEPERS

PEERS_64 = ("dbos.64", "burr.64", "langgraph.64")
PEERS_1 = ("dbos.1", "burr.1", "langgraph.1")
TUNED_64 = ("dbos-wal.64", "burr-wal.64", "burr-async.64", "burr-async-wal.64", "langgraph.64")
CLAIMS = [(kind, 3 if kind == "mixed" else 1.5, beside) for kind, (beside, _fill) in BESIDE.items() if kind != "empty"]
TUNED_1 = ("dbos-wal.1", "burr-wal.1", "langgraph.1")


@frozen
class Bar:
    """`row` must reach `factor` times the best of `against`; without `against` its value must be at least `factor`.

    `at_most` turns the comparison around.
    """

    text: str
    row: str
    factor: float
    against: tuple[str, ...] = ()
    at_most: bool = False


@frozen
class Verdict:
    """A measured bar: `figure` is a ratio, or a value; None when a side could not be measured."""

    bar: Bar
    figure: float | None
    against: str
    pairs: tuple[float, ...]

    @property
    def passed(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure <= self.bar.factor if self.bar.at_most else self.figure >= self.bar.factor


BARS = (
    Bar("async, 64 at a time: half of the raw limit, 64 per commit", "async.64", 0.5, ("raw.64.full",)),
    Bar("async, 64 at a time: 30 x the best peer", "async.64", 30, PEERS_64),
    Bar("sync, 64 at a time: 15 x the best peer", "sync.64", 15, PEERS_64),
    Bar("one at a time: 2 x the best peer", "async.1", 2, PEERS_1),
    Bar(f"beside {SLEEPERS:,} sleeping runs: 90 %", "sleepers.64", 0.9, ("async.64",)),
    Bar("beside a spinning step: 5,000 steps/s", "spin.64", 5000),
    Bar("apply: 10 x transitions", "apply", 10, ("transitions",)),
    Bar("memory driver: 1.5 x SQLite", "memory.64", 1.5, ("async.64",)),
    Bar("PostgreSQL, 64 at a time: 30 % of its raw limit", "postgres.64", 0.3, ("raw.postgres.64",)),
    Bar("RocksDB, 64 at a time: SQLite", "rocksdb.64", 1, ("async.64",)),
    Bar("starts on PostgreSQL: half of PgQueuer's batch enqueue", "many.postgres", 0.5, ("pgqueuer.enqueue",)),
    Bar("5,000 runs of one step on PostgreSQL: half of PgQueuer's drain", "short.postgres", 0.5, ("pgqueuer.drain",)),
    *(Bar(f"100 watchers, {STORES[s]}: 50,000 deliveries/s", f"watch.{s}", 50_000) for s in ("sqlite", "postgres")),
    *(
        Bar(
            f"claim, {name}, beside {beside}: {most} x",
            f"claim.{store}.{kind}",
            most,
            (f"claim.{store}.empty",),
            at_most=True,
        )
        for store, name in STORES.items()
        if store != "memory"
        for kind, most, beside in CLAIMS
    ),
    Bar("import: 150 ms", "import", 150, at_most=True),
)
ALSO = (
    Bar("async, 64 at a time: the best tuned peer", "async.64", 30, TUNED_64),
    Bar("sync, 64 at a time: the best tuned peer", "sync.64", 15, TUNED_64),
    Bar("one at a time: the best tuned peer", "async.1", 2, TUNED_1),
    Bar("apply: transitions with a callback", "apply", 10, ("transitions-call",)),
)
"""For information: the same bars against the fastest of all configurations of peers that were tried."""


def _best(sampler: Sampler, names: Sequence[str]) -> str:
    """The fastest of the rows so far, empty when none was measured."""
    known = {n: max(s["value"] for s in sampler.samples[n]) for n in names if n in sampler.samples}
    return max(known, key=lambda n: known[n], default="")


def judge(bar: Bar, sampler: Sampler, pairs: int, tell: Callable[[str], Any]) -> Verdict:
    """Measure a bar: the median of the ratios of `pairs` pairs, taken in turn (one side, the other, and again)."""
    other = _best(sampler, bar.against)
    if bar.against and not other:
        return Verdict(bar, None, "", ())
    figures = []
    for n in range(pairs):
        tell(f"{bar.text} ({n + 1}/{pairs})")
        base = sampler.sample(ROWS[other]) if other else 1.0
        value = sampler.sample(ROWS[bar.row])
        if value is None or base is None:
            return Verdict(bar, None, other, ())
        figures.append(value / base)
    return Verdict(bar, statistics.median(figures), other, tuple(figures))
