"""A blob of 100 MB, on any store: it is restored byte for byte, and other runs are not affected."""

from __future__ import annotations

import os
import time

from stepflow import Engine, GetData, StateCtx, StoreData, commit, park

MEGABYTE = 1_000_000


def keep_large_blob(url: str, megabytes: int = 100) -> None:
    """Store it, read it in another engine, store it again after one byte changed."""
    blob = os.urandom(MEGABYTE) * megabytes
    with Engine(url) as engine:
        ctx = StateCtx("large")
        ctx.set_data("file", blob, binary=True)
        begun = time.monotonic()
        engine.do(commit(StoreData(ctx, "file"), park(ctx)))
        stored = time.monotonic()
        engine.do(commit(StoreData(ctx, "file"), park(ctx)))  # nothing changed
        assert ctx.data("file").rev == 1
        other = engine.get_state("large")
        begun_reading = time.monotonic()
        engine.do(GetData(other, "file"))
        assert other.data("file").blob == blob
        assert other.data("file").binary
        print(f"{megabytes} MB stored in {stored - begun:.1f} s, read in {time.monotonic() - begun_reading:.1f} s")
        ctx.set_data("file", blob[:-1] + bytes([blob[-1] ^ 1]))
        engine.do(commit(StoreData(ctx, "file"), park(ctx)))
        assert ctx.data("file").rev == 2
