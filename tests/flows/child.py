"""A process of the tests of flow functions: `python -m tests.flows.child VERB URL NAME COUNT`."""

from __future__ import annotations

import os
import random
import sys

from stepflow import Engine, RevMismatch, StateCtx, commit, flow, park, transit
from stepflow.engine.membership import failure_detector
from tests.processes.flows import report
from tests.processes.harness import NEVER_S


@flow("aFlow")
def a_flow(ctx):
    report("step", run=ctx.id)
    return commit(park(ctx))


def commits_and_dies(url: str, name: str, count: int) -> None:
    with Engine(url) as engine:
        for i in range(count):
            engine.do(commit(transit(StateCtx(f"{name}-{i}"), "aFlow")))
        report("committed")
        os.kill(os.getpid(), 9)


def works(url: str, _name: str, _count: int) -> None:
    """Advance runs; no silence counts as a death, so only a free lock proves one."""
    failure_detector.SILENCE_S = NEVER_S
    with Engine(url) as engine:
        engine.register(a_flow)
        report("ready")
        engine.run_forever()


def storms(url: str, name: str, count: int) -> None:
    """Commit several States at once, some of them shared with other processes so that many commits are refused."""
    chance = random.Random(name)
    with Engine(url) as engine:
        for i in range(count):
            own = StateCtx(f"{name}-{i}", {"n": str(i % 3)})
            shared = _shared(engine, f"shared-{chance.randrange(3)}")
            try:
                engine.do(commit(*(park(ctx) for ctx in chance.sample([own, shared], 2))))
            except RevMismatch:
                report("refused")
        report("over")


def _shared(engine: Engine, run_id: str) -> StateCtx:
    found = engine.states({"id": run_id}, since_rev=-1).states
    return StateCtx.of(found[0]) if found else StateCtx(run_id, {"id": run_id, "n": "0"})


if __name__ == "__main__":
    verb, url, name, count = sys.argv[1:]
    {"commits_and_dies": commits_and_dies, "works": works, "storms": storms}[verb](url, name, int(count))
