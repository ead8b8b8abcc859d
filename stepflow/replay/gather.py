"""gather: what `wf.gather` does, given the journal: its calls go on side by side, and several of them may wait at the same time."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from stepflow.errors import Cancelled, DefinitionError
from stepflow.model.codec import Codec
from stepflow.model.error_text import is_a
from stepflow.replay.branches import Branch
from stepflow.replay.effects import Suspension, Together, swallowed
from stepflow.replay.journal import Journal, Suspended

SHOWN = 10  # positions of a run that waits in several branches


async def gather(journal: Journal, calls: Sequence[Any]) -> Any:
    """The values of the calls, in their order; once all have ended the first error in their order is raised."""
    try:
        journal.begun += 1
        journal.check("gather", "")
        if wrong := [call for call in calls if not _is_new(call)] or [
            one for one, n in Counter(calls).items() if n > 1
        ]:
            raise journal.wrong(
                DefinitionError(
                    f"{journal.flow}: wf.gather({wrong[0]!r:.80}): give calls that are not awaited, each once, e.g. wf.gather(wf.execute(...),"
                    " wf.sleep(...)), or coroutines that make such calls one after another"
                )
            )
    except BaseException:
        for call in calls:
            if inspect.iscoroutine(call):
                call.close()
        raise
    branches = journal.fork(len(calls))
    try:
        await journal.perform(Together(tuple(zip(branches, calls, strict=True))))
    finally:
        journal.forks -= 1
    return _joined(journal, branches)


def _is_new(call: Any) -> bool:
    """Whether this is a coroutine that is not awaited yet."""
    return inspect.iscoroutine(call) and inspect.getcoroutinestate(call) == inspect.CORO_CREATED


def _joined(journal: Journal, branches: Sequence[Branch]) -> tuple[Any, ...]:
    """The values once all branches have ended; raises what ends, suspends or blocks the workflow."""
    journal.cancelled = journal.cancelled or any(branch.cancelled for branch in branches)
    for branch in branches:
        if branch.suspension is not None and not is_a(branch.error, Suspended):
            journal.wrong(swallowed(journal.flow, branch.suspension))
    if journal.problem is not None:
        raise journal.problem
    if journal.broken is not None:
        raise journal.broken
    if journal.leaving:
        raise journal.suspend(Suspension())
    if waiting := [branch.suspension for branch in branches if branch.suspension is not None]:
        raise journal.suspend(_union(waiting))
    if journal.host.paused:
        raise journal.suspend(Suspension())
    for branch in branches:
        if branch.error is None:
            journal.ended(branch)
        elif branch.left:
            journal.later[branch.path] = branch.left  # what is new behind the gather goes another way
    errors = [branch.error for branch in branches if branch.error is not None]
    for error in sorted(errors, key=lambda error: not is_a(error, Cancelled)):
        raise error
    return tuple([branch.value for branch in branches])


def _union(waiting: Sequence[Suspension]) -> Suspension:
    """The run waits for every event that a branch waits for, and for the earliest time."""
    if len(waiting) == 1:
        return waiting[0]
    dues = [one.due for one in waiting if one.due is not None]
    found = next((one for one in waiting if one.error), waiting[0])
    places = list(dict.fromkeys(place for one in [found, *waiting] for place in (one.at, *one.also)))
    return evolve(
        found,
        at=places[0],
        also=tuple(places[1:SHOWN]),
        due=min(dues, default=None),
        rows=tuple(row for one in waiting for row in one.rows),
        events=tuple(dict.fromkeys(name for one in waiting for name in one.events)),
        payloads=_payloads(waiting),
    )


def _payloads(waiting: Sequence[Suspension]) -> dict[str, Codec[Any]]:
    """Those of the events for which one branch waits: of two branches, an earlier event decides which of them takes the next one."""
    times = Counter(name for one in waiting for name in one.events)
    return {name: codec for one in waiting for name, codec in one.payloads.items() if times[name] == 1}
