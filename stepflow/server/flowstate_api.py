"""The services flowstate.v1.Driver and flowstate.v1.Flow: a store for programs that advance their States themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import evolve
from google.protobuf.message import DecodeError, Message
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepflow.engine.states.unclaimed_states import UnclaimedStates
from stepflow.errors import RevMismatch, StepflowError
from stepflow.model import commands as c
from stepflow.server.body import body_of
from stepflow.server.errors import refusal_of
from stepflow.server.guard import authorize
from stepflow.server.namespaces import Namespaces, ServedEngine
from stepflow.server.tokens import Scope
from stepflow.wire import flowstate_json
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flowstate_commands import CommandMessage, keep_first, kind_of, type_name
from stepflow.wire.flowstate_json import BadMessage
from stepflow.wire.flowstate_values import ctx_of, put_delay, put_state

M = TypeVar("M", bound=Message)
JSON, PROTOBUF = "application/json", "application/proto"


METHODS: dict[str, tuple[str, Scope]] = {
    "GetStateByID": ("get_state_by_id", "read"),
    "GetStateByLabels": ("get_state_by_labels", "read"),
    "GetStates": ("get_states", "read"),
    "GetDelayedStates": ("get_delayed_states", "read"),
    "Delay": ("delay", "operate"),
    "Commit": ("commit", "operate"),
    "GetData": ("get_data", "read"),
    "StoreData": ("store_data", "operate"),
}
"""Method -> the command that it takes, and the scope that it needs."""


async def _carry_out(states: UnclaimedStates, request: CommandMessage, kind: str) -> None:
    """Do what the command says; what it answers beside the States is put into its message."""
    if kind == "commit":
        await _commit(states, request.commands())
        return
    message: Any = getattr(request.message, kind)
    match request.command(request.message, kind):
        case c.GetStateByID() | c.GetStateByLabels() as command:
            await states.read(command)
        case c.StoreData(ctx, alias):
            await states.store_data(ctx, alias)
        case c.GetData(ctx, alias):
            await states.get_data(ctx, alias)
        case c.DelayCommand() as command:
            message.ClearField("result")
            put_delay(await states.delay(command), message.result)
        case c.GetStates() as command:
            page = await states.states(command)
            message.ClearField("result")
            message.result.more = page.more
            for state in page.states:
                put_state(state, message.result.states.add())
        case c.GetDelayedStates() as command:
            found = await states.delayed(evolve(command, limit=command.limit + 1))
            message.ClearField("result")
            message.result.more = len(found) > command.limit
            for delay in found[: command.limit]:
                put_delay(delay, message.result.delayed_states.add())


async def _commit(states: UnclaimedStates, commands: list[c.Command]) -> None:
    written = Counter(command.ctx.id for command in commands if isinstance(command, c.ENDS_WITH_A_WRITE))
    if twice := [run_id for run_id, times in written.items() if times > 1 and run_id]:
        raise RevMismatch(twice)
    if commands:
        await states.commit(commands)


def routes(namespaces: Namespaces) -> list[Route]:
    """The routes of both services, below the root and below `/<namespace>`."""
    made = []
    for prefix in ("", "/{namespace}"):
        for method, (_command, scope) in METHODS.items():
            endpoint = _endpoint(namespaces, scope, _driver_call(method))
            made.append(Route(f"{prefix}/flowstate.v1.Driver/{method}", endpoint, methods=["POST"]))
        endpoint = _endpoint(namespaces, "operate", _execute)
        made.append(Route(f"{prefix}/flowstate.v1.Flow/Execute", endpoint, methods=["POST"]))
    return made


Call = Callable[[ServedEngine, bytes, bool], Awaitable[Message]]


def _endpoint(namespaces: Namespaces, scope: Scope, call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        as_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON
        try:
            namespace = request.path_params.get("namespace", "")
            authorize(request, scope, namespace)
            raw = await body_of(request)
            async with namespaces.engine(namespace) as engine:
                message, status = await call(engine, raw, as_json), 200
        except Exception as error:  # noqa: BLE001 - every error has an answer
            refusal = refusal_of(error)
            message, status = pb.Error(code=refusal.code, message=refusal.message), refusal.status
        body = flowstate_json.dump(message) if as_json else message.SerializeToString(deterministic=True)
        return Response(body, status, media_type=JSON if as_json else PROTOBUF)

    return answer


def _driver_call(method: str) -> Call:
    wanted, _scope = METHODS[method]

    async def call(engine: ServedEngine, raw: bytes, as_json: bool) -> pb.Command:
        message = _parsed(raw, as_json, pb.Command())
        if not as_json:
            keep_first(message, raw)
        kind = kind_of(message)
        if as_json and not kind:
            raise BadMessage("failed to unmarshal JSON command: unsupported command given")
        if kind != wanted:
            raise BadMessage(f"invalid command type: expected {type_name(wanted)}; got: {type_name(kind)}")
        request = CommandMessage(message)
        await _carry_out(engine.unclaimed, request, kind)
        request.answer()
        return message

    return call


async def _execute(engine: ServedEngine, raw: bytes, as_json: bool) -> pb.Command:
    """Advance the State here, in the background."""
    ctx = ctx_of(_parsed(raw, as_json, pb.StateCtx()))
    if not ctx.id:
        raise StepflowError("id is empty: name the State to execute")
    await engine.do(c.Execute(ctx))
    return pb.Command(noop=pb.NoopCommand())


def _parsed(raw: bytes, as_json: bool, message: M) -> M:
    """Read an empty message; BadMessage if it is none."""
    kind: Any = message.DESCRIPTOR.name
    if as_json:
        flowstate_json.load(raw, message)
        return message
    if not raw:
        raise BadMessage(f"the body is empty: send a {kind}")
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise BadMessage(f"the body is no {kind}: {error}") from None
    return message
