"""HttpStore: a session on a store that a server holds."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stepflow.drivers.http.client import ServerClient, SessionGone
from stepflow.drivers.http.codec import ANSWERS, dump, load, load_results
from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Created,
    HeartbeatReply,
    Owner,
    Record,
    Release,
)
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Query, Store
from stepflow.errors import LostClaim, OutcomeUnknown, RevMismatch, StoreError, TooLarge

LARGEST = 16 << 20  # bytes of a request that commits several members
FORMAT = 2  # of the calls; a server of another one refuses


class Restarted(OutcomeUnknown):
    """The server was restarted, and may have carried out the call before."""


def _found_out(member: Member, result: CommitResult, before: Restarted) -> CommitResult:
    """The result of a member that was sent a second time. At a new run whose id exists those look who start it."""
    creates = isinstance(member, Commit) and any(write.created is not None for write in member.writes)
    return before if isinstance(result, LostClaim | RevMismatch) and not creates else result


class HttpStore(Store):
    """Every method is one request. A session that the server does not know any more is opened again, for the same owner.

    Another write than a commit that was sent before that happened, without an answer, may have been carried out: OutcomeUnknown.
    """

    takes_deltas = False  # the server's store makes them

    def __init__(self, client: ServerClient, namespace: str, owner: Owner, now: int) -> None:
        self._client, self._namespace, self._owner = client, namespace, owner
        self._numbers = itertools.count(1)
        self._opening = threading.Lock()
        self._session = self._open(now)
        self._closed = False

    def _open(self, now: int) -> str:
        arguments = {"format": FORMAT, "namespace": self._namespace, "owner": dump(self._owner, Owner), "now": now}
        session: str = self._client.call("open", {**arguments, "request": secrets.token_hex(8)})
        return session

    def _call(
        self,
        method: str,
        *,
        now: int = 0,
        writes: bool = False,
        wait_s: float = 0.0,
        largest: int | None = None,
        **arguments: Any,
    ) -> Any:
        while True:
            self._check_open()
            session = self._session
            body = {"session": session, "request": str(next(self._numbers)), "now": now, **arguments}
            try:
                return self._client.call(method, body, writes=writes, wait_s=wait_s, largest=largest)
            except SessionGone as gone:
                with self._opening:
                    self._check_open()
                    if self._session == session:
                        self._session = self._open(now)
                if writes and gone.sent:
                    raise Restarted(
                        f"the server at {self._client.address} was restarted; it may have carried out {method!r} before"
                    ) from None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("this session is closed: open another one")

    def close(self, keep: bool = False) -> None:
        """End the session on the server; if that cannot be reached, it ends it later. With `keep` it is not told."""
        if not self._closed:
            self._closed = True
            try:
                if not keep:
                    self._client.call("close", {"session": self._session, "request": str(next(self._numbers))})
            except SessionGone:
                pass
            finally:
                self._client.close()

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        """One request for the whole batch, unless it is large: its members do not depend on each other.

        If the server was restarted before it answered, the batch is sent again. Members of which nothing was done are done then, events and
        cancels have ids; one that the claim or the revision refuses may have been done before: OutcomeUnknown is its result.
        """
        return self._commit(batch, now)

    def _commit(self, members: Sequence[Member], now: int) -> list[CommitResult]:
        batch, before = dump(list(members), list[Member]), None
        while True:
            try:
                largest = LARGEST if len(members) > 1 else None
                plain = self._call("commit", now=now, writes=True, largest=largest, batch=batch)
            except Restarted as error:
                before = error
            except TooLarge as error:
                if len(members) < 2:
                    return [error]
                break
            else:
                results = load_results(plain)
                if before is None:
                    return results
                return [_found_out(*one, before) for one in zip(members, results, strict=True)]
        middle = len(members) // 2
        return self._commit(members[:middle], now) + self._commit(members[middle:], now)

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        """Claims with their records."""
        plain = self._call(
            "claim", now=now, writes=True, flows=dict(flows), limit=limit, suspects=suspects, skip=list(skip)
        )
        return load(plain, list[Claim])  # type: ignore[no-any-return]

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        """One request for the whole batch."""
        plain = dump(list(batch), list[Release])
        return load(self._call("release", now=now, writes=True, batch=plain), list[bool])  # type: ignore[no-any-return]

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:
        """One request."""
        plain = self._call("beat", now=now, dead=list(dead), mono=mono)
        return load(plain, HeartbeatReply)  # type: ignore[no-any-return]

    def time(self) -> int | None:
        """The time of the server's store, else that of the server."""
        return load(self._call("time"), int)  # type: ignore[no-any-return]

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """One request."""
        return load(self._call("load", ids=list(ids)), list[Record | None])  # type: ignore[no-any-return]

    def read(self, query: Query) -> Any:
        """One request."""
        return load(self._call("read", query=dump(query, Query)), ANSWERS[type(query)])

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        """One request."""
        return load(self._call("next_due", now=now, flows=dict(flows)), DueSummary)  # type: ignore[no-any-return]

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:  # noqa: ARG002
        """No transaction of a caller reaches the server."""
        raise StoreError(
            f"tx={tx!r:.100}: a store behind a server has no transactions that a caller could join; leave tx= out"
        )

    def hurry(self, *, ending: bool) -> None:
        self._client.hurry(ending=ending)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        """One request that the server answers when something has changed."""
        try:
            plain = self._call("wait_for_change", token=token, timeout_s=timeout_s, wait_s=timeout_s)
        except StoreError:
            if self._closed:  # meanwhile
                return token
            raise
        return load(plain, int)  # type: ignore[no-any-return]
