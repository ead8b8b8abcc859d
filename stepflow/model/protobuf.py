"""protobuf: the wire format of Protocol Buffers, as far as flowstate.v1 uses it: numbers, texts, messages and maps.

The encoding is canonical: maps are sorted by key. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def varint(value: int) -> bytes:
    """A number, negative ones in 64 bits, as 1 to 10 bytes."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number_field(number: int, value: int) -> bytes:
    """A field with a number; nothing for 0."""
    return varint(number << 3) + varint(value) if value else b""


def message_field(number: int, raw: bytes, *, optional: bool = False) -> bytes:
    """A field with a message, or bytes; with `optional` nothing if it is empty."""
    return b"" if optional and not raw else varint(number << 3 | 2) + varint(len(raw)) + raw


def text_field(number: int, text: str) -> bytes:
    """A field with a text; nothing if it is empty."""
    return message_field(number, text.encode(), optional=True)


def map_field(number: int, mapping: Mapping[str, str]) -> bytes:
    """The entries of a map of texts."""
    entries = (message_field(1, key.encode()) + text_field(2, value) for key, value in sorted(mapping.items()))
    return b"".join(message_field(number, entry) for entry in entries)


def entry_of(raw: bytes) -> tuple[str, bytes]:
    """The key and the value of an entry of a map."""
    parts = {number: bytes_of(value) for number, value in fields_of(raw)}
    return parts.get(1, b"").decode(), parts.get(2, b"")


def fields_of(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message, in their order; IndexError or ValueError for bytes that are none."""
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


def bytes_of(value: int | bytes) -> bytes:
    """The value of a field that is a text or a message; ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("found a number, expected text or a message")
    return value


def signed_of(value: int | bytes) -> int:
    """The value of a field that is a number, which may be negative; ValueError for anything else."""
    if not isinstance(value, int):
        raise ValueError("found text, expected a number")
    return value - (1 << 64) if value >> 63 else value
