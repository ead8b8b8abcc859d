"""flow_calls: the messages of the service flowstate.v1.Flow: a State goes to a host, and the command of its function comes back.

The State of the call is the caller's: of the answer only the edits of the function are taken over, never what it says was committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError

from stepflow.engine.clock import SECOND, microseconds, timestamp
from stepflow.errors import StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flowstate_commands import CommandMessage, keep_first, kind_of, type_name
from stepflow.wire.flowstate_json import BadMessage
from stepflow.wire.flowstate_values import ctx_of, put_ctx

EXECUTE = "/flowstate.v1.Flow/Execute"
PROTOBUF = "application/proto"
ENDS = ("transit", "park", "execute", "delay", "commit", "noop")  # what a function may return


def call_bytes(ctx: StateCtx) -> bytes:
    """The body of a call. Raises StepflowError for data that the message cannot carry."""
    message = pb.StateCtx()
    _put(ctx, message)
    return message.SerializeToString(deterministic=True)


def call_of(raw: bytes) -> StateCtx:
    """The State of a call; BadMessage if it is none."""
    message = pb.StateCtx()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise BadMessage(f"the body is no StateCtx: {error}") from None
    ctx = ctx_of(message)
    if not ctx.id:
        raise BadMessage("id is empty: name the State to execute")
    return ctx


def answer_bytes(command: c.Command, now: int) -> bytes:
    """The body of an answer; delays after a duration begin at `now`, microseconds UTC, and are rounded up to seconds."""
    return command_message(command, now).SerializeToString(deterministic=True)


def answered_command(raw: bytes, ctx: StateCtx) -> c.Command:
    """The command of an answer about the State of the call; BadMessage if a function cannot have returned it."""
    message = pb.Command()
    try:
        message.ParseFromString(raw)
        keep_first(message, raw)
    except DecodeError as error:
        raise BadMessage(f"the answer is no Command: {error}") from None
    kind = kind_of(message)
    if kind not in ENDS:
        raise BadMessage(f"the answer is {type_name(kind)}: a function cannot return that")
    if kind == "noop":
        return c.Noop()
    request = CommandMessage(message)
    for index, theirs in enumerate(request.ctxs):
        if theirs.id == ctx.id:
            request.ctxs[index] = _with_edits(ctx, theirs)
            break
    try:
        return c.CommitCommand(tuple(request.commands())) if kind == "commit" else request.command(message, kind)
    except StepflowError as error:
        raise BadMessage(f"the answer is {type_name(kind)}: {error}") from None


def _with_edits(ctx: StateCtx, theirs: StateCtx) -> StateCtx:
    ctx.labels, ctx.annotations, ctx.datas = theirs.labels, theirs.annotations, theirs.datas
    ctx.transition, ctx.transitions = theirs.transition, theirs.transitions
    return ctx


def command_message(command: c.Command, now: int) -> pb.Command:
    """The message of a command that a function returned."""
    made, listed = pb.Command(), list[StateCtx]()
    _fill(made, command, listed, now)
    for ctx in listed:
        _put(ctx, made.state_ctxs.add())
    return made


def _fill(message: pb.Command, command: c.Command, listed: list[StateCtx], now: int) -> None:
    match command:
        case c.CommitCommand(commands):
            message.commit.SetInParent()
            for part in commands:
                _fill(message.commit.commands.add(), part, listed, now)
        case c.Transit(ctx, to, notes):
            _refer(message.transit.state_ref, ctx, listed)
            message.transit.to = to
            message.transit.annotations.update(notes)
        case c.Park(ctx, notes):
            _refer(message.park.state_ref, ctx, listed)
            message.park.annotations.update(notes)
        case c.Execute(ctx):
            _refer(message.execute.state_ref, ctx, listed)
        case c.DelayCommand():
            _fill_delay(message.delay, command, listed, now)
        case c.Noop():
            message.noop.SetInParent()
        case _:
            _fill_other(message, command, listed)


def _fill_delay(message: pb.DelayCommand, command: c.DelayCommand, listed: list[StateCtx], now: int) -> None:
    _refer(message.state_ref, command.ctx, listed)
    due = timestamp(command.when) if isinstance(command.when, datetime) else now + microseconds(command.when)
    message.execute_at_sec, message.commit, message.to = -(-due // SECOND), command.commit, command.to
    message.annotations.update(command.annotations)


def _fill_other(message: pb.Command, command: c.Command, listed: list[StateCtx]) -> None:
    """What only a commit may contain."""
    match command:
        case c.Stack(carrier, stacked, annotation):
            _refer(message.stack.carrier_state_ref, carrier, listed)
            _refer(message.stack.stack_state_ref, stacked, listed)
            message.stack.annotation = annotation
        case c.Unstack(carrier, target, annotation):
            _refer(message.unstack.carrier_state_ref, carrier, listed)
            _refer(message.unstack.unstack_state_ref, target, listed)
            message.unstack.annotation = annotation
        case c.StoreData(ctx, alias):
            _refer(message.store_data.state_ref, ctx, listed)
            message.store_data.alias = alias
        case c.GetData(ctx, alias):
            _refer(message.get_data.state_ref, ctx, listed)
            message.get_data.alias = alias
        case c.GetStateByID(ctx, run_id, rev):
            _refer(message.get_state_by_id.state_ref, ctx, listed)
            message.get_state_by_id.id, message.get_state_by_id.rev = run_id, rev
        case c.GetStateByLabels(ctx, labels):
            _refer(message.get_state_by_labels.state_ref, ctx, listed)
            message.get_state_by_labels.labels.update(labels)
        case _:
            raise StepflowError(f"{type(command).__name__}: a function on a host cannot return this")


def _refer(ref: pb.StateCtxRef, ctx: StateCtx, listed: list[StateCtx]) -> None:
    """Refer to the first place of the State in the list; as in the origin only a neighbour is not listed again."""
    if not listed or listed[-1] is not ctx:
        listed.append(ctx)
    ref.idx = _place(ctx, listed)


def _place(ctx: StateCtx, listed: Sequence[StateCtx]) -> int:
    return next(index for index, one in enumerate(listed) if one is ctx)


def _put(ctx: StateCtx, message: Any) -> None:
    for alias, data in ctx.datas.items():
        if not data.binary:
            try:
                data.blob.decode()
            except UnicodeDecodeError:
                raise StepflowError(
                    f"data {alias!r} of State {ctx.id!r} is no UTF-8 text: mark it, set_data(..., binary=True)"
                ) from None
    put_ctx(ctx, message)
