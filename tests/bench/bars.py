"""The bars: which figure must be how many times which other one, measured as interleaved pairs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from attrs import frozen

from tests.bench.driver_rows import BESIDE, KEYS, LISTS, RARE, STORES
from tests.bench.probe import Sampler
from tests.bench.rows import ROWS, SLEEPERS

PEERS_64 = ("dbos.64", "burr.64", "langgraph.64")
PEERS_1 = ("dbos.1", "burr.1", "langgraph.1")
TUNED_64 = ("dbos-wal.64", "burr-wal.64", "burr-async.64", "burr-async-wal.64", "langgraph.64")
CLAIMS = [(kind, 3 if kind == "mixed" else 1.5, beside) for kind, (beside, _fill) in BESIDE.items() if kind != "empty"]
SERIAL = ("serial.absurd", "serial.pgtask", "serial.dbos.postgres")
SINGLE = ("single.pgqueuer", "single.absurd", "single.pgtask")
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
    Bar("5,000 runs of one step on PostgreSQL: PgQueuer's drain", "short.postgres", 1, ("pgqueuer.drain",)),
    *(Bar(f"100 watchers, {STORES[s]}: 50,000 deliveries/s", f"watch.{s}", 50_000) for s in ("sqlite", "postgres")),
    *(
        Bar(
            f"a result beside 1,000 waiters, {STORES[s]}: 2 x beside 10",
            f"waiters.{s}.1000",
            2,
            (f"waiters.{s}.10",),
            at_most=True,
        )
        for s in ("sqlite", "postgres")
    ),
    *(
        Bar(f"an exchange of 1 MB, {STORES[s]}: 20 kB per step", f"exchange.{s}", 20_000, at_most=True)
        for s in ("sqlite", "postgres")
    ),
    Bar("an exchange of 1 MB: 1.5 x one encoding", "exchange.cpu", 1.5, ("exchange.encode",), at_most=True),
    *(
        bar
        for s in ("sqlite", "postgres")
        for bar in (
            Bar(
                f"a start beside a pruning, {STORES[s]}: 5 x without",
                f"prune.{s}.beside",
                5,
                (f"prune.{s}.alone",),
                at_most=True,
            ),
            Bar(f"a start beside a pruning, {STORES[s]}: 250 ms", f"prune.{s}.beside", 250, at_most=True),
        )
    ),
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
    *(
        Bar(f"the first run of another flow, {STORES[s]}: 5 % of the backlog's drain", f"turns.{s}", 5, at_most=True)
        for s in ("sqlite", "postgres", "rocksdb")
    ),
    Bar("four workers on one file, SQLite: 95 % of one", "workers.sqlite.4", 0.95, ("workers.sqlite.1",)),
    *(
        Bar(
            f"claim among {many:,} keys, {STORES[s]}: {most} x among {few:,}",
            f"keys.{s}.{many}",
            most,
            (f"keys.{s}.{few}",),
            at_most=True,
        )
        for s in ("sqlite", "postgres")
        for few, many, most in zip(KEYS, KEYS[1:], (3, 1.5), strict=False)
    ),
    *(
        Bar(
            f"{label}, {STORES[s]}, beside 1,000,000 {beside}: {most} x beside 20,000",
            f"list.{s}.{what}.many",
            most,
            (f"list.{s}.{what}.few",),
            at_most=True,
        )
        for s in ("sqlite", "postgres")
        for beside, lists_of in (("finished runs", LISTS), ("runs that sleep", RARE))
        for what, label in lists_of.items()
        for most in (5 if what == "tally" else 3,)
    ),
    Bar("import: 150 ms", "import", 150, at_most=True),
    *(
        Bar(f"flow functions that {how}, {STORES[store]}: 60 % of chains", f"{name}{suffix}", 0.6, (chains,))
        for store, suffix, chains in (("sqlite", ".64", "async.64"), ("postgres", ".postgres.64", "postgres.64"))
        for name, how in (("flowfn", "return"), ("flowfn-do", "await"))
    ),
    *(
        Bar(
            f"workflows whose steps return {what}, {STORES[store]}: {factor:g} x chains",
            name + suffix,
            factor,
            (chains,),
        )
        for store, suffix, chains in (("sqlite", ".64", "async.64"), ("postgres", ".postgres.64", "postgres.64"))
        for name, what, factor in (("workflows", "an int", 1.2), ("workflows-attrs", "an object", 1))
    ),
    *(
        Bar(f"a replay of 1,000 steps, {STORES[s]}: 10 ms", f"resume.{s}", 10, at_most=True)
        for s in ("sqlite", "postgres")
    ),
    Bar(
        "one run after the other, SQLite: 1.2 x the best peer", "serial.sqlite", 1.2, ("serial.dura", "serial.unhinged")
    ),
    Bar("one run after the other, PostgreSQL: 1.2 x the best peer", "serial.postgres", 1.2, SERIAL),
    Bar("single starts, SQLite: 1.2 x the best peer", "single.sqlite", 1.2, ("single.dura", "single.unhinged")),
    Bar("single starts, PostgreSQL: the best peer", "single.postgres", 1, SINGLE),
    Bar("64 clients, SQLite: half of the drain", "clients.sqlite", 0.5, ("async.64",)),
    Bar("64 clients, PostgreSQL: half of the drain", "clients.postgres", 0.5, ("postgres.64",)),
    Bar("open and go on, SQLite: 80 % of dura's time", "reopen.sqlite", 0.8, ("reopen.dura",), at_most=True),
    Bar("open and go on, PostgreSQL: 80 % of absurd's time", "reopen.postgres", 0.8, ("reopen.absurd",), at_most=True),
    *(
        Bar(
            f"over two processes, {STORES[s]}: a quarter of DBOS",
            f"across.{s}",
            0.25,
            (f"across.dbos.{s}",),
            at_most=True,
        )
        for s in ("sqlite", "postgres")
    ),
    *(
        Bar(f"a rate window, {STORES[s]}: half of the drain without", f"rate.{s}.window", 0.5, (f"rate.{s}.none",))
        for s in ("sqlite", "postgres")
    ),
    Bar("a lone worker that restarts, PostgreSQL: 1 s", "crash.lone.postgres", 1, at_most=True),
    *(
        Bar(f"a verb by filter, {STORES[s]}: workers pause for 100 ms", f"bulk.{s}", 100, at_most=True)
        for s in ("sqlite", "postgres")
    ),
    Bar("the driver http: a quarter of the drain", "http.64", 0.25, ("async.64",)),
    Bar("the page of runs beside 1,000,000 finished ones: 100 ms", "ui.runs", 100, at_most=True),
    Bar("a move of the game is in the other player's stream: 100 ms", "game.stream", 100, at_most=True),
    Bar("a move of the game is shown in the other player's tab: 100 ms", "game.tab", 100, at_most=True),
    Bar("on the disk, PostgreSQL: 90 % of absurd", "disk.postgres", 0.9, ("disk.absurd",), at_most=True),
    Bar("a run of three steps on the disk, SQLite: 740 bytes", "disk.three.sqlite", 740, at_most=True),
    Bar("a run of three steps on the disk, PostgreSQL: 1,590 bytes", "disk.three.postgres", 1590, at_most=True),
    *(
        Bar(
            f"loads of records for a result beside 1,000 waiters, {STORES[s]}: 2 x beside 10",
            f"loads.{s}.1000",
            2,
            (f"loads.{s}.10",),
            at_most=True,
        )
        for s in ("sqlite", "postgres")
    ),
    *(
        bar
        for version in (16, 18)
        for bar in (
            Bar(f"a claim with any plan, PostgreSQL {version}: 200 %", f"plans.{version}", 200, at_most=True),
            Bar(f"a claim beside a snapshot, PostgreSQL {version}: 200 %", f"snapshot.{version}", 200, at_most=True),
            Bar(
                f"a claim with limits beside a snapshot, PostgreSQL {version}: 200 %",
                f"snapshot.limits.{version}",
                200,
                at_most=True,
            ),
        )
    ),
)
ALSO = (
    Bar("async, 64 at a time: the best tuned peer", "async.64", 30, TUNED_64),
    Bar("sync, 64 at a time: the best tuned peer", "sync.64", 15, TUNED_64),
    Bar("one at a time: the best tuned peer", "async.1", 2, TUNED_1),
    Bar("apply: transitions with a callback", "apply", 10, ("transitions-call",)),
    Bar("plain flow functions, SQLite: 60 % of chains", "flowfn-sync.64", 0.6, ("sync.64",)),
    Bar("with OpenTelemetry, async: a tenth of those without", "told-async.64", 0.1, ("async.64",)),
    Bar("with OpenTelemetry, sync: a tenth of those without", "told-sync.64", 0.1, ("sync.64",)),
)
"""For information: the same bars against the fastest of all configurations of peers that were tried."""


def _best(sampler: Sampler, bar: Bar) -> str:
    """The best of the rows so far, empty when none was measured."""
    pick: Any = min if bar.at_most else max
    known = {n: pick(s["value"] for s in sampler.samples[n]) for n in bar.against if n in sampler.samples}
    return str(pick(known, key=lambda n: known[n], default=""))


def judge(bar: Bar, sampler: Sampler, pairs: int, tell: Callable[[str], Any]) -> Verdict:
    """Measure a bar: the median of the ratios of `pairs` pairs, taken in turn (one side, the other, and again)."""
    other = _best(sampler, bar)
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
