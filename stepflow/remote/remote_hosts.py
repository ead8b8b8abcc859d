"""RemoteHosts: calls flow functions on hosts over HTTP: only on allowed ones, signed, with time limits."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx2
from attrs import frozen
from google.protobuf.message import DecodeError

from stepflow.engine.clock import Clock
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.remote.caller import FlowCaller, HostSearch, NotCalled
from stepflow.engine.remote.discovery import Discovery
from stepflow.engine.states.function_runner import HandOver
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import CallLost, RemoteFailed, StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.durations import seconds
from stepflow.model.flow import Flow
from stepflow.model.host import FlowHost
from stepflow.model.keywords import keywords
from stepflow.model.safe_text import printable
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flow_calls import EXECUTE, PROTOBUF, answered_command, call_bytes
from stepflow.wire.flowstate_json import BadMessage
from stepflow.wire.host_url import LOOPBACK, allow_list, url_problem
from stepflow.wire.signature import SIGNATURE, Signer

CONNECT_S = 3.0
TIMEOUT = {"connect": CONNECT_S, "read": None, "write": None, "pool": None}  # the whole call has a limit of its own
MAX_ANSWER = 64 << 20  # bytes
REFUSALS = {401, 403, 404, 413, 429, 503}  # statuses by which a host says that it did not execute the function
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


@frozen
class _HostAnswer:
    """What came back: the status, the body, and the signature in the header."""

    status: int
    body: bytes
    signature: str


@keywords()
class RemoteHosts(FlowCaller):
    """The hosts that an engine may call: `Engine(store, remote=RemoteHosts(["http://10.0.0.7:9000"], secret=SECRET))`.

    `hosts` are their base URLs, as they register them; `"loopback"` stands for all ports of this machine. No other host is connected to, whatever
    is registered in the store, and no redirect is followed. `secret` is that of the hosts (at least 32 characters), or a list of secrets: the first signs
    calls, all are taken in answers. A call ends after `timeout` (seconds or timedelta), earlier if the flow's `hung_after` is shorter.
    With `flowstate=True` flows that flowstate programs registered are called, too: these hosts sign nothing, so all that is taken from them is that they go on
    with the State. `tls` is for `https` URLs.
    """

    def __init__(
        self,
        hosts: Sequence[str] = (LOOPBACK,),
        *,
        secret: str | Sequence[str],
        timeout: float | timedelta = 120.0,
        flowstate: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed, self._signer, self.flowstate = allow_list(hosts), Signer(secret), flowstate
        limit_s, problem = seconds("timeout", timeout)
        if problem:
            raise StepflowError(f"RemoteHosts: {problem}")
        self._limit_s, self._tls = limit_s, tls
        self._transports: dict[asyncio.AbstractEventLoop, httpx2.AsyncHTTPTransport] = {}

    def __repr__(self) -> str:
        return f"<RemoteHosts {', '.join(sorted(self._allowed))}>"

    def search(
        self, reader: StoreReader, clock: Clock, notifier: Notifier, flows: dict[str, Flow[Any, Any]]
    ) -> HostSearch:
        """What looks for hosts for an engine."""
        return Discovery(self, reader, clock, notifier, flows)

    def problem(self, url: str) -> str:
        """Why this host may not be called; empty if it may."""
        return url_problem(url, self._allowed)

    async def call(self, host: FlowHost, ctx: StateCtx, limit_s: float | None, now: int) -> c.Command:
        """Send the State, and take the answer."""
        if problem := self.problem(host.url):
            raise NotCalled(problem, refused=True)
        body = call_bytes(ctx)
        signed = self._signer.call(host.url, now, body)
        headers = {**signed, "content-type": PROTOBUF, "accept-encoding": "identity"}
        limit_s = self._limit_s if limit_s is None else min(limit_s, self._limit_s)
        answer = await self._post(host.url, body, headers, limit_s)
        if host.signs:
            return self._signed(host.url, ctx, signed[SIGNATURE], answer)
        return _handed_over(host.url, answer)

    async def _post(self, url: str, body: bytes, headers: dict[str, str], limit_s: float) -> _HostAnswer:
        try:
            async with asyncio.timeout(limit_s):
                return await self._exchange(url + EXECUTE, body, headers)
        except NOT_SENT as error:
            raise NotCalled(f"it cannot be reached: {_text(error)}") from None
        except TimeoutError:
            raise CallLost(
                f"host {url} did not answer within {limit_s:g} s; it may have executed the function"
            ) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise CallLost(f"host {url} was called, and no answer came: {_text(error)}") from None

    async def _exchange(self, url: str, body: bytes, headers: dict[str, str]) -> _HostAnswer:
        request = httpx2.Request("POST", url, headers=headers, content=body, extensions={"timeout": TIMEOUT})
        answer = await self._transport().handle_async_request(request)
        try:
            chunks, size = [], 0
            async for chunk in answer.aiter_raw():
                size += len(chunk)
                if size > MAX_ANSWER:
                    raise CallLost(f"{url} answered more than {MAX_ANSWER:,} bytes")
                chunks.append(chunk)
        finally:
            await answer.aclose()
        return _HostAnswer(answer.status_code, b"".join(chunks), answer.headers.get(SIGNATURE, ""))

    def _signed(self, url: str, ctx: StateCtx, call: str, answer: _HostAnswer) -> c.Command:
        """What the answer of a stepflow host says, once it is sure that the host gave it."""
        if answer.status in REFUSALS:  # signed or not: all that follows is that another host is called
            raise NotCalled(f"it answered {answer.status}: {_message(answer)}", refused=answer.status != 503)
        if not self._signer.is_answer(call, answer.status, answer.body, answer.signature):
            raise CallLost(f"host {url} answered {answer.status} without its signature: {_message(answer)}")
        try:
            if answer.status == 200:
                return answered_command(answer.body, ctx)
            raise _failure(url, pb.Error.FromString(answer.body))
        except (BadMessage, DecodeError, ValueError) as error:
            raise CallLost(f"host {url} gave an answer that cannot be used: {error}") from None

    def _transport(self) -> httpx2.AsyncHTTPTransport:
        """The connections of this event loop. Each call has one of its own: when one breaks, it is known whether the call was sent.

        A transport follows no redirects, keeps no cookies, and asks the environment for no proxies.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._transports:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
            self._transports[loop] = httpx2.AsyncHTTPTransport(verify=self._tls or True, trust_env=False, limits=limits)
        return self._transports[loop]

    async def close(self) -> None:
        """End the connections of the engine on this event loop."""
        transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()


def _failure(url: str, error: pb.Error) -> Exception:
    raw: Any = json.loads(error.message)
    if not isinstance(raw, dict):
        raise ValueError(f"{raw!r:.80} is no error of a function")
    kind, message, traceback = (str(raw.get(name, "")) for name in ("type", "message", "traceback"))
    return RemoteFailed(url, kind, message, traceback, error.code != "failed_precondition")


def _handed_over(url: str, answer: _HostAnswer) -> c.Command:
    """A flowstate host said that it goes on with the State; anything else that it says is not taken."""
    if answer.status in REFUSALS:
        raise NotCalled(f"it answered {answer.status}: {_message(answer)}", refused=answer.status != 503)
    try:
        taken = answer.status == 200 and pb.Command.FromString(answer.body).HasField("noop")
    except DecodeError:
        taken = False
    if not taken:
        raise CallLost(f"host {url} answered {answer.status}, and not that it goes on: {_message(answer)}")
    return HandOver()


def _message(answer: _HostAnswer) -> str:
    """The message of an error, or the beginning of what came instead."""
    try:
        error = pb.Error.FromString(answer.body)
    except DecodeError:
        return f"{answer.body!r:.200}"
    return printable(error.message[:500]) or f"{answer.body!r:.200}"


def _text(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
