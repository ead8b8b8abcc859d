"""What answers to browsers have in common: their headers, the cookie, and pages that say what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stepflow.server.errors import Refusal
from stepflow.server.ui.browser_sessions import cookie_name
from stepflow.server.ui.namespaces import namespace_links
from stepflow.server.ui.templating import render
from stepflow.server.ui.view import BASE, url_of

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",  # with no-referrer, browsers post forms with the Origin null
    "vary": "cookie",
}


def answer(request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """A page."""
    common = {
        "base": url_of(request, "", {}),
        "nav": (),
        "namespace": "",
        "live_url": "",
        "title": "",
        "limited": True,
        "namespaces": (),
    }
    return HTMLResponse(render(template, {**common, **values}), status, HEADERS)


def refused(request: Request, refusal: Refusal) -> Response:
    """The page for a request that is refused."""
    phrase = HTTPStatus(refusal.status).phrase
    values = {"status": refusal.status, "phrase": phrase, "message": refusal.message, "user": "", "csrf": ""}
    values["namespaces"] = namespace_links(request) if refusal.status == 403 else ()
    return answer(request, "error.html", values, refusal.status)


def again(request: Request) -> Response:
    """A page that loads itself again: browsers send no strict cookie where a link of another site leads."""
    return answer(request, "again.html", {"user": "", "csrf": ""})


def set_cookie(request: Request, response: Response, cookie: str) -> Response:
    """Give the browser its cookie, which scripts cannot read and requests of other sites do not bring."""
    path = f"{request.scope.get('root_path', '')}{BASE}"
    secure = request.scope.get("scheme") == "https"
    name = cookie_name(request.headers)
    response.set_cookie(name, cookie, path=path, httponly=True, samesite="strict", secure=secure)
    return response
