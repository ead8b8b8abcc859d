"""Hosts of remote flows on sockets of this process: good ones, and ones that answer as a test says."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from attrs import define, field

from stepflow.server import flow_host

SECRET = "of the tests, of no use elsewhere"
LIMIT_S = 60


@define(eq=False)
class Hosted:
    """A host that listens; `asked` are the paths of the requests that reached it."""

    url: str
    asked: list[str] = field(factory=list)


@contextmanager
def hosted(
    store: str, flows: Sequence[Any], answer: Any = None, *, listens: bool = True, url: str = "", **options: Any
) -> Iterator[Hosted]:
    """Serve the flows. `answer` is an ASGI application that answers in place of the host; one that does not listen is only registered."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
        if not listens:
            place.close()
        one = Hosted(f"http://127.0.0.1:{port}")
        application = flow_host(store, flows, url=url or one.url, **{"secret": SECRET, **options})

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                one.asked.append(scope["path"])
            chosen = application if scope["type"] == "lifespan" or answer is None else answer
            await chosen(scope, receive, send)

        if listens:
            with _served(serve, place):
                yield one
        else:
            with _registered(application):
                yield one


@contextmanager
def _served(application: Any, place: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    began = threading.Event()

    class Announced(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            try:
                await super().startup(sockets)
            finally:
                began.set()

    server, loop = Announced(config), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve([place]),), daemon=True)
    thread.start()
    assert began.wait(LIMIT_S)
    assert server.started, "the host did not start"
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        loop.close()


@contextmanager
def _registered(application: Any) -> Iterator[None]:
    """Run the lifespan of the application in a thread."""
    loop, began = asyncio.new_event_loop(), threading.Event()
    over = asyncio.Event()

    async def run() -> None:
        async with application.router.lifespan_context(application):
            began.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert began.wait(LIMIT_S)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        loop.close()


async def body_of(receive: Any) -> bytes:
    """The body of a request."""
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def respond(send: Any, status: int, body: bytes, **headers: str) -> None:
    """Send a whole answer."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    with suppress(Exception):
        await send({"type": "http.response.body", "body": body})
