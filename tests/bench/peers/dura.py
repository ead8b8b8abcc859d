"""dura, which keeps its tasks in a SQLite file in WAL mode: ten checkpoints that do nothing per task.

It has no way to wait for a result: clients look at the task again and again. Its worker pool looks for tasks once a second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dura import DurableEngine, process_task, run_worker

from tests.bench.library import POLL_S, STEPS, Library, nothing
from tests.bench.store import count_rows, new_file

logging.getLogger("dura").setLevel(logging.ERROR)


class Dura(Library):
    """One engine, with a connection per thread."""

    WORKERS: ClassVar[int] = 4

    def __init__(self, place: str, long: int = 0, arrived: Callable[[], Any] = nothing) -> None:
        super().__init__(place, long, arrived)
        self._handlers = {"short": self._short, "long": self._long}
        self._engine = DurableEngine(new_file(Path(place), wal=False))

    def _steps(self, task: Any, first: int, last: int) -> None:
        for n in range(first, last):
            self._engine.checkpoint(task_id=task.task_id, step_name=f"s{n}", fn=nothing)

    def _short(self, engine: DurableEngine, task: Any) -> None:
        self._steps(task, 0, STEPS)

    def _long(self, engine: DurableEngine, task: Any) -> None:
        self._steps(task, 0, self.long)
        engine.wait_for_event(run_id=task.run_id, task_id=task.task_id, step_name="go", event_name=f"go-{task.task_id}")
        engine.checkpoint(task_id=task.task_id, step_name="last", fn=self.arrived)

    def start(self, n: int) -> Any:
        return self._engine.spawn_task(name="short", params={}).task_id

    def work(self) -> None:
        if task := self._engine.claim_task(worker_id="bench"):
            process_task(self._engine, handlers=self._handlers, task=task, worker_id="bench")

    def result(self, handle: Any) -> None:
        while self._engine.get_task(handle).state != "completed":
            time.sleep(POLL_S)

    def serve(self, stop: threading.Event) -> None:
        run_worker(self._engine, handlers=self._handlers, worker_id="bench", stop_event=stop)

    def start_long(self, n: int) -> Any:
        return self._engine.spawn_task(name="long", params={}).task_id

    def go_on(self, handle: Any) -> None:
        self._engine.emit_event(event_name=f"go-{handle}", payload=1)

    def close(self) -> None:
        self._engine.close()

    def steps(self) -> int:
        return count_rows(Path(self.place), "checkpoints")

    def starts(self) -> int:
        return count_rows(Path(self.place), "tasks")
