"""The login of browsers: a form that takes a token, and the way out."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stepflow.server.guard import TOO_MANY, AuthFailures, address_of
from stepflow.server.tokens import TokenTable
from stepflow.server.ui.answers import answer, set_cookie
from stepflow.server.ui.browser_sessions import BrowserSessions, cookie_of, new_cookie
from stepflow.server.ui.forms import form_of
from stepflow.server.ui.view import BASE, url_of

LOGIN, LOGOUT = "/login", "/logout"
NOT_DONE = "The login had ended: what was sent was not done. Log in, and send it again."


@frozen
class LoginPages:
    """The form, what it does, and the button that ends a login. Without `tokens` there is nothing to log in to."""

    sessions: BrowserSessions
    tokens: TokenTable | None
    failures: AuthFailures

    async def form(self, request: Request) -> Response:
        """The form; `next` in the URL is the page to show afterwards."""
        if self.tokens is None:
            return RedirectResponse(url_of(request, "/runs", {}), 303)
        note = NOT_DONE if request.query_params.get("sent") else ""
        return self._form(request, request.query_params.get("next", ""), note=note)

    def _form(self, request: Request, next_page: str, wrong: str = "", status: int = 200, note: str = "") -> Response:
        cookie = cookie_of(request.headers) or new_cookie()
        values = {"csrf": self.sessions.csrf(cookie), "next": next_page, "wrong": wrong, "note": note, "user": ""}
        return set_cookie(request, answer(request, "login.html", values, status), cookie)

    async def log_in(self, request: Request) -> Response:
        """Take the token of the form."""
        if self.tokens is None:
            return RedirectResponse(url_of(request, "/runs", {}), 303)
        form, address = await form_of(request, self.sessions), address_of(request.scope)
        next_page = str(form.get("next", ""))
        token = self.tokens.find(str(form.get("token", "")).strip())
        if token is None and self.failures.blocked(address):
            return self._form(request, next_page, TOO_MANY.message, 429)
        if token is None:
            self.failures.add(address)
            wrong = "This is no token of this server. Ask who runs it, or make one with: stepflow token NAME"
            return self._form(request, next_page, wrong, 401)
        self.sessions.log_out(cookie_of(request.headers))
        return set_cookie(request, RedirectResponse(_own(request, next_page), 303), self.sessions.log_in(token))

    async def log_out(self, request: Request) -> Response:
        """End the login."""
        await form_of(request, self.sessions)
        self.sessions.log_out(cookie_of(request.headers))
        page = LOGIN if self.tokens is not None else "/runs"
        return set_cookie(request, RedirectResponse(url_of(request, page, {}), 303), new_cookie())


def _own(request: Request, next_page: str) -> str:
    """The page to show after the login: one of ours, else that of the runs."""
    base = f"{request.scope.get('root_path', '')}{BASE}/"
    try:
        parts = urlsplit(next_page)
    except ValueError:
        parts = urlsplit("")
    own = not (parts.scheme or parts.netloc) and parts.path.startswith(base) and "\\" not in next_page
    return next_page if own else url_of(request, "/runs", {})
