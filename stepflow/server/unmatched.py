"""Answers requests that no route takes: an unknown path is a 404 that names a similar one, a wrong method a 405 that names the right ones."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepflow.model.suggest import suggest
from stepflow.server.errors import Refusal
from stepflow.server.ui.answers import refused
from stepflow.server.ui.browser_sessions import route_path
from stepflow.server.ui.view import BASE


async def answer_unmatched(request: Request, _error: Exception) -> Response:
    """A page below the path of the pages, else JSON."""
    path, routes = route_path(request.scope), [one for one in request.app.routes if isinstance(one, Route)]
    methods = _methods(path, routes)
    if methods:
        allow = ", ".join(methods)
        refusal, headers = Refusal(405, "unimplemented", f"{request.method} {path}: it takes {allow}"), {"allow": allow}
    else:
        similar = suggest(path, sorted({one.path for one in routes if "{" not in one.path}))
        hint = f": did you mean {similar}?" if similar else ""
        refusal, headers = Refusal(404, "not_found", f"there is no path {path!r:.200}{hint}"), {}
    if path == BASE or path.startswith(f"{BASE}/"):
        made = refused(request, refusal)
        made.headers.update(headers)
        return made
    return refusal.answer(headers)


def _methods(path: str, routes: Sequence[Route]) -> list[str]:
    """What the routes of this path take."""
    return sorted({method for one in routes if one.path_regex.match(path) for method in one.methods or ()})
