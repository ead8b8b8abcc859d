"""The store of a server as the port has it, for the engines of other processes: one route per method of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepflow.drivers.http.codec import ANSWERS, BadValue, dump, dump_error, dump_results, from_bytes, load, to_bytes
from stepflow.drivers.http.session import FORMAT
from stepflow.drivers.port.commit import Claim, Commit, HeartbeatReply, Owner, Record, Release
from stepflow.drivers.port.pruning import Pruned
from stepflow.drivers.port.queries import Condition, DueSummary, PostConflict
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver, Query
from stepflow.engine.checks import checked_namespace
from stepflow.engine.clock import Clock
from stepflow.errors import ReadOnly, StepflowError
from stepflow.model.checks import MAX_LIMIT
from stepflow.server.body import body_of
from stepflow.server.errors import Refusal, refusal_of
from stepflow.server.guard import allowed, authorize, caller_of, where
from stepflow.server.store_sessions import StoreSession, StoreSessions
from stepflow.server.tokens import Scope

LONGEST_WAIT_S = 300.0
Arguments = dict[str, Any]
Method = Callable[["StoreApi", StoreSession, Arguments], Awaitable[Any]]


class StoreApi:
    """The calls, on the sessions of one store."""

    def __init__(self, driver: Driver, sessions: StoreSessions, clock: Clock) -> None:
        self._driver, self._sessions, self._clock = driver, sessions, clock

    def routes(self) -> list[Route]:
        """A route for each call."""
        calls: dict[str, Callable[[Request, Arguments], Awaitable[Any]]] = {"open": self._open}
        calls |= {name: partial(self._in_session, scope, method) for name, (scope, method) in METHODS.items()}
        calls["commit"] = self._commit
        calls |= {name: partial(self._maintain, scope, fn) for name, (scope, fn) in UPKEEP.items()}
        return [
            Route(f"/stepflow.v1.Store/{name}", partial(answered, call), methods=["POST"])
            for name, call in calls.items()
        ]

    async def _open(self, request: Request, given: Arguments) -> str:
        if given.get("format") != FORMAT:
            raise Refusal(
                400, "invalid_argument", f"format {given.get('format')!r:.20}: this server speaks format {FORMAT}"
            )
        namespace, owner = checked_namespace(load(given.get("namespace"), str)), load(given.get("owner"), Owner)
        authorize(request, "read", namespace)
        if not allowed(request, "operate", namespace):  # cannot stand for an owner that claims, or end its session
            owner = evolve(owner, id=f"reader-{owner.id}")
        number = load(given.get("request"), str)
        return (await self._sessions.open(namespace, owner, load(given.get("now"), int), number)).id

    async def _in_session(self, scope: Scope, method: Method, request: Request, given: Arguments) -> Any:
        session = self._sessions.find(given.get("session"))
        authorize(request, scope, session.namespace)
        return await method(self, session, given)

    async def _maintain(
        self, scope: Scope, fn: Callable[[Any, Arguments], Any], request: Request, given: Arguments
    ) -> Any:
        namespace = checked_namespace(load(given.get("namespace"), str))
        authorize(request, scope, namespace)

        def work() -> Any:
            return fn(self._driver.maintenance(namespace), given)

        return await self._sessions.in_thread(work)

    async def _commit(self, request: Request, given: Arguments) -> Any:
        """The answer to each member of a batch; those that need the scope admin are refused without it, and the others applied."""
        session = self._sessions.find(given.get("session"))
        authorize(request, "operate", session.namespace)
        batch, now = load(given.get("batch"), list[Member]), load(given.get("now"), int)
        whole = allowed(request, "admin", session.namespace)
        refused = {} if whole else {n: why for n, one in enumerate(batch) if (why := _for_admins(one))}
        kept = [member for n, member in enumerate(batch) if n not in refused]
        answers = await self._once("commit", session, given, partial(session.store.commit, kept, now)) if kept else []
        if len(answers) != len(kept):
            raise BadValue(f"request {given.get('request')!r:.40} was another call: give each call a number of its own")
        results = iter(answers)
        who = caller_of(request)
        return dump_results(
            [_refusal(who, refused[n], session.namespace) if n in refused else next(results) for n in range(len(batch))]
        )

    async def claim(self, session: StoreSession, given: Arguments) -> Any:
        """Claims with their records."""
        flows, skip = load(given.get("flows"), Mapping[str, str]), load(given.get("skip"), list[str])
        now, limit, suspects = (
            load(given.get(name), kind) for name, kind in (("now", int), ("limit", int), ("suspects", bool))
        )
        limit = min(max(limit, 0), MAX_LIMIT)
        call = partial(session.store.claim, flows, now, limit, suspects=suspects, skip=skip)
        return dump(await self._once("claim", session, given, call), list[Claim])

    async def release(self, session: StoreSession, given: Arguments) -> Any:
        """Whether each claim was still there."""
        batch, now = load(given.get("batch"), list[Release]), load(given.get("now"), int)
        return await self._once("release", session, given, partial(session.store.release, batch, now))

    async def beat(self, session: StoreSession, given: Arguments) -> Any:
        """What the beat tells of the others."""
        now, dead, mono = (
            load(given.get(n), k) for n, k in (("now", int), ("dead", list[str]), ("mono", float | None))
        )
        reply = await self._once("beat", session, given, partial(session.store.beat, now, dead, mono))
        return dump(self._sessions.seen_from_outside(reply), HeartbeatReply)

    async def time(self, session: StoreSession, _given: Arguments) -> Any:
        """The store's time, else that of this server."""
        time = await self._sessions.in_thread(session.store.time)
        return self._clock.now() if time is None else time

    async def load(self, session: StoreSession, given: Arguments) -> Any:
        """Records in the order of the ids."""
        ids = load(given.get("ids"), list[str])
        return dump(await self._sessions.in_thread(session.store.load, ids), list[Record | None])

    async def read(self, session: StoreSession, given: Arguments) -> Any:
        """The answer to a query."""
        query: Any = load(given.get("query"), Query)
        return dump(await self._sessions.in_thread(session.store.read, query), ANSWERS[type(query)])

    async def next_due(self, session: StoreSession, given: Arguments) -> Any:
        """What is due when."""
        flows, now = load(given.get("flows"), Mapping[str, str]), load(given.get("now"), int)
        return dump(await self._sessions.in_thread(session.store.next_due, flows, now), DueSummary)

    async def wait_for_change(self, session: StoreSession, given: Arguments) -> Any:
        """A new token when something changed."""
        token, timeout_s = load(given.get("token"), int), load(given.get("timeout_s"), float)
        return await self._sessions.wait_for_change(session, token, min(timeout_s, LONGEST_WAIT_S))

    async def close(self, session: StoreSession, _given: Arguments) -> None:
        """End the session."""
        await self._sessions.close(session)

    async def _once(self, method: str, session: StoreSession, given: Arguments, call: Callable[[], Any]) -> Any:
        """The answer to a request with this number, which is carried out once however often it is sent."""
        return await self._sessions.once(session, f"{method} {load(given.get('request'), str)}", call)


