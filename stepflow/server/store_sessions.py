"""StoreSessions: the sessions on the store that programs elsewhere hold through this server."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter
from attrs import Factory, define

from stepflow.drivers.port.commit import HeartbeatReply, Owner, Peer
from stepflow.drivers.port.store import Driver, Store
from stepflow.engine.clock import Clock
from stepflow.errors import StepflowError
from stepflow.server.errors import Refusal

T = TypeVar("T")
SILENT_S = (
    60.0  # a session without a request for so long has ended; what it held was lost before, as its beat stood still
)
ANSWERS = 256  # of one session; a request that is sent again comes within seconds
THREADS, WAITERS = 64, 1000
YOUNG_S = 15.0  # after its start a server cannot tell dead programs from those that have not called it yet
log = logging.getLogger("stepflow.server")


@define(eq=False)
class StoreSession:
    """A session of one program: `seen` is when it was last heard of, `answers` are those to its last requests."""

    id: str
    namespace: str
    owner: Owner
    store: Store
    seen: float
    answers: OrderedDict[str, asyncio.Future[Any]] = Factory(OrderedDict)
    waiting: int = 0
    closed: bool = False


class StoreSessions:
    """Sessions by their secret ids. Store calls are made in threads."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver, self._clock = driver, clock
        self._sessions: dict[str, StoreSession] = {}
        self._opened: OrderedDict[str, asyncio.Future[StoreSession]] = OrderedDict()
        self._threads, self._waiters = CapacityLimiter(THREADS), CapacityLimiter(WAITERS)
        self._began = clock.monotonic()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self, namespace: str, owner: Owner, now: int, request: str) -> StoreSession:
        """A new session; the same one for a request that is sent again."""
        if self._closing:
            raise Refusal(503, "unavailable", "the server is shutting down")
        if self._watch is None:
            self._watch = asyncio.create_task(self._end_silent())
        key = f"{owner.id}\0{request}"
        if key not in self._opened:
            self._opened[key] = asyncio.ensure_future(self._open(namespace, owner, now))
            if len(self._opened) > ANSWERS:
                self._opened.popitem(last=False)
        try:
            return await asyncio.shield(self._opened[key])
        except StepflowError:
            self._opened.pop(key, None)  # the request may be sent again
            raise

    async def _open(self, namespace: str, owner: Owner, now: int) -> StoreSession:
        for old in [s for s in self._sessions.values() if s.owner.id == owner.id and s.namespace == namespace]:
            await self.close(old, keep=True)
        store = await self.in_thread(self._driver.connect, namespace, owner, now)
        session = StoreSession(secrets.token_urlsafe(24), namespace, owner, store, self._clock.monotonic())
        self._sessions[session.id] = session
        return session

    def find(self, session_id: Any) -> StoreSession:
        """The session of an id. Refusal 410 if it is not known: the caller opens another one."""
        session = self._sessions.get(session_id) if isinstance(session_id, str) else None
        if session is None or session.closed:
            raise Refusal(410, "session_gone", "this server does not know the session: open another one")
        session.seen = self._clock.monotonic()
        return session

    async def once(self, session: StoreSession, request: str, fn: Callable[[], T]) -> T:
        """The result of a call; a request that is sent again gets the answer of the first one, which is made in any case."""
        answer = session.answers.get(request)
        if answer is None:
            answer = session.answers[request] = asyncio.ensure_future(self.in_thread(fn))
            if len(session.answers) > ANSWERS:
                session.answers.popitem(last=False)
        result: T = await asyncio.shield(answer)
        return result

    async def in_thread(self, fn: Callable[..., T], *args: Any) -> T:
        """The result of a call of the store."""
        return await anyio.to_thread.run_sync(fn, *args, limiter=self._threads)

    async def wait_for_change(self, session: StoreSession, token: int, timeout_s: float) -> int:
        """A new token when the store changed, or the same one after the time."""
        until = self._clock.monotonic() + timeout_s
        session.waiting += 1
        try:
            while not (session.closed or self._closing):
                rest_s = min(1.0, until - self._clock.monotonic())
                found = await anyio.to_thread.run_sync(
                    session.store.wait_for_change, token, max(rest_s, 0.0), limiter=self._waiters
                )
                if found != token or rest_s < 1.0:
                    return found
            return token
        finally:
            session.waiting -= 1
            session.seen = self._clock.monotonic()

    def seen_from_outside(self, reply: HeartbeatReply) -> HeartbeatReply:
        """What a program is told of the others. A server that began lately held no locks before, so that free ones prove nothing."""
        if self._clock.monotonic() - self._began > YOUNG_S:
            return reply
        peers = tuple(Peer(p.owner, "unknown") if p.lock == "free" else p for p in reply.peers)
        return HeartbeatReply(peers, reply.cancels, reply.reclaimed, reply.time, reply.rest_s)

    async def close(self, session: StoreSession, keep: bool = False) -> None:
        """End a session: its claims are released, unless its program shall `keep` them."""
        if not session.closed:
            session.closed = True
            self._sessions.pop(session.id, None)
            await self.in_thread(session.store.close, keep)

    async def _end_silent(self) -> None:
        while True:
            await asyncio.sleep(SILENT_S / 10)
            limit = self._clock.monotonic() - SILENT_S
            for session in [s for s in self._sessions.values() if s.seen < limit and not s.waiting]:
                try:
                    await self._end_dead(session)
                except Exception as error:
                    log.warning("session of owner %s could not be ended", session.owner.id, exc_info=error)

    async def _end_dead(self, session: StoreSession) -> None:
        """A program that was not heard of for long has died with what it holds: that counts as a crash, unlike a release."""
        log.info("owner %s on %s was not heard of for %g s", session.owner.id, session.owner.host, SILENT_S)
        now = self._clock.now()
        judge = await self.in_thread(
            self._driver.connect, session.namespace, Owner(f"server-{secrets.token_hex(8)}", "", 0), now
        )
        try:
            await self.in_thread(judge.beat, now, [session.owner.id])
        finally:
            await self.in_thread(judge.close)
            await self.close(session)

    async def close_all(self) -> None:
        """End all sessions; none can be opened any more. Their programs live, and go on with what they hold at the next server."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
        for session in list(self._sessions.values()):
            await self.close(session, keep=True)
