"""A process that works on a store until it is done or killed: `python -m stepflow.testing.conformance.processes.child ROLE URL OWNER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from stepflow.drivers.port.commit import Claim, Commit, Owner
from stepflow.drivers.port.store import Store
from stepflow.drivers.registry import driver_for
from stepflow.testing.conformance.kit import NOW, claim, ended, going, record, revisions, step

STEPS = 10


def say(*words: object) -> None:
    """Tell the parent a line."""
    print(*words, flush=True)


def work(store: Store) -> None:
    """Advance every run by `STEPS` steps; say `id rev number` of each step once it is acknowledged."""
    store.beat(NOW)
    while held := claim(store, 8):
        numbers = {run_id: int(record(store, run_id).exchange) for run_id in held}
        revs = {run_id: found.row.claim_rev for run_id, found in held.items()}
        while numbers:
            batch = [_next(held[run_id], revs[run_id], number + 1) for run_id, number in numbers.items()]
            for run_id, result in zip(list(numbers), store.commit(batch, NOW), strict=True):
                if isinstance(result, Exception):
                    raise result
                numbers[run_id] += 1
                (revs[run_id],) = revisions(result)
                say(run_id, revs[run_id], numbers[run_id])
                if numbers[run_id] >= STEPS:
                    del numbers[run_id]


def _next(held: Claim, rev: int, number: int) -> Commit:
    last = number >= STEPS
    return step(held, rev, ended() if last else going(f"s{number}"), str(number), end=last)


def hold(store: Store) -> None:
    """Claim everything, wait for a word of the parent, then try to go on; say what became of it."""
    store.beat(NOW)
    held = claim(store)
    say("held", len(held))
    sys.stdin.readline()
    for found in held.values():
        (result,) = store.commit([step(found, found.row.claim_rev)], NOW)
        say(type(result).__name__)


def fork(store: Store) -> None:
    """Beat, and leave a forked child behind that waits for the parent's word."""
    store.beat(NOW)
    pid = os.fork()
    if not pid:
        say("forked")  # by the child: what it does first, right after the fork, is done then
    sys.stdin.readline()
    if not pid:
        os._exit(0)


ROLES: Mapping[str, Callable[[Store], None]] = {"work": work, "hold": hold, "fork": fork}

if __name__ == "__main__":
    role, url, owner = sys.argv[1:]
    session = driver_for(url).connect("", Owner(owner, "host", os.getpid()), NOW)
    ROLES[role](session)
    session.close()
