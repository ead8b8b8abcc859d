"""stacked: States as flowstate.v1 protobuf messages, the form of a State that is stacked into an annotation of another.

Only the messages State, StateCtx, Transition and Data are needed. The encoding is canonical: fields are sorted by number,
maps by key, so that equal States have equal texts. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from stepflow.errors import CodecError
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data
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
    parts = [_message(1, encode_state(ctx.committed)), _message(2, encode_state(ctx.current))]
    parts += [_message(3, _transition(t)) for t in ctx.transitions]
    for alias, data in sorted(ctx.datas.items()):
        parts.append(_message(4, _text(1, alias) + _message(2, _data(data))))
    return b"".join(parts)


def encode_state(state: State) -> bytes:
    """State: 1 id, 2 rev, 3 annotations, 4 labels, 5 committed_at (ms), 6 transition."""
    return (
        _text(1, state.id)
        + _number(2, state.rev)
        + _map(3, state.annotations)
        + _map(4, state.labels)
        + _number(5, state.committed_at // MILLI)
        + _message(6, _transition(state.transition))
    )


def decode_ctx(raw: bytes) -> StateCtx:
    """The reverse of `encode_ctx`; unknown fields are skipped."""
    committed, current = State(""), State("")
    transitions: list[Transition] = []
    datas: dict[str, Data] = {}
    for number, value in _fields(raw):
        if number == 1:
            committed = decode_state(_bytes(value))
        elif number == 2:
            current = decode_state(_bytes(value))
        elif number == 3:
            transitions.append(_decode_transition(_bytes(value)))
        elif number == 4:
            alias, data = _decode_entry(_bytes(value))
            datas[alias] = _decode_data(data)
    ctx = StateCtx.of(current)
    ctx.committed, ctx.transitions, ctx.datas = committed, transitions, datas
    return ctx


def decode_state(raw: bytes) -> State:
    """The reverse of `encode_state`; milliseconds become microseconds."""
    found: dict[int, int | bytes] = {}
    maps: dict[int, dict[str, str]] = {3: {}, 4: {}}
    for number, value in _fields(raw):
        if number in maps:
            key, text = _decode_entry(_bytes(value))
            maps[number][key] = text.decode()
        else:
            found[number] = value
    return State(
        _bytes(found.get(1, b"")).decode(),
        _signed(found.get(2, 0)),
        _decode_transition(_bytes(found.get(6, b""))),
        maps[4],
        maps[3],
        _signed(found.get(5, 0)) * MILLI,
    )


def _transition(transition: Transition) -> bytes:
    return _text(2, transition.to) + _map(3, transition.annotations)


def _decode_transition(raw: bytes) -> Transition:
    to, annotations = "", {}
    for number, value in _fields(raw):
        if number == 2:
            to = _bytes(value).decode()
        elif number == 3:
            key, text = _decode_entry(_bytes(value))
            annotations[key] = text.decode()
    return Transition(to, annotations)


def _data(data: Data) -> bytes:
    blob = base64.b64encode(data.blob) if data.binary else data.blob
    return _number(2, data.rev) + _message(4, blob, optional=True) + _map(5, data.annotations)


def _decode_data(raw: bytes) -> Data:
    data = Data()
    for number, value in _fields(raw):
        if number == 2:
            data.rev = _signed(value)
        elif number == 4:
            data.blob = _bytes(value)
        elif number == 5:
            key, text = _decode_entry(_bytes(value))
            data.annotations[key] = text.decode()
    if data.binary:
        data.blob = base64.b64decode(data.blob, validate=True)
    return data


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _message(number: int, raw: bytes, *, optional: bool = False) -> bytes:
    return b"" if optional and not raw else _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode(), optional=True)


def _map(number: int, mapping: Mapping[str, str]) -> bytes:
    entries = (_message(1, key.encode()) + _text(2, value) for key, value in sorted(mapping.items()))
    return b"".join(_message(number, entry) for entry in entries)


def _decode_entry(raw: bytes) -> tuple[str, bytes]:
    parts = {number: _bytes(value) for number, value in _fields(raw)}
    return parts.get(1, b"").decode(), parts.get(2, b"")


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _read_varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _read_varint(raw, at)
            yield number, value
        elif kind == 2:
            size, at = _read_varint(raw, at)
            if at + size > len(raw):
                raise ValueError("the message is cut off")
            yield number, raw[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind} is not used by these messages")


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("found a number, expected text or a message")
    return value


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("found text, expected a number")
    return value - (1 << 64) if value >> 63 else value
