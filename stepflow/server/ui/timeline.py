"""The timeline of a run: its revisions, with the time that passed between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import frozen

from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.engine.client.info import RunError, attempt_of, error_of, position_of
from stepflow.engine.clock import moment
from stepflow.model.state import Transition
from stepflow.server.namespaces import ServedEngine

MOST = 200  # revisions on one page


@frozen
class Moment:
    """A revision: when it was made, how long after the one before (None: that one is not known), and where the run was then.

    `where` is its position, or the flow that it went to; `attempt` the number of the try that came next; `wait` what it waited for.
    """

    rev: int
    at: datetime
    took: timedelta | None
    position: list[str]
    where: str
    status: str
    attempt: int
    wait: str
    error: RunError | None


async def moments_of(engine: ServedEngine, run_id: str, before: int | None) -> list[Moment]:
    """The newest revisions of a run, or those before one, oldest first; without their exchanges."""
    until = None if before is None else before - 1
    query = HistoryQuery(run_id, limit=MOST + 1, last=True, until_rev=until, exchange=False)
    found: Sequence[Revision] = await engine.reader.read(query)
    times = [moment(one.state.committed_at) for one in found]
    spans = [None, *(b - a for a, b in itertools.pairwise(times))]
    made = [_moment(one, at, took) for one, at, took in zip(found, times, spans, strict=True)]
    return made[-MOST:]


def _moment(revision: Revision, at: datetime, took: timedelta | None) -> Moment:
    transition = revision.state.transition
    position = position_of(transition)
    where = next((text for text in position if not text.startswith("attempt:")), transition.to)
    wait = ", ".join(transition.events) if transition.events else _polls(transition)
    error, attempt = error_of(transition), attempt_of(transition)
    return Moment(revision.state.rev, at, took, position, where, transition.status, attempt, wait, error)


def _polls(transition: Transition) -> str:
    return "its condition" if transition.polls else ""
