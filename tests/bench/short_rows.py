"""The rows about the short way: one run at a time, single starts, restarts, many clients, two processes; ours and peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from tests.bench.driver_rows import NEEDS, STORES
from tests.bench.row import Row


@frozen
class Kind:
    """One measurement: how many runs ours get and how many a peer gets at scale 1."""

    title: str
    ours: int
    peers: int
    unit: str
    how: Mapping[str, Any] = {}
    size: str = "runs"


KINDS = {
    "serial": Kind("one run of 10 steps after the other, starts included", 200, 200, "steps/s"),
    "single": Kind("single starts, one after the other", 500, 500, "starts/s"),
    "reopen": Kind("open and go on behind 1,000 finished steps", 3, 3, "ms", {"behind": 1000}, "rounds"),
    "clients": Kind("64 clients, start to result", 1280, 320, "steps/s", {"width": 64}),
    "across": Kind("start to result over two processes at idle: p50", 50, 10, "ms"),
}
SHORT = {  # peer -> how its module measures: in `short`, by its class, or by functions of its own
    "sqlite": {"dura": "Dura", "unhinged": "Unhinged", "dbos": ""},
    "postgres": {"absurd": "Absurd", "pgtask": "", "pgqueuer": "", "dbos": ""},
}
INSTALLED = {"absurd": ("absurd-sdk", "absurdctl"), "pgqueuer": ("pgqueuer", "asyncpg")}
LABELS = {"dbos": "DBOS", "pgqueuer": "PgQueuer"}
ONLY = {"pgqueuer": ("single", "clients", "across"), "dbos": ("serial", "across")}
"""PgQueuer's jobs have one step, so there is none of ten; DBOS has other rows for the rest."""


def short() -> Iterator[Row]:
    """Each measurement on each store: ours first, then the peers."""
    for name, kind in KINDS.items():
        for store, peers in SHORT.items():
            group, needs = f"{kind.title}, {STORES[store]}", NEEDS.get(store, ())
            yield _ours(name, kind, store, group, needs)
            for peer, library in peers.items():
                if name in ONLY.get(peer, KINDS) and (name, peer, store) != ("serial", "dbos", "sqlite"):
                    probe = f"short:{name}" if library else f"peers.{peer}:{name}"
                    how = {"library": f"peers.{peer}:{library}", **kind.how} if library else kind.how
                    label, unit = LABELS.get(peer, peer), kind.unit
                    if peer == "pgqueuer":
                        label, unit = f"{label}, jobs of one step", unit.replace("steps", "jobs")
                    yield Row(
                        f"{name}.{peer}.{store}" if peer == "dbos" else f"{name}.{peer}", group, label, probe,
                        kind.peers, unit, how, (*needs, *INSTALLED.get(peer, (peer,))), store, size=kind.size,
                    )  # fmt: skip


def _ours(name: str, kind: Kind, store: str, group: str, needs: tuple[str, ...]) -> Row:
    """The blocking engine, except for many clients, who share an asynchronous one."""
    probe, label = (
        (f"short:{name}", "stepflow, Engine") if name != "clients" else ("load:clients", "stepflow, AsyncEngine")
    )
    how = kind.how if name == "clients" else {"library": "blocking:Stepflow", **kind.how}
    return Row(f"{name}.{store}", group, label, probe, kind.ours, kind.unit, how, needs, store, size=kind.size)
