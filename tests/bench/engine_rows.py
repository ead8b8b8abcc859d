"""The rows about flow functions, killed workers, latency under load, servers, a game, and bytes on the disk."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.driver_rows import NEEDS, STORES
from tests.bench.row import Fill, Row

DURABLE = ("sqlite", "postgres")
SHARES = (20, 50, 80)  # per cent of the maximum
CLIENTS = 256  # so many reach the maximum here: 1,024 do not start more runs per second
WIDTH = 64  # clients of one engine
DBOS = ("dbos",)


def flow_functions() -> Iterator[Row]:
    """The same ten commits per run as the chains, made by flow functions."""
    styles = {
        "flowfn": ("async", "async functions that return their commit"),
        "flowfn-do": ("do", "async functions that await `engine.do`"),
        "flowfn-sync": ("sync", "plain functions that return their commit"),
    }
    for store in DURABLE:
        for name, (style, label) in styles.items():
            yield Row(
                f"{name}.64" if store == "sqlite" else f"{name}.{store}.64",
                f"flow functions of 10 commits, {STORES[store]}", f"{label}, 64 at a time", "flowfn:drain",
                3200 if store == "sqlite" else 1600, "commits/s", {"width": 64, "style": style},
                needs=NEEDS.get(store, ()), store=store,
            )  # fmt: skip


def workflows() -> Iterator[Row]:
    """Workflows of ten steps beside the chains of ten, replays, and steps side by side."""
    styles = {
        "workflows": ("int", "async steps that return an int"),
        "workflows-attrs": ("attrs", "async steps that return a small attrs object"),
        "workflows-sync": ("sync", "sync steps that return an int"),
    }
    for store in DURABLE:
        runs, needs = 3200 if store == "sqlite" else 1600, NEEDS.get(store, ())
        for name, (style, label) in styles.items():
            yield Row(
                f"{name}.64" if store == "sqlite" else f"{name}.{store}.64", f"workflows, {STORES[store]}",
                f"{label}, 64 runs at a time", "workflows:drain", runs, "steps/s", {"width": 64, "style": style},
                needs, store,
            )  # fmt: skip
        yield Row(
            f"resume.{store}", f"workflows, {STORES[store]}", "event to the next step behind 1,000 recorded ones",
            "workflows:resume", 10, "ms", {"behind": 1000}, needs, store, size="rounds",
        )  # fmt: skip
        yield Row(
            f"map.{store}", f"workflows, {STORES[store]}", "map over 1,000 items, 64 at a time", "workflows:mapped", 10,
            "items/s", {"items": 1000, "width": 64}, needs, store,
        )  # fmt: skip


def crashes() -> Iterator[Row]:
    """A worker process dies, another one is idle."""
    for store in DURABLE:
        yield Row(
            f"crash.{store}", "a worker is killed, another one is idle", f"SIGKILL to the first step, {STORES[store]}",
            "crash:measure", 5, "s", needs=NEEDS.get(store, ()), store=store, size="rounds",
        )  # fmt: skip
        yield Row(
            f"crash.lone.{store}", "the only worker is killed, and started again",
            f"start of the process to its first step, {STORES[store]}", "crash:measure", 5, "s", {"lone": True},
            NEEDS.get(store, ()), store, size="rounds",
        )  # fmt: skip


def rates() -> Iterator[Row]:
    """Runs of one step with a limit that lets all of them begin, and without one."""
    for store in DURABLE:
        for name, rate, label in (
            ("none", None, "without a limit"),
            ("window", 20_000, "20,000 may begin in a minute"),
        ):
            yield Row(
                f"rate.{store}.{name}", f"a rate window, {STORES[store]}", label, "rates:drain", 10_000, "runs/s",
                {"rate": rate}, NEEDS.get(store, ()), store,
            )  # fmt: skip


def loads() -> Iterator[Row]:
    """Open loop at shares of the maximum of the same run, and DBOS at the same rates."""
    for store, runs in (("sqlite", 2000), ("postgres", 1000)):
        group, needs = f"start to result under load, {STORES[store]}", NEEDS.get(store, ())
        label = f"maximum: {CLIENTS} clients in a closed loop"
        most = Row(f"load.{store}.max", group, label, "load:most", 2 * runs, "runs/s", {"width": CLIENTS}, needs, store)
        label = "DBOS: maximum, 64 clients in a closed loop"
        needs_dbos = (*needs, *DBOS)
        dbos = Row(
            f"dbos-load.{store}.max", group, label, "peers.dbos:most", 128, "runs/s", {"width": 64}, needs_dbos, store
        )
        yield most
        yield dbos
        paces = [(f"{share}", most, share / 100, f"{share} % of the maximum", runs * share // 20) for share in SHARES]
        paces.append(("half", dbos, 0.5, "half of DBOS's maximum", 100))
        for name, pace, share, text, size in paces:
            yield Row(
                f"load.{store}.{name}", group, f"open loop at {text}: p50", "load:measure", size, "ms",
                {"width": CLIENTS}, needs, store, paced=(pace, share),
            )  # fmt: skip
            yield Row(
                f"dbos-load.{store}.{name}", group, f"DBOS at the same rate, {text}: p50", "peers.dbos:load", size,
                "ms", {}, needs_dbos, store, paced=(pace, share),
            )  # fmt: skip


def disks() -> Iterator[Row]:
    """Bytes that a finished run of ten steps leaves behind, ours and those of the peers."""
    for store in DURABLE:
        group, needs = f"on the disk per finished run of 10 steps, {STORES[store]}", NEEDS.get(store, ())
        libraries = {"stepflow": ("blocking:Stepflow", ())} | (
            {"dura": ("peers.dura:Dura", ("dura",)), "unhinged": ("peers.unhinged:Unhinged", ("unhinged",))}
            if store == "sqlite"
            else {"absurd": ("peers.absurd:Absurd", ("absurd-sdk", "absurdctl"))}
        )
        for name, (kind, wanted) in libraries.items():
            row = f"disk.{store}" if name == "stepflow" else f"disk.{name}"
            yield Row(row, group, name, "disk:measure", 500, "bytes", {"library": kind}, (*needs, *wanted), store)
        if store == "sqlite":
            needs_graph = ("langgraph-checkpoint-sqlite",)
            yield Row(
                "disk.langgraph", group, "LangGraph", "peers.langgraph:disk", 100, "bytes", {}, needs_graph, store
            )
        else:
            yield Row("disk.pgtask", group, "pgtask", "peers.pgtask:disk", 500, "bytes", {}, (*needs, "pgtask"), store)
        yield Row(f"disk.dbos.{store}", group, "DBOS", "peers.dbos:disk", 100, "bytes", {}, (*needs, *DBOS), store)
        yield Row(
            f"disk.three.{store}", f"on the disk per finished run of 3 steps, {STORES[store]}", "stepflow",
            "disk:drained", 5000, "bytes", {}, NEEDS.get(store, ()), store,
        )  # fmt: skip


def verbs() -> Iterator[Row]:
    """A verb by filter beside a worker."""
    for store in DURABLE:
        yield Row(
            f"bulk.{store}", f"a process cancels 100,000 waiting runs by a filter, {STORES[store]}",
            "the longest pause of a worker beside it", "bulk:measure", 100_000, "ms", needs=NEEDS.get(store, ()),
            store=store,
        )  # fmt: skip


def servers() -> Iterator[Row]:
    """The way over a server, beside the driver that this has."""
    group, needs = "over a server, SQLite", ("jinja2", "starlette", "urllib3", "uvicorn")
    for call, label in (("get", "load a run"), ("commit", "commit a start")):
        for name, through in (("bare", False), ("http", True)):
            way = "the driver http" if through else "the driver of the store"
            how = {"call": call, "through": through}
            yield Row(
                f"{name}.{call}", group, f"{label} by {way}: p50", "served:calls", 1000, "ms", how, needs, "sqlite",
                size="rounds",
            )  # fmt: skip
    for call, label in (("get", "ask for a run"), ("commit", "start a run")):
        for name, through in (("bare", False), ("http", True)):
            way = "the driver http" if through else "the driver of the store"
            yield Row(
                f"{name}.{call}.{WIDTH}", group, f"{label} by {way}, {WIDTH} async clients of one engine: p50",
                "served:clients", 3200, "ms", {"call": call, "through": through, "width": WIDTH}, needs, "sqlite",
                size="rounds",
            )  # fmt: skip
    for name, through in (("bare", False), ("http", True)):
        way = "the driver http" if through else "the driver of the store"
        yield Row(
            f"{name}.notice", group, f"a start to its delivery to a watcher of another engine, by {way}: p50",
            "served:notices", 300, "ms", {"through": through}, needs, "sqlite", size="rounds",
        )  # fmt: skip
    label = "async steps by the driver http, 64 runs at a time"
    yield Row("http.64", group, label, "served:drain", 640, how={"width": 64}, needs=needs, store="sqlite")
    yield Row(
        "http.watch", group, "deliveries by the driver http, 100 watchers", "served:deliveries", 640, "deliveries/s",
        {"watchers": 100}, needs, "sqlite",
    )  # fmt: skip
    yield Row(
        "ui.runs", group, "the page of runs, beside 1,000,000 finished runs: p50", "served:page", 100, "ms", {}, needs,
        "sqlite", Fill("ended", 1_000_000), shared=True, size="rounds",
    )  # fmt: skip
    yield Row(
        "ui.live", group, "memory of 1,000 open pages", "served:pages", 1000, "MB", {"seconds": 20.0}, needs, "sqlite",
        size="watchers",
    )  # fmt: skip


def games() -> Iterator[Row]:
    """A move of the game of examples/realtime_game."""
    group, needs = "a game of two players, SQLite", ("starlette", "uvicorn")
    for name, label, probe, package in (
        ("stream", "a move to the stream of the other player: p50", "game:streamed", "urllib3"),
        ("tab", "a click to the board in the other tab of Chromium: p50", "game:clicked", "playwright"),
    ):
        yield Row(f"game.{name}", group, label, probe, 40, "ms", {}, (*needs, package), "sqlite", size="moves")
