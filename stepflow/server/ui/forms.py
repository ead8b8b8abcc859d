"""Forms: what a browser posts, read only if a page of ours made it."""

from __future__ import annotations

import asyncio
import re
from binascii import a2b_qp
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request

from stepflow.server.body import body_of
from stepflow.server.errors import Refusal
from stepflow.server.ui.browser_sessions import BrowserSessions, cookie_of

MAX_FIELDS = 1_000
LARGE = 100_000  # bytes; such a form is read in a thread
NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
FORM = "application/x-www-form-urlencoded"


def fields_of(body: bytes) -> list[tuple[str, Any]]:
    """The fields of a form, as `urllib.parse.parse_qsl` reads them, which needs ten times as long, and twenty times the memory of the form. Raises ValueError."""
    if body.count(b"&") >= MAX_FIELDS:
        raise ValueError(f"it has more than {MAX_FIELDS} fields")
    pairs = [part.partition(b"=") for part in body.split(b"&") if part]
    return [(_text(name), _text(value)) for name, _equals, value in pairs]


def _text(raw: bytes) -> str:
    escaped = NO_ESCAPE.sub(b"%25", raw).replace(b"=", b"%3D").replace(b"+", b" ")
    return a2b_qp(escaped.replace(b"%", b"=")).decode(errors="replace")  # the same escapes with another sign, read in C


async def form_of(request: Request, sessions: BrowserSessions) -> FormData:
    """The fields of a posted form. Refusal 415 for another body, 403 if its field `csrf` is not the one of this browser."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise Refusal(415, "invalid_argument", f"content-type {kind!r:.80}: send a form as {FORM}")
    body = await body_of(request)
    try:
        form = FormData(fields_of(body) if len(body) < LARGE else await asyncio.to_thread(fields_of, body))
    except ValueError as error:
        raise Refusal(400, "invalid_argument", f"the form cannot be read: {error}") from None
    if not sessions.is_own_form(cookie_of(request.headers), str(form.get("csrf", ""))):
        message = "this form is not of this browser, or older than the server's start: load its page again"
        raise Refusal(403, "permission_denied", message)
    return form
