"""unhinged, a port of absurd to SQLite in WAL mode with synchronous=FULL: ten steps that do nothing per task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from unhinged import Unhinged as App

from tests.bench.library import STEPS, Library, nothing
from tests.bench.store import count_rows


class Unhinged(Library):
    """One application, with a connection per thread. Its worker looks for tasks four times a second."""

    WORKERS: ClassVar[int] = 4

    def __init__(self, place: str, long: int = 0, arrived: Callable[[], Any] = nothing) -> None:
        super().__init__(place, long, arrived)
        self._app = App(place, queue_name="bench", busy_timeout=60)
        self._app.register_task("short")(self._short)
        self._app.register_task("long")(self._long)

    def _short(self, params: Any, ctx: Any) -> None:
        for n in range(STEPS):
            ctx.step(f"s{n}", nothing)

    def _long(self, params: Any, ctx: Any) -> None:
        for n in range(self.long):
            ctx.step(f"s{n}", nothing)
        ctx.await_event(f"go-{ctx.task_id}")
        ctx.step("last", self.arrived)

    def start(self, n: int) -> Any:
        return self._app.spawn("short")["task_id"]

    def work(self) -> None:
        self._app.work_batch()

    def result(self, handle: Any) -> None:
        self._app.await_task_result(handle)

    def serve(self, stop: threading.Event) -> None:
        threading.Thread(target=lambda: (stop.wait(), self._app.stop_worker()), daemon=True).start()
        self._app.start_worker()

    def start_long(self, n: int) -> Any:
        return self._app.spawn("long")["task_id"]

    def go_on(self, handle: Any) -> None:
        self._app.emit_event(f"go-{handle}", 1)

    def close(self) -> None:
        self._app.close()

    def steps(self) -> int:
        return count_rows(Path(self.place), "c_bench")

    def starts(self) -> int:
        return count_rows(Path(self.place), "t_bench")
