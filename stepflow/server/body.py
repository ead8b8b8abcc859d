"""Reads the body of a request, up to a limit."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from stepflow.server.errors import Refusal

LIMIT_S = 20.0  # for the body of one request
MAX_BODY = 64 << 20  # bytes; a store takes exchanges and data of 16 MB


async def body_of(request: Request) -> bytes:
    """The whole body; Refusal 413 as soon as it is longer than MAX_BODY, 408 if it takes longer than LIMIT_S."""
    chunks, size = [], 0
    try:
        async with asyncio.timeout(LIMIT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY:
                    raise Refusal(413, "resource_exhausted", f"the body has more than {MAX_BODY:,} bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal(408, "deadline_exceeded", f"the body did not come within {LIMIT_S:.0f} s") from None
    except ClientDisconnect:
        raise Refusal(400, "invalid_argument", "the connection was closed before the end of the body") from None
    return b"".join(chunks)
