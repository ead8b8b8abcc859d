"""The operations on the store: counts, workers and what they hold, limits, health, and the audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from attrs import frozen
from msgspec import Meta, field

from stepflow.drivers.port.commit import Peer
from stepflow.drivers.port.notes import NoteKind, Outcome, Verb
from stepflow.drivers.port.queries import Condition, LimitUsageQuery, OwnerQuery
from stepflow.engine.client.diagnosis import MOST_CONFLICTS, conditions_of
from stepflow.engine.client.info import RunInfo
from stepflow.engine.clock import moment
from stepflow.model.lifecycle import Status
from stepflow.model.limits import Limit, LimitUsage, dump
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.server.operator_api.filters import Labels, labels_of
from stepflow.server.operator_api.operation import (
    CountingQuery,
    Cursor,
    InNamespace,
    Operation,
    OperatorCall,
    Text,
)
from stepflow.wire.audit_entry import AuditEntry

MOST = 1000  # runs that are looked at
MOST_TEXTS = 100  # sets of limits


class TallyQueryParameters(InNamespace, frozen=True, kw_only=True):
    """Of which runs."""

    label: Annotated[Labels, Meta(description="KEY=VALUE; only runs that have all of them.")] = field(
        default_factory=list
    )


class AuditQuery(InNamespace, frozen=True, kw_only=True):
    """Entries that have all of these facts."""

    who: Text | None = None
    verb: Verb | None = None
    kind: NoteKind | None = None
    target: Text | None = None
    outcome: Outcome | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[Cursor | None, Meta(description="The `next` of the page before.")] = None


@frozen
class TallyAnswer:
    """How many runs there are, by flow and status."""

    flows: Mapping[str, Mapping[str, int]]


@frozen
class HeldRun:
    """A run that a worker holds: where it is, and since when."""

    id: str
    flow: str
    position: list[str]
    since: datetime


@frozen
class WorkerDetails:
    """An engine that has claimed runs or shown that it lives: where it runs, the flows that it claims (none: it only reads and starts), and the runs that it holds.

    `lock` is `free` when it surely died, `held`, or `unknown`. `beat_at` is the time of its last heartbeat.
    """

    id: str
    host: str
    pid: int
    flows: list[str]
    lock: Literal["free", "held", "unknown"]
    beat_at: datetime | None
    held: list[HeldRun]


@frozen
class WorkerList:
    """All of them, by id; `more`: only 1,000 of the runs that are held were looked at."""

    workers: list[WorkerDetails]
    more: bool


@frozen
class LimitDetails:
    """A limit: its `concurrency` and the ids of the runs that use it up; its `rate` per `per` seconds, and how many began within them.

    `waiting` is the number of runs that are due and have it.
    """

    key: str
    concurrency: int | None
    held: list[str]
    rate: int | None
    per: float
    begun: int
    waiting: int


@frozen
class LimitList:
    """The limits of the runs that are due or held, by key; `more`: only a part of these runs was looked at."""

    limits: list[LimitDetails]
    more: bool


@frozen
class StoreHealth:
    """Whether the store is as it should be, and what was found. `stepflow doctor` also reads all of it."""

    ok: bool
    conditions: list[Condition]


@frozen
class AuditPage:
    """Entries, the newest first, and the `cursor` of the page that follows."""

    entries: list[AuditEntry]
    next: str | None


async def get_tally(call: OperatorCall) -> TallyAnswer:
    """Count the runs by flow and status."""
    labels = labels_of(call.query.label)
    return TallyAnswer({} if labels is None else await call.engine.tally(labels=labels))


async def list_workers(call: OperatorCall) -> WorkerList:
    """List the engines that work on the namespace, and the runs that they hold."""
    peers: Sequence[Peer] = await call.engine.reader.read(OwnerQuery())
    page = await call.engine.runs(status=Status.RUNNING.value, limit=MOST)
    held: dict[str, list[HeldRun]] = {}
    for run in page:
        held.setdefault(run.owner, []).append(HeldRun(run.id, run.flow, run.position, run.updated_at))
    found = [
        WorkerDetails(
            peer.owner.id, peer.owner.host, peer.owner.pid, [name for name in peer.owner.flows if name not in OWN_FLOWS], peer.lock,
            moment(peer.owner.beat_at) if peer.owner.beat_at else None, held.get(peer.owner.id, []),
        )
        for peer in peers
    ]  # fmt: skip
    return WorkerList(found, page.next is not None)


async def list_limits(call: OperatorCall) -> LimitList:
    """List the limits that are in use, and how far."""
    page = await call.engine.runs(status=(Status.QUEUED.value, Status.RUNNING.value), limit=MOST)
    texts = list(dict.fromkeys(dump(run.limits) for run in page if run.limits))
    now, usage = call.engine.clock.now(), LimitUsage()
    for text in texts[:MOST_TEXTS]:
        part: LimitUsage
        (part,) = await call.engine.reader.read(LimitUsageQuery(text, now))
        usage.held |= part.held
        usage.begun |= part.begun
    waiting = Counter(limit.key for run in page if run.status is Status.QUEUED for limit in run.limits)
    more = page.next is not None or len(texts) > MOST_TEXTS
    return LimitList([_limit(one, usage, now, waiting) for one in _distinct(page)], more)


def _distinct(runs: Sequence[RunInfo]) -> list[Limit]:
    """Each limit once: of a key with a rate the one that names it, which runs that have begun do not."""
    found: dict[tuple[str, bool], Limit] = {}
    for limit in (one for run in runs for one in run.limits):
        found.setdefault((limit.key, limit.rate is None), limit)
    return [one for (key, plain), one in sorted(found.items()) if not plain or (key, False) not in found]


def _limit(limit: Limit, usage: LimitUsage, now: int, waiting: Mapping[str, int]) -> LimitDetails:
    begun = 0 if limit.rate is None else usage.count(limit, now)
    held = usage.held.get(limit.key, [])[:MOST]
    return LimitDetails(limit.key, limit.concurrency, held, limit.rate, limit.per, begun, waiting.get(limit.key, 0))


async def get_health(call: OperatorCall) -> StoreHealth:
    """Tell what may slow down or endanger the store; without reading all of it."""
    engine, services = call.engine, call.services
    numbers, paused = await call.counts(), await engine.paused_flows()

    def look() -> tuple[Any, list[Condition]]:
        upkeep = services.driver.maintenance(call.query.namespace)
        return upkeep.conflicts(MOST_CONFLICTS), upkeep.conditions(engine.clock.now)

    conflicts, conditions = await engine.reader.call(look)
    found = [*conditions_of(numbers, paused, conflicts), *conditions]
    return StoreHealth(all(one.ok for one in found), found)


async def list_audit(call: OperatorCall) -> AuditPage:
    """Read who changed what through this server."""
    query: AuditQuery = call.query
    facts = {name: getattr(query, name) for name in ("who", "verb", "kind", "target", "outcome")}
    wanted = {name: value for name, value in facts.items() if value is not None} | {"namespace": query.namespace}
    page = await call.services.audit.read(wanted, query.limit, query.cursor)
    return AuditPage(list(page), page.next)


def _operation(
    path: str, call: Any, answer: Any, query: type[InNamespace] = InNamespace, refusals: tuple[int, ...] = ()
) -> Operation:
    return Operation(path=path, scope="read", kind="store", call=call, answer=answer, query=query, refusals=refusals)


OPERATIONS = (
    _operation("/tally", get_tally, TallyAnswer, TallyQueryParameters),
    _operation("/workers", list_workers, WorkerList),
    _operation("/limits", list_limits, LimitList),
    _operation("/health", get_health, StoreHealth, CountingQuery),
    _operation("/audit", list_audit, AuditPage, AuditQuery, (404,)),
)
