"""The checksum that travels with data: 64-bit xxHash, seed 0, as unsigned decimal text."""

from __future__ import annotations

from stepflow.errors import StepflowError


def xxhash64(blob: bytes) -> str:
    """`xxhash64(b"foo")` is `"3728699739546630719"`. StepflowError names the package that is missing."""
    try:
        from xxhash import xxh64_intdigest  # noqa: PLC0415 - an optional package
    except ImportError:
        raise StepflowError('data needs the package xxhash: pip install "stepflow[data]"') from None
    return str(xxh64_intdigest(blob))
