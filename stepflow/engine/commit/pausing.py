"""Pausing: a commit that would keep the claim on a paused run is made so that it gives the claim up, and its holder stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepflow.drivers.port.commit import SAME_PRIORITY, Commit, Enqueue
from stepflow.drivers.port.journal import INTENT
from stepflow.drivers.port.step import Member, answer, whole
from stepflow.drivers.port.store import Store
from stepflow.errors import PauseRequested, RunPaused
from stepflow.replay.branches import MARK


def stopped(store: Store, members: Sequence[Member], results: Sequence[Any], now: int) -> Sequence[Any]:
    """The results of a batch; each PauseRequested is replaced by RunPaused, after what its member holds was committed, or by another error."""
    if PauseRequested not in map(type, results):
        return results
    found = list(results)
    for number, refusal in enumerate(results):
        if isinstance(refusal, PauseRequested):
            (done,) = store.commit([given_up(whole(members[number]), refusal, now)], now)
            member = members[number]
            error = isinstance(done, Exception)
            found[number] = done if error else RunPaused(refusal.ids[0], answer(member, done))  # type: ignore[arg-type]
    return found


def given_up(commit: Commit, refusal: PauseRequested, now: int) -> Commit:
    """The same commit, but it keeps no claim on the paused runs; a call that is made at most once does not begin."""
    if any(row.kind.partition(MARK)[0] == INTENT for row in commit.journal):
        commit = Commit(commit.fence)
    queue = [
        part._replace(owned=False) if isinstance(part, Enqueue) and part.id in refusal.ids else part
        for part in commit.queue
    ]
    there = {part.id for part in queue}
    queue += [
        Enqueue(run_id, flow, now, SAME_PRIORITY)
        for run_id, flow in zip(refusal.ids, refusal.flows, strict=True)
        if run_id not in there
    ]
    return commit._replace(queue=tuple(queue))
