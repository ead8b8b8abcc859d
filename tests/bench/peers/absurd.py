"""absurd, whose engine is SQL functions in PostgreSQL: ten steps that do nothing per task, driven by its Python SDK.

The schema is the one that its command line carries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import absurdctl
import psycopg
from absurd_sdk import Absurd as App

from tests.bench.library import STEPS, Library, nothing, postgres_number


class Absurd(Library):
    """One application on one connection. Its worker looks for tasks four times a second."""

    WORKERS: ClassVar[int] = 4

    def __init__(self, place: str, long: int = 0, arrived: Callable[[], Any] = nothing) -> None:
        super().__init__(place, long, arrived)
        self._app = App(place, queue_name="bench")
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

    def set_up(self) -> None:
        with psycopg.connect(self.place, autocommit=True) as connection:
            connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
        self._app.create_queue()

    def start(self, n: int) -> Any:
        return self._app.spawn("short", {})["task_id"]

    def work(self) -> None:
        self._app.work_batch()

    def result(self, handle: Any) -> None:
        self._app.await_task_result(handle)

    def serve(self, stop: threading.Event) -> None:
        threading.Thread(target=lambda: (stop.wait(), self._app.stop_worker()), daemon=True).start()
        self._app.start_worker()

    def start_long(self, n: int) -> Any:
        return self._app.spawn("long", {})["task_id"]

    def go_on(self, handle: Any) -> None:
        self._app.emit_event(f"go-{handle}", 1)

    def close(self) -> None:
        self._app.close()

    def steps(self) -> int:
        return postgres_number(self.place, "select count(*) from absurd.c_bench")

    def starts(self) -> int:
        return postgres_number(self.place, "select count(*) from absurd.t_bench")
