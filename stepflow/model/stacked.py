"""stacked: States as flowstate.v1 protobuf messages, the form of a State that is stacked into an annotation of another.

Only the messages State, StateCtx, Transition and Data are needed. The encoding is canonical: fields are sorted by number,
maps by key, so that equal States have equal texts.
"""

from __future__ import annotations

import base64
import binascii

from stepflow.errors import CodecError
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data
from stepflow.model.protobuf import (
    bytes_of,
    entry_of,
    fields_of,
    map_field,
    message_field,
    number_field,
    signed_of,
    text_field,
)
from stepflow.model.state import State, Transition

MILLI = 1000  # microseconds


def stack_text(ctx: StateCtx) -> str:
    """A working copy with its data as base64 text."""
    return base64.b64encode(encode_ctx(ctx)).decode()


def unstack_text(text: str) -> StateCtx:
    """The working copy that `stack_text` was given; CodecError for anything else."""
    try:
        return decode_ctx(base64.b64decode(text, validate=True))
    except (binascii.Error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise CodecError(f"{text!r:.80} is not a stacked State: {error}") from error


def encode_ctx(ctx: StateCtx) -> bytes:
    """StateCtx: 1 committed, 2 current, 3 transitions, 4 datas."""
    parts = [message_field(1, encode_state(ctx.committed)), message_field(2, encode_state(ctx.current))]
    parts += [message_field(3, _transition(t)) for t in ctx.transitions]
    for alias, data in sorted(ctx.datas.items()):
        parts.append(message_field(4, text_field(1, alias) + message_field(2, _data(data))))
    return b"".join(parts)


def encode_state(state: State) -> bytes:
    """State: 1 id, 2 rev, 3 annotations, 4 labels, 5 committed_at (ms), 6 transition."""
    return (
        text_field(1, state.id)
        + number_field(2, state.rev)
        + map_field(3, state.annotations)
        + map_field(4, state.labels)
        + number_field(5, state.committed_at // MILLI)
        + message_field(6, _transition(state.transition))
    )


def decode_ctx(raw: bytes) -> StateCtx:
    """The reverse of `encode_ctx`; unknown fields are skipped."""
    committed, current = State(""), State("")
    transitions: list[Transition] = []
    datas: dict[str, Data] = {}
    for number, value in fields_of(raw):
        if number == 1:
            committed = decode_state(bytes_of(value))
        elif number == 2:
            current = decode_state(bytes_of(value))
        elif number == 3:
            transitions.append(_decode_transition(bytes_of(value)))
        elif number == 4:
            alias, data = entry_of(bytes_of(value))
            datas[alias] = _decode_data(data)
    ctx = StateCtx.of(current)
    ctx.committed, ctx.transitions, ctx.datas = committed, transitions, datas
    return ctx


def decode_state(raw: bytes) -> State:
    """The reverse of `encode_state`; milliseconds become microseconds."""
    found: dict[int, int | bytes] = {}
    maps: dict[int, dict[str, str]] = {3: {}, 4: {}}
    for number, value in fields_of(raw):
        if number in maps:
            key, text = entry_of(bytes_of(value))
            maps[number][key] = text.decode()
        else:
            found[number] = value
    return State(
        bytes_of(found.get(1, b"")).decode(),
        signed_of(found.get(2, 0)),
        _decode_transition(bytes_of(found.get(6, b""))),
        maps[4],
        maps[3],
        signed_of(found.get(5, 0)) * MILLI,
    )


def _transition(transition: Transition) -> bytes:
    return text_field(2, transition.to) + map_field(3, transition.annotations)


def _decode_transition(raw: bytes) -> Transition:
    to, annotations = "", {}
    for number, value in fields_of(raw):
        if number == 2:
            to = bytes_of(value).decode()
        elif number == 3:
            key, text = entry_of(bytes_of(value))
            annotations[key] = text.decode()
    return Transition(to, annotations)


def _data(data: Data) -> bytes:
    blob = base64.b64encode(data.blob) if data.binary else data.blob
    return number_field(2, data.rev) + message_field(4, blob, optional=True) + map_field(5, data.annotations)


def _decode_data(raw: bytes) -> Data:
    data = Data()
    for number, value in fields_of(raw):
        if number == 2:
            data.rev = signed_of(value)
        elif number == 4:
            data.blob = bytes_of(value)
        elif number == 5:
            key, text = entry_of(bytes_of(value))
            data.annotations[key] = text.decode()
    if data.binary:
        data.blob = base64.b64decode(data.blob, validate=True)
    return data
