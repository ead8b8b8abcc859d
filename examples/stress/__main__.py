"""A stress test: starts many workflows of four kinds and several worker processes; exits with 1 if anything was lost.

Example: python examples/stress --chaos --store sqlite:///stress.db
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crew import Crew
from flows import KINDS, Done, Effects, Job, kinds
from report import faults, results, table, times

from stepflow import Engine, StepflowError

BATCH = 500  # runs that are started in one transaction
LOOK_S = 0.1
SHOWN = 20  # faults


def by_kind(number: type[int] | type[float]) -> Callable[[str], list[tuple[str, float]]]:
    """Read `A=10000,B=1000`."""

    def read(text: str) -> list[tuple[str, float]]:
        pairs = [part.partition("=") for part in text.split(",")]
        if any(kind not in KINDS or not kind for kind, _, _ in pairs):
            raise argparse.ArgumentTypeError(f"a part of {text!r} does not begin with one of A= B= C= D=")
        try:
            return [(kind, number(value)) for kind, _, value in pairs]
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}; write e.g. A=100,B=10") from None

    return read


def options() -> argparse.Namespace:
    description, _, example = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="stress", description=description, epilog=example)
    modes = "generator (default): start runs and worker processes, and check the results; worker: be one of the workers"
    parser.add_argument("mode", nargs="?", choices=["generator", "worker"], default="generator", help=modes)
    parser.add_argument("--store", default="sqlite:///stress.db", help="default: %(default)s")
    parser.add_argument("--test", help="name of this test, part of all names; default: the time")
    parser.add_argument(
        "--runs",
        type=by_kind(int),
        action="extend",
        default=[],
        help="how many per kind; default: A=10000,B=1000,C=100,D=10",
    )
    parser.add_argument(
        "--loops",
        type=by_kind(int),
        action="extend",
        default=[],
        help="loops of the step; default: A=0,B=1000,C=10000,D=100000",
    )
    parser.add_argument(
        "--sleep",
        type=by_kind(float),
        action="extend",
        default=[],
        help="seconds of a durable sleep; default: A=0,B=0,C=1,D=5",
    )
    parser.add_argument(
        "--workers", type=int, default=4, help="worker processes, default: %(default)s; 0: you start them yourself"
    )
    parser.add_argument(
        "--concurrency", type=int, default=64, help="runs that a worker advances at a time, default: %(default)s"
    )
    parser.add_argument("--chaos", action="store_true", help="kill workers with SIGKILL, and start others")
    parser.add_argument(
        "--period", type=float, default=2.0, help="seconds between two kills, about; default: %(default)s"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="seed of the choice of the worker to kill, and of the time; default: %(default)s",
    )
    parser.add_argument(
        "--every", type=float, default=5.0, help="seconds between two lines of progress, default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the result; default: the current one")
    parser.add_argument(
        "--process", default="worker", help="name of this worker, in the mode worker; default: %(default)s"
    )
    given = parser.parse_args()
    if given.mode == "worker" and not given.test:
        parser.error("a worker needs the --test of its generator")
    given.test = given.test or f"{int(time.time())}"
    if given.chaos and given.workers < 1:
        parser.error("--chaos kills workers that this program started: give --workers 1 or more")
    given.out.mkdir(parents=True, exist_ok=True)
    done = given.out / f"{given.test}.effects"
    if given.mode == "generator" and done.exists() and done.stat().st_size:
        parser.error(f"{done} is there: test {given.test!r} was made before; give another name with --test")
    given.runs = {"A": 10_000, "B": 1000, "C": 100, "D": 10} | dict(given.runs)
    given.loops = {"A": 0, "B": 1000, "C": 10_000, "D": 100_000} | dict(given.loops)
    given.sleep = {"A": 0.0, "B": 0.0, "C": 1.0, "D": 5.0} | dict(given.sleep)
    return given


def work(given: argparse.Namespace, effects: Effects) -> None:
    """Be a worker until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {given.process} %(message)s")
    with Engine(given.store, concurrency=given.concurrency) as engine:
        engine.register(*kinds(given.test, effects, given.process).values())
        print("ready", flush=True)
        engine.run_forever()


