"""namespaces: which namespaces a user may look at, and how a page leads to them."""

from __future__ import annotations

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stepflow.server.tokens import Token
from stepflow.server.ui.view import page_path, url_of

NO_NAME = "without a name"


@frozen
class NamespaceLink:
    """A namespace that the user may look at: its name as it is shown, and the URL of its runs."""

    name: str
    url: str


def namespace_links(request: Request) -> list[NamespaceLink]:
    """The namespaces of a token that is limited to some; empty if the user may look at all of them."""
    return [
        NamespaceLink(name or NO_NAME, url_of(request, "/runs", {"namespace": name})) for name in _own(request) or ()
    ]


def is_limited(request: Request) -> bool:
    """Whether the user's token names the namespaces that it may see."""
    return _own(request) is not None


def to_own_namespace(request: Request) -> Response | None:
    """Where a user is led who asked for a page without a namespace, and may not see the one without a name; None: the page can be shown."""
    own = _own(request)
    if not own or "" in own or "namespace" in request.query_params:
        return None
    given = {name: request.query_params.getlist(name) for name in request.query_params}
    return RedirectResponse(url_of(request, page_path(request), {"namespace": own[0], **given}), 303)


def _own(request: Request) -> list[str] | None:
    token: Token | None = request.scope.get("stepflow.token")
    return None if token is None or token.namespaces is None else sorted(token.namespaces)
