"""Forms: what a browser posts, read only if a page of ours made it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import FormData
from starlette.requests import Request

from stepflow.server.body import body_of
from stepflow.server.errors import Refusal
from stepflow.server.ui.browser_sessions import BrowserSessions, cookie_of

MAX_FIELDS = 1_000
FORM = "application/x-www-form-urlencoded"


async def form_of(request: Request, sessions: BrowserSessions) -> FormData:
    """The fields of a posted form. Refusal 415 for another body, 403 if its field `csrf` is not the one of this browser."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise Refusal(415, "invalid_argument", f"content-type {kind!r:.80}: send a form as {FORM}")
    body = await body_of(request)
    try:
        fields: list[tuple[str, Any]] = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Refusal(400, "invalid_argument", f"the form cannot be read: {error}") from None
    form = FormData(fields)
    if not sessions.is_own_form(cookie_of(request.headers), str(form.get("csrf", ""))):
        message = "this form is not of this browser, or older than the server's start: load its page again"
        raise Refusal(403, "permission_denied", message)
    return form