METHODS: Mapping[str, tuple[Scope, Method]] = MappingProxyType(
    {
        "claim": ("operate", StoreApi.claim),
        "release": ("operate", StoreApi.release),
        "beat": ("operate", StoreApi.beat),
        "time": ("read", StoreApi.time),
        "load": ("read", StoreApi.load),
        "read": ("read", StoreApi.read),
        "next_due": ("read", StoreApi.next_due),
        "wait_for_change": ("read", StoreApi.wait_for_change),
        "close": ("read", StoreApi.close),
    }
)


def _for_admins(member: Member) -> str:
    """What in it the operator's API asks the scope admin for; empty if there is nothing."""
    if not isinstance(member, Commit):
        return ""
    if member.flow_pause is not None:
        return f"to {'pause' if member.flow_pause.paused else 'resume'} flow {member.flow_pause.flow!r}"
    if member.schedule is not None and member.schedule.body is None:
        return f"to delete schedule {member.schedule.id!r}"
    return f"to delete schedule {member.edit.id!r}" if member.edit is not None and member.edit.text is None else ""


def _refusal(who: str, what: str, namespace: str) -> ReadOnly:
    error = ReadOnly(f"token {who!r} does not allow {what} in {where(namespace)}: that needs the scope 'admin'")
    error.code = "permission_denied"
    return error


def _prune_piece(maintenance: Any, given: Arguments) -> Any:
    before, limit, now, keep = (load(given.get(name), int) for name in ("before", "limit", "now", "keep_until"))
    pieces = maintenance.pruning(before, limit, now=now, keep_until=keep)
    try:
        return dump(next(pieces, None), Pruned | None)
    finally:
        pieces.close()


UPKEEP: Mapping[str, tuple[Scope, Callable[[Any, Arguments], Any]]] = MappingProxyType(
    {
        "prune_piece": ("admin", _prune_piece),
        "check": ("read", lambda maintenance, _given: maintenance.check()),
        "conflicts": (
            "read",
            lambda maintenance, given: dump(maintenance.conflicts(load(given.get("limit"), int)), list[PostConflict]),
        ),
        "conditions": (
            "read",
            lambda maintenance, given: dump(
                maintenance.conditions(partial(load, given.get("now"), int)), list[Condition]
            ),
        ),
    }
)


async def answered(call: Callable[[Request, Arguments], Awaitable[Any]], request: Request) -> Response:
    """The answer {"value"}, or {"error"} for what the store raised, or a refusal of the server."""
    try:
        given = from_bytes(await body_of(request))
        if not isinstance(given, dict):
            raise BadValue(f"{given!r:.40} is no object")
        body, status = {"value": await call(request, given)}, 200
    except (BadValue, OverflowError) as error:  # the latter of a store, for numbers that it has no room for
        return Refusal(400, "invalid_argument", str(error)).answer()
    except StepflowError as error:
        body, status = {"error": dump_error(error)}, 422
    except Exception as error:  # noqa: BLE001 - every error has an answer
        return refusal_of(error).answer()
    return Response(to_bytes(body), status, media_type="application/json")
