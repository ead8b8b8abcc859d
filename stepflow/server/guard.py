"""Guards: what every request passes before a service sees it: its host, its origin, its token; and what every answer carries."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepflow.drivers.port.notes import AUDIT
from stepflow.engine.clock import Clock
from stepflow.server.errors import Refusal
from stepflow.server.tokens import Scope as TokenScope
from stepflow.server.tokens import Token, TokenTable
from stepflow.server.ui.browser_sessions import BrowserSessions, cookie_of, route_path

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
FAILURES, WINDOW_S, MAX_CLIENTS = 10, 60.0, 10_000  # wrong tokens of one address before it has to wait
TOO_MANY = Refusal(429, "resource_exhausted", f"too many wrong tokens: wait {WINDOW_S:.0f} s")
NO_TOKEN = Refusal(401, "unauthenticated", "send the header Authorization: Bearer TOKEN")
WRONG_TOKEN = Refusal(
    401, "unauthenticated", "the header Authorization has no token of this server: send Authorization: Bearer TOKEN"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
HTTPS_HEADERS = {"strict-transport-security": "max-age=31536000"}
"""What an answer over HTTPS has besides: a browser then keeps to HTTPS for a year. Not for subdomains, which may be of others."""
log = logging.getLogger("stepflow.server")


class SecurityHeaders:
    """Adds headers that keep browsers from guessing types, framing, caching, and from plain HTTP where there is HTTPS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        added = HEADERS | HTTPS_HEADERS if scope.get("scheme") == "https" else HEADERS

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class SameOrigin:
    """Refuses requests that a page of another site makes in the browser of a user.

    Without tokens the server trusts everything on this machine: then the request must come from it, as far as its address is known,
    and the Host must be a local name, so that no foreign name that resolves to this machine will do. An Origin must be that of the
    server, or one of `origins`.
    """

    def __init__(self, app: ASGIApp, *, local_only: bool, origins: Sequence[str] = ()) -> None:
        self._app, self._local_only, self._origins = app, local_only, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wrong := self._wrong(scope)):
            await Refusal(403, "permission_denied", wrong).answer()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _wrong(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._local_only and not _is_local(address_of(scope), "x-forwarded-for" in headers):
            return f"a request from {address_of(scope)!r:.80}: without tokens this server answers to this machine alone"
        if self._local_only and _name(host) not in LOCAL:
            return f"Host {host!r:.80}: without tokens this server answers to localhost alone"
        if origin is None or origin in self._origins or _place(origin) == host:
            return ""
        return f"Origin {origin!r:.80} is not that of this server: allow it with --origin"


def _is_local(address: str, forwarded: bool) -> bool:
    """Whether an address is one of this machine; a text that is none, of a socket without addresses, is if no proxy made it."""
    try:
        found = ip_address(address)
    except ValueError:
        return not forwarded
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _place(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class Cors(CORSMiddleware):
    """Tells browsers what the pages of other sites may send; what they may not is refused as everything else."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to what a browser asks before it sends the request of a page."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return Refusal(400, "invalid_argument", bytes(answer.body).decode()).answer(kept)


class AuthFailures:
    """The wrong tokens of each address: after FAILURES of them within WINDOW_S seconds it has to wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = (
            OrderedDict()
        )  # times by address, the one that failed last at the end

    def blocked(self, address: str) -> bool:
        """Whether this address has to wait."""
        since = self._clock.monotonic() - WINDOW_S
        recent = [at for at in self._failures.get(address, ()) if at > since]
        return len(recent) >= FAILURES

    def add(self, address: str) -> None:
        """A request of this address had no valid token."""
        times = self._failures.setdefault(address, [])
        times.append(self._clock.monotonic())
        del times[:-FAILURES]
        self._failures.move_to_end(address)
        if len(self._failures) > MAX_CLIENTS:
            self._failures.popitem(last=False)
        log.warning("a request from %s had no valid token", address or "an unknown address")


def address_of(scope: Scope) -> str:
    """The address from which a request comes; empty if it is not known."""
    return (scope.get("client") or ("",))[0]


class Bearer:
    """Asks for a token, and finds out what it allows; `authorize` checks that later.

    A browser that asks for a page of `sessions` passes without one, with the token of its login or with one that allows nothing.
    """

    def __init__(self, app: ASGIApp, *, tokens: TokenTable, failures: AuthFailures, sessions: BrowserSessions) -> None:
        self._app, self._tokens, self._failures, self._sessions = app, tokens, failures, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (path := route_path(scope)) in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers, address = Headers(scope=scope), address_of(scope)
        kind, _space, secret = headers.get("authorization", "").partition(" ")
        token = self._tokens.find(secret.strip()) if kind.lower() == "bearer" else None
        if "authorization" not in headers and self._sessions.is_page(scope["method"], path):
            token = self._sessions.token_of(path, cookie_of(headers))
        if token is None and self._failures.blocked(address):  # a right token passes: others may share the address
            answer = TOO_MANY.answer({"retry-after": f"{WINDOW_S:.0f}"})
            await answer(scope, receive, send)
            return
        if token is None:
            self._failures.add(address)
            refusal = WRONG_TOKEN if "authorization" in headers else NO_TOKEN
            answer = refusal.answer({"www-authenticate": "Bearer"})
            await answer(scope, receive, send)
            return
        scope["stepflow.token"] = token
        await self._app(scope, receive, send)


def authorize(connection: HTTPConnection, wanted: TokenScope, namespace: str) -> None:
    """Raise Refusal unless the request's token has this scope in this namespace. Without tokens everything is allowed."""
    if namespace == AUDIT:
        raise Refusal(403, "permission_denied", f"namespace {AUDIT!r} is that of the audit: GET /api/v1/audit reads it")
    if not allowed(connection, wanted, namespace):
        text = f"token {caller_of(connection)!r} does not allow {wanted!r} in {where(namespace)}"
        raise Refusal(403, "permission_denied", text)


def where(namespace: str) -> str:
    """The namespace, in a message."""
    return f"namespace {namespace!r}" if namespace else "the namespace without a name"


def allowed(connection: HTTPConnection, wanted: TokenScope, namespace: str) -> bool:
    """Whether `authorize` lets the request pass."""
    if namespace == AUDIT:  # read through the operator's API alone
        return False
    token: Token | None = connection.scope.get("stepflow.token")
    return token is None or token.allows(wanted, namespace)


def server_url(connection: HTTPConnection) -> str:
    """The URL at which the caller reaches the server, as commands take it for a store."""
    return str(connection.base_url).rstrip("/")


def caller_of(connection: HTTPConnection) -> str:
    """The name of the request's token; `local` for a server without tokens, which answers this machine alone."""
    token: Token | None = connection.scope.get("stepflow.token")
    return "local" if token is None else token.name
