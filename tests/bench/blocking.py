"""Stepflow as the README shows it first: a blocking engine that starts a run, advances it, and has its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from stepflow import Engine, named
from tests.bench.library import Library, nothing
from tests.bench.ours import flow_of
from tests.bench.target import target


class Stepflow(Library):
    """One engine; the kind of store shows in its place."""

    def __init__(self, place: str, long: int = 0, arrived: Callable[[], Any] = nothing) -> None:
        super().__init__(place, long, arrived)
        self._store = "postgres" if place.startswith("postgresql:") else "sqlite"
        chain: Any = named("long")
        for n in range(long):
            chain = chain.do(f"s{n}", nothing)
        chain = chain.wait_event("go", "go", int, lambda payload: None)
        self._flow, self._long = flow_of("sync"), chain.do("last", self.arrived).compile()
        self._engine = Engine(place if self._store == "postgres" else f"sqlite:///{place}")
        self._engine.__enter__()
        self._engine.register(self._flow, self._long)

    def start(self, n: int) -> Any:
        return self._engine.start(self._flow, id=f"run-{n:06}")

    def work(self) -> None:
        self._engine.run_until_idle()

    def result(self, handle: Any) -> None:
        handle.result()

    def serve(self, stop: threading.Event) -> None:
        with self._engine.worker():
            stop.wait()

    def start_long(self, n: int) -> Any:
        return self._engine.start(self._long, id=f"run-{n:06}").id

    def go_on(self, handle: Any) -> None:
        self._engine.get(handle).publish("go", 1)

    def close(self) -> None:
        self._engine.__exit__(None, None, None)

    def steps(self) -> int:
        at = target(self._store, self.place)
        return at.revisions() - at.runs()

    def starts(self) -> int:
        return target(self._store, self.place).runs()