class Stress:
    """Starts the runs, looks after the workers, and waits for the end."""

    def __init__(self, given: argparse.Namespace, engine: Engine, effects: Effects, crew: Crew) -> None:
        self._given, self._engine, self._effects, self._crew = given, engine, effects, crew
        self._flows = kinds(given.test, effects)
        self._chance = random.Random(given.seed)
        self._begun = time.monotonic()
        self.jobs = {f"{given.test}-{job.kind}-{job.number}": job for job in self._jobs()}

    def run(self) -> dict[str, Any]:
        """The whole test, and its result."""
        half = len(self.jobs) // 2
        self._crew.start(self._given.workers)
        self._enqueue(list(self.jobs)[:half])
        if self._given.chaos:
            self._await_first_effect()  # so that one dies while there is work, however fast they are
            self._crew.kill(self._effects.all()[-1].process)
        self._enqueue(list(self.jobs)[half:])
        enqueued_s = time.monotonic() - self._begun
        self._watch()
        took_s = time.monotonic() - self._begun
        self._crew.stop()
        return self._result(enqueued_s, took_s)

    def _jobs(self) -> list[Job]:
        given = self._given
        all_ = [Job(k, n, int(given.loops[k]), given.sleep[k]) for k in KINDS for n in range(int(given.runs[k]))]
        self._chance.shuffle(all_)
        return all_

    def _enqueue(self, ids: list[str]) -> None:
        for kind, flow in self._flows.items():
            mine = [(run, self.jobs[run]) for run in ids if self.jobs[run].kind == kind]
            for n in range(0, len(mine), BATCH):
                self._engine.start_many(flow, mine[n : n + BATCH])

    def _await_first_effect(self) -> None:
        while not self._effects.size():
            self._crew.check()
            time.sleep(LOOK_S)

    def _watch(self) -> None:
        """Wait until all runs have ended; say how far they are, and kill workers."""
        ended, shown, seen, kill_at = Counter[str](), 0.0, 0, self._next_kill()
        while ended.total() < len(self.jobs):
            time.sleep(LOOK_S)
            self._crew.check()
            ended, now, size = self._ended(), time.monotonic(), self._effects.size()
            if self._given.chaos and now > kill_at and size > seen:
                self._crew.kill()
                seen, kill_at = size, self._next_kill()
            if now > shown + self._given.every:
                parts = ", ".join(f"{kind} {ended[kind]} of {int(self._given.runs[kind])}" for kind in KINDS)
                print(f"{now - self._begun:6.1f} s: {parts}; {len(self._crew.killed)} kills", flush=True)
                shown = now

    def _next_kill(self) -> float:
        """The time of the next kill: drawn once, else each look would be another chance, and kills come much more often."""
        pause: float = self._chance.random() * 2 * self._given.period
        return time.monotonic() + pause

    def _ended(self) -> Counter[str]:
        tally = self._engine.tally()
        return Counter(
            {
                kind: sum(tally.get(flow.name, {}).get(s, 0) for s in ("completed", "failed"))
                for kind, flow in self._flows.items()
            }
        )

    def _result(self, enqueued_s: float, took_s: float) -> dict[str, Any]:
        done: dict[str, Done | None] = {}
        rows: dict[str, Any] = {}
        tally = self._engine.tally()
        for kind, flow in self._flows.items():
            mine = [run for run, job in self.jobs.items() if job.kind == kind]
            done |= results(self._engine, flow, mine)
            by_status = tally.get(flow.name, {})
            rows[kind] = {
                "runs": len(mine),
                "completed": by_status.get("completed", 0),
                "failed": by_status.get("failed", 0),
                "ms": times(self._engine, flow.name),
            }
        effects = self._effects.all()
        return {
            "test": self._given.test,
            "store": self._given.store.partition(":")[0],
            "workers": self._given.workers,
            "kinds": rows,
            "enqueued_s": round(enqueued_s, 2),
            "took_s": round(took_s, 2),
            "runs_per_s": round(len(self.jobs) / took_s, 1),
            "kills": len(self._crew.killed),
            "interrupted_calls_repeated": len(effects) - len({(effect.run, effect.step) for effect in effects}),
            "faults": faults(effects, done, self._crew.killed),
        }


def main() -> int:
    given = options()
    effects = Effects(given.out / f"{given.test}.effects")
    if given.mode == "worker":
        work(given, effects)
        return 0
    arguments = ["--store", given.store, "--test", given.test, "--out", str(given.out)]
    arguments += ["--concurrency", str(given.concurrency)]
    crew = Crew(arguments, given.out / f"{given.test}.log", given.seed)
    try:
        with Engine(given.store) as engine:
            result = Stress(given, engine, effects, crew).run()
    except StepflowError as error:
        sys.exit(f"error: {error}")
    finally:
        crew.stop()
    (given.out / f"{given.test}.json").write_text(json.dumps(result, indent=2))
    print(table(result["kinds"]))
    print(f"{result['took_s']} s, {result['runs_per_s']} runs/s; {result['kills']} kills,", end=" ")
    print(f"{result['interrupted_calls_repeated']} interrupted calls repeated; {len(result['faults'])} faults")
    for fault in result["faults"][:SHOWN]:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
