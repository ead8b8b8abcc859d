"""BrowserSessions: who is logged in. A browser has one cookie; the server keeps its SHA-256 and the token behind it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie

from attrs import frozen
from starlette.datastructures import Headers
from starlette.types import Scope

from stepflow.engine.clock import Clock
from stepflow.server.tokens import Token, digest

LASTS_S = 12 * 3600.0
MAX_SESSIONS = 10_000
COOKIE_CHARS = 43  # of 32 random bytes
NOBODY = Token("", "", "read", frozenset())
"""The token of a browser that is not logged in: it allows nothing."""


@frozen
class Login:
    """A token, and the monotonic time until which its owner is logged in."""

    token: Token
    until: float


class BrowserSessions:
    """The logins of one server process; they end with it, and after LASTS_S seconds.

    `paths` are those of the pages and of their actions: the cookie counts for no other path, so a page of another site cannot
    reach the services for programs with it.
    """

    def __init__(self, clock: Clock, paths: Collection[str]) -> None:
        self._clock, self._paths = clock, frozenset(paths)
        self._key = secrets.token_bytes(32)
        self._logins: OrderedDict[str, Login] = OrderedDict()

    def is_page(self, method: str, path: str) -> bool:
        """Whether a browser asks for a page, which a login may follow."""
        return path in self._paths or (method in ("GET", "HEAD") and path.startswith("/ui/"))

    def token_of(self, path: str, cookie: str) -> Token:
        """The token of the browser with this cookie; NOBODY if it is not logged in."""
        login = self._logins.get(digest(cookie)) if cookie and path in self._paths else None
        return NOBODY if login is None or login.until < self._clock.monotonic() else login.token

    def log_in(self, token: Token) -> str:
        """The cookie for a browser whose user gave this token."""
        cookie, now = new_cookie(), self._clock.monotonic()
        self._logins[digest(cookie)] = Login(token, now + LASTS_S)
        while len(self._logins) > MAX_SESSIONS or next(iter(self._logins.values())).until < now:
            self._logins.popitem(last=False)  # the oldest ends first
        return cookie

    def log_out(self, cookie: str) -> None:
        """The cookie is worth nothing from now on."""
        self._logins.pop(digest(cookie), None)

    def csrf(self, cookie: str) -> str:
        """The text that a form must send back, which only pages for this browser have."""
        return hmac.new(self._key, cookie.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def is_own_form(self, cookie: str, csrf: str) -> bool:
        """Whether a form was made for the browser that sends it."""
        return bool(cookie) and hmac.compare_digest(self.csrf(cookie).encode(), csrf.encode("utf-8", "replace"))


def new_cookie() -> str:
    """A value that cannot be guessed."""
    return secrets.token_urlsafe(32)


def cookie_name(headers: Headers) -> str:
    """The name of the cookie; browsers send cookies to every port of a host, so it has the port."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"stepflow_session_{port}" if port.isdecimal() else "stepflow_session"


def cookie_of(headers: Headers) -> str:
    """The value of the cookie; empty if there is none that this server may have set."""
    try:
        found: Mapping[str, object] = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    value = str(getattr(found.get(cookie_name(headers)), "value", ""))
    return value if len(value) == COOKIE_CHARS and value.isascii() else ""


def route_path(scope: Scope) -> str:
    """The path below the place where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path
