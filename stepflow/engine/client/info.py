"""What callers see of a run: info, history, and the explanation of why it does not move."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from stepflow.drivers.port.commit import Owner, Record
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import Revision
from stepflow.engine.clock import moment
from stepflow.model.lifecycle import Status, status_of
from stepflow.model.limits import Admission, Limit, LimitUsage, parse
from stepflow.model.outcome import FLOW
from stepflow.model.recovery import TRIED
from stepflow.model.state import ATTEMPT, DEADLINE, ERROR, POSITION, WAITING, Transition

SHOWN = 5  # runs named in an explanation


@frozen
class RunError:
    """A stored error: the exception's class name, its message, and the traceback as text."""

    type: str
    message: str
    traceback: str = ""


@frozen
class RunInfo:
    """A run at one moment.

    `position` is the list of strings that `apply` takes; `waiting_for` is `"event:<name>"`, `"poll"`, `"delay"` or empty;
    `due` is when a worker may take it (None: nothing is scheduled), `deadline` when its wait times out; `error` is the
    failure that ended it or that led to its present retry; `owner` holds it now; `blocked` says why a worker gave it back;
    `to` is the flow that it goes to, or went to when it ended; `limits` are those that a worker must respect to take it.
    """

    id: str
    flow: str
    status: Status
    position: list[str]
    rev: int
    labels: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    waiting_for: str = ""
    due: datetime | None = None
    deadline: datetime | None = None
    attempt: int = 1
    priority: int = 0
    error: RunError | None = None
    owner: str = ""
    crashes: int = 0
    blocked: str = ""
    to: str = ""
    limits: tuple[Limit, ...] = ()


@frozen
class HistoryEntry:
    """One revision of a run: its position, the JSON value of the exchange then, and the error that led to it, if any."""

    rev: int
    at: datetime
    position: list[str]
    exchange: Any
    status: str = ""
    error: RunError | None = None


def position_of(transition: Transition) -> list[str]:
    """The position that a transition carries, `[]` for other authoring styles."""
    found: list[str] = json.loads(transition.annotations.get(POSITION, "[]"))
    return found


def error_of(transition: Transition) -> RunError | None:
    """The error that a transition carries."""
    text = transition.annotations.get(ERROR)
    return None if text is None else RunError(**json.loads(text))


def info_of(record: Record, now: int, delay: Delay | None = None) -> RunInfo:
    """The public view of a record; `delay` is the pending one that will move it on, if any."""
    state, row, notes = record.state, record.row, record.state.transition.annotations
    due = delay.due if delay is not None else None if row is None else row.due
    deadline = notes.get(DEADLINE)
    return RunInfo(
        id=state.id,
        flow=record.created.flow,
        status=status_of(state, row, now) if delay is None else Status.SLEEPING,
        position=position_of(state.transition),
        rev=state.rev,
        labels=dict(state.labels),
        created_at=moment(record.created.created_at),
        updated_at=moment(state.committed_at),
        waiting_for=notes.get(WAITING, "") if delay is None else "delay",
        due=None if due is None else moment(due),
        deadline=None if deadline is None else moment(int(deadline)),
        attempt=_attempt(state.transition),
        priority=0 if row is None else row.priority,
        error=error_of(state.transition),
        owner="" if row is None else row.owner,
        crashes=0 if row is None else row.crashes,
        blocked="" if row is None else row.blocked,
        to=state.transition.to or notes.get(FLOW, ""),
        limits=() if row is None else parse(row.limits),
    )


def entry_of(revision: Revision) -> HistoryEntry:
    """The public view of a revision."""
    state = revision.state
    return HistoryEntry(
        state.rev,
        moment(state.committed_at),
        position_of(state.transition),
        json.loads(revision.exchange),
        state.transition.status,
        error_of(state.transition),
    )


