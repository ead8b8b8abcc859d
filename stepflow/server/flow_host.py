"""flow_host: the application of a host, which executes flow functions for engines of other processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stepflow.drivers.payload.stages import Stage
from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.checks import checked_concurrency, checked_flow
from stepflow.engine.remote.registration import Registration
from stepflow.engine.remote.served_call import serve_call
from stepflow.engine.threads.raised import own_error
from stepflow.errors import DefinitionError
from stepflow.model import commands as c
from stepflow.model import outcome as outcomes
from stepflow.model.ctx import StateCtx
from stepflow.model.error_text import loggable
from stepflow.model.flow import Flow
from stepflow.model.function import FlowFunction
from stepflow.model.host import HOST_FLOW
from stepflow.model.retry import RetryPolicy
from stepflow.server.body import body_of
from stepflow.server.errors import Refusal, refusal_of
from stepflow.server.guard import SecurityHeaders
from stepflow.server.unmatched import answer_unmatched
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flow_calls import EXECUTE, PROTOBUF, answer_bytes, call_of
from stepflow.wire.host_url import host_url
from stepflow.wire.signature import SIGNATURE, Signer

T = TypeVar("T")
log = logging.getLogger("stepflow.server")


class HostEngine(AsyncEngine):
    """An engine that executes functions for callers elsewhere; its worker ends the registrations of hosts that died, and nothing else."""

    def registration(self, url: str, flows: Sequence[FlowFunction]) -> Registration:
        """The registration of this host."""
        session, options = self._session, {flow.name: flow.options for flow in flows}
        return Registration(url, options, session.committer, session.reader, self._clock)

    async def call(self, flows: Mapping[str, FlowFunction], ctx: StateCtx) -> c.Command:
        """Call the function of the flow that the State goes to; see `serve_call`."""
        session = self._session
        runner = session.runner_of(flows)
        return await serve_call(runner, session.committer, self._clock, ctx, lambda: session.lifetime.closing)

    def now(self) -> int:
        """The time of the store, microseconds UTC."""
        return self._clock.now()


class HostApi:
    """The endpoint of a host: it checks who calls, calls the function, and signs what it answers."""

    def __init__(
        self, engine: HostEngine, flows: Mapping[str, FlowFunction], url: str, signer: Signer, concurrency: int
    ) -> None:
        self._engine, self._flows, self._url, self._signer = engine, flows, url, signer
        self._left = concurrency
        self.leaving = False

    async def execute(self, request: Request) -> Response:
        """Answer one call. What is refused before the function was called is not signed: it tells nothing but to call another host."""
        try:
            return await self._execute(request)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            refusal = refusal_of(error)
            message = pb.Error(code=refusal.code, message=refusal.message)
            return Response(message.SerializeToString(), refusal.status, media_type=PROTOBUF)

    async def _execute(self, request: Request) -> Response:
        if problem := self._signer.call_problem(self._url, request.headers, self._engine.now()):
            log.warning("a call from %s is refused: %s", request.client.host if request.client else "?", problem)
            raise Refusal(401, "unauthenticated", f"the call is refused: {problem}")
        if self.leaving or self._left <= 0:
            raise Refusal(503, "unavailable", "this host is leaving" if self.leaving else "this host is busy")
        self._left -= 1
        try:
            raw = await body_of(request)
            if not self._signer.is_body(request.headers, raw):
                raise Refusal(401, "unauthenticated", "the body is not the one that was signed")
            ctx = call_of(raw)
            if ctx.transition.to not in self._flows:
                raise Refusal(404, "not_found", f"flow {ctx.transition.to!r:.200} is not served here")
            status, body = await _unless_gone(self._answer(ctx), request)
        finally:
            self._left += 1
        signature = self._signer.answer(request.headers[SIGNATURE], status, body)
        return Response(body, status, {SIGNATURE: signature}, media_type=PROTOBUF)

    async def _answer(self, ctx: StateCtx) -> tuple[int, bytes]:
        """The status and the body: the command of the function, or what it raised."""
        flow, run_id = self._flows[ctx.transition.to], ctx.id
        try:
            command = await self._engine.call(self._flows, ctx)
            return 200, answer_bytes(command, self._engine.now())
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:
            failure = own_error(error)
            names = {"run_id": run_id, "flow": flow.name, "event": "failed"}
            log.warning("flow %s raised for State %s", flow.name, run_id, exc_info=loggable(failure), extra=names)
            again = (flow.options.retry or RetryPolicy()).covers(failure)
            code = "unknown" if again else "failed_precondition"
            return 500, pb.Error(code=code, message=outcomes.describe(failure)).SerializeToString()


async def _unless_gone(work: Coroutine[Any, Any, T], request: Request) -> T:
    """Do the work, and cancel it when the caller closes the connection: it waits for the answer no more."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.wait([task, gone])
    raise Refusal(499, "cancelled", "the caller closed the connection")


def flow_host(
    store: str | Driver,
    flows: Sequence[Flow[Any, Any]],
    *,
    url: str,
    secret: str | Sequence[str],
    namespace: str = "",
    concurrency: int = 64,
    payload: Sequence[Stage] | None = None,
) -> Starlette:
    """The application of a host: engines of other processes whose `remote=` allows `url` execute these flow functions here.

    It registers itself in the store when it starts, and withdraws when it ends; `url` is where the others reach it, e.g. `http://10.0.0.7:9000`.
    `secret` (at least 32 characters, or a list: the first signs, all are taken) is shared with them. More than `concurrency` calls at a time are refused, and
    go to another host. `payload` are the stages of the engines of the store.
    """
    served, place, signer = _functions(flows), host_url(url), Signer(secret)
    engine = HostEngine(store, namespace=namespace, payload=payload)
    engine.register(HOST_FLOW)
    api = HostApi(engine, served, place, signer, checked_concurrency(concurrency))

    @asynccontextmanager
    async def lifespan(application: Starlette) -> AsyncIterator[None]:
        async with engine, engine.worker():
            registration = engine.registration(place, list(served.values()))
            await registration.register()
            keeping = asyncio.create_task(registration.keep())

            withdrawn: list[asyncio.Task[None]] = []

            def stop() -> asyncio.Task[None]:
                if not withdrawn:
                    api.leaving = True
                    keeping.cancel()
                    withdrawn.append(asyncio.create_task(registration.withdraw()))
                return withdrawn[0]

            application.state.stop = stop
            try:
                yield
            finally:
                await asyncio.wait([stop(), keeping])
                if error := withdrawn[0].exception():  # the end of the session frees it
                    log.warning("host %s could not withdraw: %s", place, error)

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = [Route("/healthz", alive), Route(EXECUTE, api.execute, methods=["POST"])]
    handlers: Any = {HTTPException: answer_unmatched}
    return Starlette(
        routes=routes, middleware=[Middleware(SecurityHeaders)], lifespan=lifespan, exception_handlers=handlers
    )


def _functions(flows: Sequence[Flow[Any, Any]]) -> dict[str, FlowFunction]:
    """The flows by name; DefinitionError if there are none, or one is not a flow function."""
    found: dict[str, FlowFunction] = {}
    for flow in flows:
        name = checked_flow(flow, "flow_host").name
        if not isinstance(flow, FlowFunction):
            raise DefinitionError(
                f"flow_host: {name!r} is no flow function: let a worker advance it, stepflow worker MODULE"
            )
        found[name] = flow
    if not found:
        raise DefinitionError("flow_host: give at least one flow function")
    return found
