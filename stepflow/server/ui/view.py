"""View: one request for a page, and what the page may use: the engine, the query, and URLs of other pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from attrs import Factory, frozen
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from stepflow.server.errors import Refusal
from stepflow.server.guard import allowed
from stepflow.server.namespaces import ServedEngine
from stepflow.server.operator_api.api import OperatorApi
from stepflow.server.tokens import Scope, Token

BASE = "/ui"


@frozen
class View:
    """A request for a page of a namespace. Forms that it holds send `csrf` back, as the field of the same name.

    `operator` does what users ask for. `form` is what was sent before if that was refused, and `wrong` tells why, `problems` for single
    fields, by their names.
    """

    request: Request
    engine: ServedEngine
    namespace: str
    csrf: str
    operator: OperatorApi
    form: FormData | None = None
    wrong: str = ""
    problems: Mapping[str, str] = Factory(dict)

    def query(self, name: str) -> str:
        """A parameter of the URL without the blanks around it; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()

    def exact(self, name: str) -> str:
        """A parameter of the URL as it is: ids may have blanks around them. Empty if it is not there."""
        return self.request.query_params.get(name, "")

    def queries(self, name: str) -> list[str]:
        """All values of a parameter that may be there several times."""
        return [value for text in self.request.query_params.getlist(name) if (value := text.strip())]

    def number(self, name: str) -> int | None:
        """A revision or another number of the URL; None if it is not there."""
        text = self.query(name)
        return whole_number(name, text) if text else None

    def url(self, path: str, **parameters: Any) -> str:
        """The URL of a page, e.g. `url("/run", id=run.id)`, in the same namespace. Parameters that are empty are left out."""
        return url_of(self.request, path, {"namespace": self.namespace, **parameters})

    def here(self, **changes: Any) -> str:
        """The URL of this page with these parameters changed."""
        now = {name: self.request.query_params.getlist(name) for name in self.request.query_params}
        return url_of(self.request, page_path(self.request), {**now, **changes})

    def may(self, scope: Scope) -> bool:
        """Whether the user may do what needs this scope, in this namespace."""
        return allowed(self.request, scope, self.namespace)

    @property
    def user(self) -> str:
        """The name of the user's token; empty where the server asks for none."""
        token: Token | None = self.request.scope.get("stepflow.token")
        return "" if token is None else token.name


def whole_number(name: str, text: str) -> int:
    """The number that a browser sent as a text. Raises Refusal 400 for what is not 1 to 18 digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Refusal(400, "invalid_argument", f"{name}={text!r:.40}: give a whole number")
    return int(text)


def url_of(request: Request, path: str, parameters: Mapping[str, Any]) -> str:
    """The URL of a page of this application, which may be mounted below another one."""
    given = {name: value for name, value in parameters.items() if value not in ("", None, [], ())}
    query = urlencode(given, doseq=True, errors="surrogatepass")
    return f"{request.scope.get('root_path', '')}{BASE}{path}{query and '?' + query}"


def page_path(request: Request) -> str:
    """The path of the page that is shown, or whose updates are streamed, below BASE."""
    path: str = request.scope["stepflow.page"].path
    return path


@frozen
class UiPage:
    """A page: `show` finds the values for `template`.

    `title` is a text of Jinja2 that may use these values. A page with `nav` is in the navigation under that name. `live` is a
    template whose text takes the place of the element with the id `live`, within a second of every change of the store;
    `template` shows the rest. A value `status_code` is that of the answer.
    """

    path: str
    title: str
    template: str
    show: Callable[[View], Awaitable[Mapping[str, Any]]]
    nav: str = ""
    live: str = ""
    scope: Scope = "read"


@frozen
class UiFile:
    """What a page offers for download, or another answer that is no page."""

    path: str
    serve: Callable[[View], Awaitable[Response]]
    scope: Scope = "read"


@frozen
class UiAction:
    """What the form of a page does: `act` gets the fields of the form, and answers with the URL of the page to show next.

    If it is refused, and can be sent again with other values, `page` is shown again with the reason.
    """

    path: str
    act: Callable[[View, FormData], Awaitable[str]]
    scope: Scope = "operate"
    page: UiPage | None = None