def _attempt(transition: Transition) -> int:
    """Which try comes next: of the innermost retry group that counts in the position, else of the run's own policy."""
    if TRIED in transition.annotations:
        return int(transition.annotations[TRIED]) + 1
    counted = [text.split(":", 2)[1] for text in position_of(transition) if text.startswith("attempt:")]
    return int(counted[-1] if counted else transition.annotations.get(ATTEMPT, "1"))


def refusal(found: Admission, limit_usage: LimitUsage) -> str:
    """Which limit keeps a run from being taken, who uses it up, and until when; empty if none does."""
    limit = found.limit
    if limit is None:
        return ""
    if found.until is not None:
        until = moment(found.until).isoformat()
        return f"at most {limit.rate} runs of {limit.key!r} begin within {limit.per:g} s: the next one at {until}"
    holders = limit_usage.held.get(limit.key, [])
    names = ", ".join(repr(name) for name in holders[:SHOWN]) + (", …" if len(holders) > SHOWN else "")
    return f"at most {limit.concurrency} runs of {limit.key!r} are held at a time, and these are: {names}; it waits for one"


def explain(
    info: RunInfo, store: str, flows: Mapping[str, Any], kept_back: str = "", workers: Sequence[Owner] = ()
) -> str:
    """Why the run is where it is, since when, and the command that would move it on."""
    where = info.position[0] if info.position else info.to or "its start"
    lines = [f"run {info.id!r} of flow {info.flow!r} is {info.status} at {where} since {info.updated_at.isoformat()}"]
    command = f'stepflow {{}} {info.id!r} --store "{store}"'
    due = "" if info.due is None else info.due.isoformat()
    if kept_back:
        lines.append(f"it is due since {due}; {kept_back}")
    elif info.status is Status.QUEUED:
        lines.append(f"it is due since {due}; no worker has taken it{_untaken(info.to, store, workers)}")
        if info.to not in flows and not workers:
            lines.append(f"this process has not registered flow {info.to!r}; a worker that has will take it")
    elif info.status is Status.RUNNING:
        lines.append(f"owner {info.owner} holds it")
    elif info.status is Status.SLEEPING:
        lines.append(f"it goes on at {due}" + (f", attempt {info.attempt} after {_line(info)}" if info.error else ""))
    elif info.status is Status.WAITING:
        lines += _waiting(info, command, due)
    elif info.status is Status.PARKED:
        lines.append("nothing will happen until somebody moves it: engine.do(commit(transit(ctx, FLOW)))")
    elif info.status is Status.BLOCKED:
        lines.append(f"a worker gave it back: {info.blocked}; deploy a definition that knows it; next try {due}")
    elif info.status is Status.FAILED:
        lines.append(f"{_line(info)}; after mending the cause: {command.format('retry')}")
    if info.crashes:
        lines.append(f"{info.crashes} process(es) died while they held it without making progress")
    return "\n".join(lines)


def _untaken(flow: str, store: str, workers: Sequence[Owner]) -> str:
    """Why nobody has taken a run of this flow that is due, by what the workers have registered."""
    command, able = f"run `stepflow worker MODULE --store {store}`", [w.id for w in workers if flow in w.flows]
    if able:
        more = f" and {len(able) - 1} more" if len(able) > 1 else ""
        return f" yet: owner {able[0]}{more} registered flow {flow!r}, busy with other runs or about to take it"
    if not workers:
        return f": {command}"
    known = ", ".join(sorted({repr(name) for w in workers for name in w.flows})[:SHOWN])
    return f": of {len(workers)} at work none has registered flow {flow!r}, but {known}; {command} with its module"


def _waiting(info: RunInfo, command: str, due: str) -> list[str]:
    kind, _, name = info.waiting_for.partition(":")
    lines = [f"it polls its condition, next at {due}"]
    if kind == "event":
        lines = [f"it waits for event {name!r}: {command.format('publish')} {name!r} PAYLOAD"]
    if info.deadline is not None:
        lines.append(f"it times out at {info.deadline.isoformat()}")
    return lines


def _line(info: RunInfo) -> str:
    return "" if info.error is None else f"{info.error.type}: {info.error.message}"
