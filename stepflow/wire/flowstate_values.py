"""flowstate.v1 messages from and to the values of the model: States, working copies, data, delays."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from stepflow.drivers.port.delays import Delay
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data
from stepflow.model.state import State, Transition, transition_to
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flowstate_json import BadMessage

MILLI = 1_000  # microseconds
SECOND = 1_000_000
LAST_MILLI = (1 << 63) // MILLI - 1  # of times that are microseconds elsewhere


def ctx_of(message: pb.StateCtx) -> StateCtx:
    """The working copy of a message; a committed State without a revision was never committed."""
    ctx = StateCtx.of(state_of(message.current))
    committed = message.committed
    ctx.committed = state_of(committed) if committed.rev else State("")
    ctx.transitions = [transition_of(item) for item in message.transitions]
    ctx.datas = {alias: data_of(alias, data) for alias, data in message.datas.items()}
    return ctx


def put_ctx(ctx: StateCtx, message: pb.StateCtx) -> None:
    """Let the message say what a working copy is; nothing of what it said before stays."""
    message.Clear()
    put_state(ctx.committed, message.committed)
    put_state(ctx.current, message.current)
    for transition in ctx.transitions:
        put_transition(transition, message.transitions.add())
    for alias, data in ctx.datas.items():
        _put_data(data, message.datas[alias])


def state_of(message: pb.State) -> State:
    """The State of a message: its time in microseconds instead of milliseconds."""
    return State(
        message.id,
        message.rev,
        transition_of(message.transition),
        notes_of(message.labels),
        notes_of(message.annotations),
        min(message.committed_at_unix_milli, LAST_MILLI) * MILLI,
    )


def put_state(state: State, message: pb.State) -> None:
    """Fill an empty message. The transition is written even if it is empty."""
    message.id, message.rev = state.id, state.rev
    message.annotations.update(state.annotations)
    message.labels.update(state.labels)
    message.committed_at_unix_milli = state.committed_at // MILLI
    put_transition(state.transition, message.transition)


def transition_of(message: pb.Transition) -> Transition:
    """The transition of a message."""
    return transition_to(message.to, notes_of(message.annotations))


def put_transition(transition: Transition, message: pb.Transition) -> None:
    """Fill an empty message; one that stays empty is written as well."""
    message.SetInParent()
    message.to = transition.to
    message.annotations.update(transition.annotations)


def data_of(alias: str, message: pb.Data) -> Data:
    """The data of a message; BadMessage for binary data that is no base64."""
    data = Data(message.blob.encode(), message.rev, notes_of(message.annotations))
    if data.binary:
        try:
            data.blob = base64.b64decode(message.blob, validate=True)
        except binascii.Error as error:
            raise BadMessage(f"data {alias!r}: the blob of binary data is no base64: {error}") from None
    return data


def _put_data(data: Data, message: pb.Data) -> None:
    message.SetInParent()
    message.rev = data.rev
    message.blob = base64.b64encode(data.blob).decode() if data.binary else _text_of(data.blob)
    message.annotations.update(data.annotations)


def _text_of(blob: bytes) -> str:
    """Text of a blob that is not marked as binary; what is no UTF-8 is replaced."""
    return blob.decode(errors="replace")


def put_delay(delay: Delay, message: pb.DelayedState) -> None:
    """Fill an empty message; the due time is in whole seconds."""
    put_state(delay.state, message.state)
    message.offset, message.execute_at_sec = delay.offset, delay.due // SECOND


def notes_of(items: Mapping[str, str]) -> dict[str, str]:
    """The annotations or labels of a message; BadMessage for an empty key."""
    if "" in items:
        raise BadMessage("a map of annotations or labels has an empty key")
    return dict(items)


def complete(ctx: pb.StateCtx) -> None:
    """Write what peers expect in every StateCtx: both States, with a transition each."""
    for state in (ctx.committed, ctx.current):
        state.transition.SetInParent()
