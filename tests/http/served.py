"""A server on a socket of this process, and drivers that go through it: each has a store of its own, named by its token."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

import uvicorn

from stepflow.drivers.http import HttpDriver
from stepflow.drivers.port.store import Driver
from stepflow.model.flow import Flow
from stepflow.server import app
from stepflow.server.serving import HEAD_BYTES
from stepflow.server.tokens import Token, TokenTable, digest

LIMIT_S = 60


class Socket:
    """The server, in a thread that ends with the process; starting one for each test would take most of the time."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.apps: dict[str, object] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        # The loop does this for sockets of its own; without it each answer waits for 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._answer,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        server = uvicorn.Server(config)
        threading.Thread(target=self.loop.run_until_complete, args=(server.serve([self._socket]),), daemon=True).start()

    async def _answer(self, scope, receive, send) -> None:
        headers = dict(scope["headers"])
        await self.apps[headers[b"authorization"].decode().removeprefix("Bearer ")](scope, receive, send)


the_socket = cache(Socket)
_tokens = itertools.count(1)


class Served:
    """Serves a store until `close`."""

    def __init__(self, store: str | Driver, scopes: Sequence[str] = (), flows: Sequence[Flow[Any, Any]] = ()) -> None:
        """With `scopes` there are tokens: `url_of(scope)` has the secret of the one of this scope, which is named after it."""
        self._at, self._token = the_socket(), f"t{next(_tokens)}"
        self.place, self.token = self._at.place, self._token
        self.url = f"http://{self._token}@{self.place}"
        self.driver = HttpDriver(self.url)
        self._secrets = {scope: f"{self._token}-{scope}" for scope in scopes}
        table = [Token(scope, digest(secret), scope) for scope, secret in self._secrets.items()]
        self._application = app(store, tokens=TokenTable(table) if table else None, flows=flows)
        self._stack = AsyncExitStack()
        for secret in (self._token, *self._secrets.values()):
            self._at.apps[secret] = self._application
        self._on_loop(self._stack.enter_async_context(self._application.router.lifespan_context(self._application)))

    def url_of(self, scope: str) -> str:
        return f"http://{self._secrets[scope]}@{self.place}"

    def close(self) -> None:
        self._on_loop(self._stack.aclose())
        for secret in (self._token, *self._secrets.values()):
            del self._at.apps[secret]

    def _on_loop(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._at.loop).result(LIMIT_S)
