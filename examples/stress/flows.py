"""The four kinds of workflows, and what their steps leave behind outside of the store."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from attrs import frozen

from stepflow import Context, Workflow, workflow

KINDS = "ABCD"
STEPS = ("cpu/v1", "confirm/v1")  # in the order in which a run makes them
DEATHS = 1000  # of workers that hold a run, before it counts as their cause: here chance kills them


@frozen
class Job:
    """The input of a run: how much its step computes, and how long it sleeps after it (seconds)."""

    kind: str
    number: int
    loops: int = 0
    sleep_s: float = 0.0


@frozen
class Done:
    """The result of a run: the mark of the call that its journal has for each of its steps."""

    kind: str
    number: int
    marks: list[str]


@frozen
class Effect:
    """One call of a step: of which run, in which process, and the mark that it made."""

    run: str
    step: str
    mark: str
    process: str


class Effects:
    """A file to which all processes append a line when they call a step. A line that was written survives its process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def add(self, effect: Effect) -> None:
        os.write(self._file, f"{effect.run}\t{effect.step}\t{effect.mark}\t{effect.process}\n".encode())

    def size(self) -> int:
        return os.fstat(self._file).st_size

    def all(self) -> list[Effect]:
        """All effects, in the order in which they were made."""
        return [Effect(*line.split("\t")) for line in self.path.read_text().splitlines()]


def kinds(test: str, effects: Effects, process: str = "") -> dict[str, Workflow[Job, Done]]:
    """The workflows of one test, by kind. Only a process that is a worker needs a name."""

    def call(run: str, step: str) -> str:
        mark = uuid4().hex
        effects.add(Effect(run, step, mark, process))
        return mark

    def compute(run: str, loops: int) -> str:
        mark, mixed = call(run, STEPS[0]), 2166136261
        for n in range(loops):
            mixed = (mixed ^ (n & 255)) * 16777619 & 0xFFFFFFFF
        return mark

    def confirm(run: str, _mark: str) -> str:
        return call(run, STEPS[1])

    def run(wf: Context, job: Job) -> Done:
        first = wf.execute("cpu/v1", compute, wf.run_id, job.loops)
        if job.sleep_s:
            wf.sleep("sleep/v1", job.sleep_s)
        return Done(job.kind, job.number, [first, wf.execute("confirm/v1", confirm, wf.run_id, first)])

    return {kind: workflow(f"stress-{kind}/{test}", max_crashes=DEATHS)(run) for kind in KINDS}
