"""Connections that wait for an answer in slices, so that a session that is asked to end does not wait out a silent server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import wait_for_read

SLICE_S = 0.2
Limit = Callable[[float, float], float]


def pool_manager(limit: Limit, **options: Any) -> urllib3.PoolManager:
    """A manager of connections. `limit(given_s, silent_s)` is asked again and again while there is no answer.

    How many seconds may the silence last that has lasted `silent_s`, if `given_s` is the read timeout?
    """

    class AnsweredConnection(HTTPConnection):
        def getresponse(self) -> Any:
            _wait(self, limit)
            return super().getresponse()

    class AnsweredSecureConnection(HTTPSConnection):
        def getresponse(self) -> Any:
            _wait(self, limit)
            return super().getresponse()

    class HTTPConnectionPool(urllib3.HTTPConnectionPool):
        ConnectionCls = AnsweredConnection

    class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = AnsweredSecureConnection

    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
    return manager


def _wait(connection: HTTPConnection, limit: Limit) -> None:
    """Wait until the answer begins. Raises TimeoutError, as a socket does."""
    sock: Any = connection.sock
    if sock is None or (hasattr(sock, "pending") and sock.pending()):  # TLS has read it already
        return
    given_s, silent_s = float(connection.timeout or 0.0), 0.0
    limit_s = given_s
    while not wait_for_read(sock, min(SLICE_S, given_s)):
        silent_s += min(SLICE_S, given_s)
        limit_s = min(limit_s, limit(given_s, silent_s))
        if silent_s >= limit_s:
            raise TimeoutError("timed out")
