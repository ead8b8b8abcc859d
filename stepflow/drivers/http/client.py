"""Requests to a stepflow server: connections, time limits, repetitions, and what their failures mean."""

from __future__ import annotations

import os
import ssl
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from stepflow.drivers.http.codec import BadValue, from_bytes, load_error, to_bytes
from stepflow.drivers.http.pools import pool_manager
from stepflow.errors import OutcomeUnknown, ReadOnly, StoreError, TooLarge, Unavailable

CONNECT_S, READ_S = 5.0, 30.0
RETRY_S = 10.0  # a server that restarts is back by then
PAUSE_S = 0.1
LAST_READ_S = (
    5.0  # the same while the session ends, and for how long it then waits for a server that does not answer, in all
)
CONNECTIONS = 100  # that are kept; more are opened and closed, with a warning for each
HINTS = {
    401: "; the secret of a token that the server knows stands before the host: http://SECRET@host:port",
    403: "",
}
"""What to do about an answer with this status."""
CODES = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "aborted",
    422: "failed_precondition",
    429: "resource_exhausted",
}
"""What a status means that comes without a code, e.g. from a proxy: nothing was done."""


NOT_OURS = (200, 404, 405, 501)
"""With these statuses a server answers that does not know our calls; a page for browsers comes with 200."""


class OtherServer(StoreError):
    """What answers is no stepflow server of this version."""


class SessionGone(Exception):
    """The server does not know the session: it restarted, or has not heard of it for long.

    `sent`: the call was sent before as well, without an answer, and may have been carried out then.
    """

    def __init__(self, sent: bool) -> None:
        super().__init__(sent)
        self.sent = sent


class GivenUp(OSError):
    """A session that ends has waited long enough for the server: nothing was sent."""


