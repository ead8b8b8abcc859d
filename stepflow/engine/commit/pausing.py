"""Pausing: a commit that would keep the claim on a paused run is made so that it gives the claim up, and its holder stops.

While calls of the run go on side by side (`beside`) the commit keeps the claim, and its holder begins no more of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from stepflow.drivers.port.commit import SAME_PRIORITY, Commit, Committed, Enqueue, Fence
from stepflow.drivers.port.step import Member, answer, whole
from stepflow.drivers.port.store import Store
from stepflow.engine.intents import is_intent
from stepflow.errors import PauseRequested, RunPaused


class WhilePaused(Committed):
    """The answer to a commit that kept the claim on a paused run."""

    __slots__ = ()


def stopped(
    store: Store, members: Sequence[Member], results: Sequence[Any], now: int, beside: Collection[Fence]
) -> Sequence[Any]:
    """The results of a batch; each PauseRequested is replaced, after what its member holds was committed, by RunPaused or WhilePaused, or by another error.

    It stays where a call that is made at most once was to begin under one of the claims `beside`: nothing was committed.
    """
    if PauseRequested not in map(type, results):
        return results
    found = list(results)
    for number, refusal in enumerate(results):
        if isinstance(refusal, PauseRequested):
            member = members[number]
            commit = whole(member)
            if commit.fence not in beside:
                done = _made(store, given_up(commit, refusal, now), now)
                found[number] = done if isinstance(done, Exception) else RunPaused(refusal.ids[0], answer(member, done))
            elif not _begins(commit):
                done = _made(store, commit._replace(despite_pause=True), now)
                found[number] = done if isinstance(done, Exception) else WhilePaused(*done)
    return found


def given_up(commit: Commit, refusal: PauseRequested, now: int) -> Commit:
    """The same commit, but it keeps no claim on the paused runs; a call that is made at most once does not begin."""
    if _begins(commit):
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


def _begins(commit: Commit) -> bool:
    """Whether it is made before a call that is made at most once."""
    return any(is_intent(row) for row in commit.journal)


def _made(store: Store, commit: Commit, now: int) -> Any:
    (done,) = store.commit([commit], now)
    return done
