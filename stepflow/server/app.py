"""The application: all services of a server as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stepflow.drivers.port.store import Driver
from stepflow.drivers.registry import driver_for
from stepflow.engine.clock import SystemClock
from stepflow.errors import StoreError
from stepflow.model.flow import Flow
from stepflow.server import flowstate_api, metrics
from stepflow.server.guard import AuthFailures, Bearer, Cors, SameOrigin, SecurityHeaders
from stepflow.server.namespaces import Namespaces
from stepflow.server.operator_api.api import OperatorApi
from stepflow.server.operator_api.routes import routes as operator_routes
from stepflow.server.store_api import StoreApi
from stepflow.server.store_notes import StoreNotes
from stepflow.server.store_sessions import StoreSessions
from stepflow.server.tokens import TokenTable
from stepflow.server.ui.browser_sessions import BrowserSessions
from stepflow.server.ui.web_ui import PATHS, WebUi
from stepflow.server.unmatched import answer_unmatched

log = logging.getLogger("stepflow.server")
READY_S = 5.0  # for which a store may keep who asks whether the server is ready


def app(
    store: str | Driver,
    *,
    tokens: TokenTable | None = None,
    origins: Sequence[str] = (),
    flows: Sequence[Flow[Any, Any]] = (),
) -> Starlette:
    """The server of one store, to be run by an ASGI server or mounted in another application.

    With `tokens` every request needs one; without, only programs on this machine are answered. `origins` are those of other sites
    whose pages may use it, e.g. `https://ops.example.com`. `flows` are those whose runs it can start, fork with another input, and
    move; workers advance them, not the server. A mounted application ends with its parent only if the parent's lifespan enters this
    one's: see the guide. `app(...).state.stop()`, called when a shutdown begins, ends the streams of open pages.
    """
    driver, clock = driver_for(store), SystemClock()
    namespaces, sessions = Namespaces(driver, clock, flows), StoreSessions(driver, clock)

    failures, browsers = AuthFailures(clock), BrowserSessions(clock, PATHS)
    operator = OperatorApi(driver, namespaces)
    ui = WebUi(namespaces, browsers, tokens, failures, clock, operator)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await operator.bulk_changes.close()
            await namespaces.close()
            await sessions.close_all()

    health = [Route("/healthz", _alive), Route("/readyz", partial(_ready, namespaces, tokens is None))]
    guards = [Middleware(SecurityHeaders), Middleware(SameOrigin, local_only=tokens is None, origins=origins)]
    if origins:
        headers = ["authorization", "content-type", "connect-protocol-version"]
        cors = Middleware(Cors, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=headers)
        guards.append(cors)
    if tokens is not None:
        guards.append(Middleware(Bearer, tokens=tokens, failures=failures, sessions=browsers))
    services = [
        *StoreApi(driver, sessions, clock).routes(),  # routes are tried in this order, and workers call these most
        *operator_routes(operator, flows),
        *StoreNotes(operator.audit, clock).routes(),
        *flowstate_api.routes(namespaces),
    ]
    services += metrics.routes(namespaces)
    made = Starlette(
        routes=[*health, *services, *ui.routes()],
        middleware=guards,
        lifespan=lifespan,
        exception_handlers={HTTPException: answer_unmatched},
    )
    made.state.stop = namespaces.stop
    return made


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _ready(namespaces: Namespaces, tells_why: bool, _request: Request) -> Response:
    """Whether the store can be used. It needs no token: why not is for the log, if others than this machine may ask."""
    try:
        async with namespaces.engine("") as engine:
            async with asyncio.timeout(
                READY_S
            ):  # an engine without work of its own would not notice what became of the store
                await engine.reader.next_due({})
            health = engine.health()
    except (StoreError, TimeoutError) as error:
        why = str(error) or f"it did not answer within {READY_S:g} s"
        if tells_why:
            return JSONResponse({"ready": False, "error": why}, 503)
        log.warning("the store cannot be used: %s", why)
        return JSONResponse({"ready": False}, 503)
    return JSONResponse({"ready": health.ok}, 200 if health.ok else 503)