class Connections:
    """The connections to one server, and what is sent with each request. Thread-safe; a forked child gets connections of its own."""

    def __init__(self, url: str) -> None:
        """`url` is `http://TOKEN@host:port` or `https://...`; the token may be left out."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise StoreError(f"{shown(url)!r}: write http://host:port or http://TOKEN@host:port")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self._headers = {"authorization": f"Bearer {unquote(parts.username)}"} if parts.username else {}
        self._pool, self._pid = self._new_pool(), os.getpid()
        self._left_s: float | None = None  # of LAST_READ_S

    def hurry(self, *, ending: bool) -> None:
        """While `ending`, all requests without an answer together take little more than LAST_READ_S."""
        if not ending or self._left_s is None:
            self._left_s = LAST_READ_S if ending else None

    def _new_pool(self) -> urllib3.PoolManager:
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        return pool_manager(
            self._limit_s, num_pools=1, maxsize=CONNECTIONS, timeout=timeout, retries=False, headers=self._headers
        )

    def _limit_s(self, given_s: float, silent_s: float) -> float:
        """How long a silence may last of which READ_S and what the request takes were given: LAST_READ_S from now on if the session ends."""
        if self._left_s is None or given_s < READ_S:
            return given_s
        return max(given_s - READ_S, silent_s) + LAST_READ_S

    def post(self, path: str, body: bytes, content_type: str, wait_s: float = 0.0) -> urllib3.BaseHTTPResponse:
        """The answer, which the server may take `wait_s` longer for. Raises HTTPError or OSError where there is none, Unavailable if TLS forbids it."""
        if self._pid != os.getpid():
            self._pool, self._pid = self._new_pool(), os.getpid()
        left_s = self._left_s
        if left_s is not None and left_s <= 0:
            raise GivenUp("it gave no answer since this session was asked to end")
        timeout = urllib3.Timeout(connect=CONNECT_S, read=wait_s + (READ_S if left_s is None else LAST_READ_S))
        headers = {**self._headers, "content-type": content_type}
        try:
            return self._pool.request("POST", f"{self.address}{path}", body=body, timeout=timeout, headers=headers)
        except urllib3.exceptions.SSLError as error:
            if (problem := _refusal_of_tls(error)) is None:
                raise
            raise Unavailable(f"the server at {self.address} {problem}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if self._left_s is not None:
                self._left_s -= trouble_of(error)[1] or PAUSE_S
            raise

    def close(self) -> None:
        """Close them."""
        self._pool.clear()


def _refusal_of_tls(error: urllib3.exceptions.SSLError) -> str | None:
    """Why there can be no TLS connection, however often it is tried, and what to do."""
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"is not trusted: certificate verify failed: {cause.verify_message}: name the server as its certificate does,"
            " and the file of its authority in SSL_CERT_FILE"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return "does not speak TLS: write http:// instead of https://"
    return None


def trouble_of(error: Exception) -> tuple[bool, float]:
    """Whether a request without an answer was sent, and how many seconds its failure took."""
    if isinstance(error, GivenUp):
        return False, RETRY_S
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # a kind of ConnectTimeoutError that came at once
        return False, 0.0
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return False, CONNECT_S
    return True, READ_S if isinstance(error, urllib3.exceptions.ReadTimeoutError) else 0.0


def reason_of(error: Exception) -> str:
    """Why a request has no answer: what the system said, without the objects of a client that an HTTPError names."""
    cause = next((one for one in (error.__cause__, *error.args) if isinstance(one, OSError)), error)
    return getattr(cause, "strerror", None) or str(cause)


class ServerClient:
    """Posts calls to one server. Thread-safe; a forked child gets connections of its own."""

    def __init__(self, url: str) -> None:
        """`url` is `http://TOKEN@host:port` or `https://...`; the token may be left out."""
        self._connections = Connections(url)
        self.address = self._connections.address

    def call(
        self,
        method: str,
        arguments: dict[str, Any],
        *,
        writes: bool = False,
        wait_s: float = 0.0,
        largest: int | None = None,
    ) -> Any:
        """The answer to a call, which the server may take `wait_s` longer for.

        A call whose connection breaks is sent again, with the same arguments. They have a number of the request, so the server does nothing twice. Raises SessionGone,
        what the store raised, Unavailable if the server cannot be reached for RETRY_S, and OutcomeUnknown if a call that `writes`
        may have been carried out then. TooLarge, before anything is sent, if the call needs more than `largest` bytes.
        """
        body, left_s, sent = to_bytes(arguments), RETRY_S, False
        if largest is not None and len(body) > largest:
            raise TooLarge(f"{method!r} would send {len(body):,} bytes at once: {largest:,} are allowed")
        while True:
            try:
                answer = self._post(method, body, wait_s)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                trouble: Exception = error
                was_sent, took_s = trouble_of(error)
                sent, left_s = sent or was_sent, left_s - took_s
            else:
                if answer.status == 410:
                    raise SessionGone(sent)
                if answer.status != 503:
                    return self._value(answer)
                trouble = StoreError(_message(answer))
            if left_s <= 0:
                text = f"the server at {self.address} does not answer: {reason_of(trouble)}"
                raise OutcomeUnknown(text) if writes and sent else Unavailable(text)
            time.sleep(PAUSE_S)
            left_s -= PAUSE_S

    def _post(self, method: str, body: bytes, wait_s: float) -> urllib3.BaseHTTPResponse:
        return self._connections.post(f"/stepflow.v1.Store/{method}", body, "application/json", wait_s)

    def _value(self, answer: urllib3.BaseHTTPResponse) -> Any:
        try:
            value = from_bytes(answer.data)
        except BadValue:
            value = None
        if answer.status == 200 and isinstance(value, dict) and "value" in value:
            return value["value"]
        if isinstance(value, dict) and "error" in value:
            raise load_error(value["error"])
        if answer.status == 413:
            raise TooLarge(f"{self.address}: {_message(answer)}: store large values elsewhere, and their keys here")
        hint = HINTS.get(answer.status, "; is it a stepflow server of this version?")
        text = f"{self.address} answered {answer.status}: {_message(answer)}{hint}"
        known = isinstance(value, dict) and "code" in value
        kind = OtherServer if answer.status in NOT_OURS and not known else StoreError
        error = ReadOnly(text) if answer.status == 403 else kind(text)
        if answer.status in CODES:
            told = value.get("code") if isinstance(value, dict) else None
            error.code = told if isinstance(told, str) else CODES[answer.status]
        raise error

    def hurry(self, *, ending: bool) -> None:
        """As of the port."""
        self._connections.hurry(ending=ending)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


def _message(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        value = from_bytes(answer.data)
        return str(value.get("message", value)) if isinstance(value, dict) else f"{value!r:.200}"
    except BadValue:
        return f"{answer.data!r:.200}"


def shown(url: str) -> str:
    """The URL without its token."""
    scheme, _colon, rest = url.partition("://")
    secret, at, place = rest.rpartition("@")
    return f"{scheme}://***@{place}" if at and secret else url
