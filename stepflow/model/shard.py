"""Shards: the first part of every key, derived from the run id alone."""

from __future__ import annotations


def fnv1a_64(text: str) -> int:
    """64-bit FNV-1a hash of the UTF-8 bytes (public domain, Fowler/Noll/Vo): `""` gives 0xcbf29ce484222325."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def fnv1a_32(text: str) -> int:
    """32-bit FNV-1a hash of the UTF-8 bytes: `""` gives 0x811c9dc5."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def shard_of(namespace: str, run_id: str, shards: int) -> str:
    """The shard key of a run: `<namespace>/<k>` with k = FNV-1a(id) mod `shards`."""
    return f"{namespace}/{fnv1a_64(run_id) % shards if shards > 1 else 0}"
