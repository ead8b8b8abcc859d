"""WebUi: the routes of all pages; each request passes the login and the scope before its page sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from attrs import evolve, frozen
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from stepflow.engine.clock import Clock
from stepflow.server.errors import Refusal, refusal_of
from stepflow.server.guard import AuthFailures, authorize
from stepflow.server.namespaces import Namespaces, ServedEngine
from stepflow.server.operator_api.api import OperatorApi
from stepflow.server.tokens import TokenTable
from stepflow.server.ui import assets
from stepflow.server.ui.answers import again, answer, refused, set_cookie
from stepflow.server.ui.browser_sessions import NOBODY, BrowserSessions, cookie_of, new_cookie, route_path
from stepflow.server.ui.forms import form_of
from stepflow.server.ui.live import event, updates
from stepflow.server.ui.login import LOGIN, LOGOUT, LoginPages
from stepflow.server.ui.namespaces import is_limited, namespace_links, to_own_namespace
from stepflow.server.ui.pages import ACTIONS, FILES, PAGES
from stepflow.server.ui.schema_form import WrongFields
from stepflow.server.ui.templating import render, render_text
from stepflow.server.ui.view import BASE, UiAction, UiFile, UiPage, View, url_of

LIVE = "/live"  # after the path of a page: the stream of its updates
PATHS = frozenset(
    [
        "/",
        BASE,
        *(f"{BASE}{path}" for path in ("/", LOGIN, LOGOUT)),
        *(f"{BASE}{page.path}" for page in PAGES),
        *(f"{BASE}{page.path}{LIVE}" for page in PAGES if page.live),
        *(f"{BASE}{file.path}" for file in FILES),
        *(f"{BASE}{action.path}" for action in ACTIONS),
    ]
)
"""Where the cookie of a browser counts."""

CAN_BE_MENDED = (400, 404, 409, 413)  # by other values in the form
ENDED = "the login has ended: load this page again"
Endpoint = Callable[[Request], Awaitable[Response]]


@frozen
class WebUi:
    """The pages of one server."""

    namespaces: Namespaces
    sessions: BrowserSessions
    tokens: TokenTable | None
    failures: AuthFailures
    clock: Clock
    operator: OperatorApi

    def routes(self) -> list[Route]:
        """The routes, to be tried after those of all services."""
        login = LoginPages(self.sessions, self.tokens, self.failures)
        made = [Route(path, _guarded(_to_runs), methods=["GET"]) for path in ("/", BASE, f"{BASE}/")]
        made += [
            Route(f"{BASE}/static/{{name}}", _guarded(assets.serve), methods=["GET"]),
            Route(f"{BASE}{LOGIN}", _guarded(login.form), methods=["GET"]),
            Route(f"{BASE}{LOGIN}", _guarded(login.log_in), methods=["POST"]),
            Route(f"{BASE}{LOGOUT}", _guarded(login.log_out), methods=["POST"]),
        ]
        for page in PAGES:
            made.append(Route(f"{BASE}{page.path}", self._page_of(page), methods=["GET"]))
            if page.live:
                made.append(Route(f"{BASE}{page.path}{LIVE}", self._stream_of(page), methods=["GET"]))
        for file in FILES:
            made.append(Route(f"{BASE}{file.path}", _guarded(partial(self._serve, file)), methods=["GET"]))
        for action in ACTIONS:
            act = _guarded(partial(self._act, action))
            made.append(Route(f"{BASE}{action.path}", act, methods=["POST"]))
        return [*made, Route(f"{BASE}/{{rest:path}}", _guarded(_no_page), methods=["GET"])]

    def _page_of(self, page: UiPage) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            request.scope["stepflow.page"] = page
            if (elsewhere := self._login_first(request) or to_own_namespace(request)) is not None:
                return elsewhere
            authorize(request, page.scope, _namespace(request))
            return await self._show(page, request)

        return _guarded(endpoint)

    def _stream_of(self, page: UiPage) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            request.scope["stepflow.page"] = page
            if not self._is_known(request):  # the script that asks would not understand a form
                raise Refusal(401, "unauthenticated", ENDED)
            authorize(request, page.scope, _namespace(request))
            return await self._stream(page, request)

        return _guarded(endpoint)

    def _is_known(self, request: Request) -> bool:
        """Whether the user is logged in, or need not be; asked again while a stream goes on."""
        if self.tokens is None or "authorization" in request.headers:
            return True
        return self.sessions.token_of(route_path(request.scope), cookie_of(request.headers)) is not NOBODY

    def _login_first(self, request: Request, action: UiAction | None = None) -> Response | None:
        """The answer to a browser without a cookie, or that is not logged in; None if its page can be shown.

        Behind the login is the page that it asked for, or that of the form that it sent, of whose `action` nothing is done.
        """
        if not cookie_of(request.headers) and request.headers.get("sec-fetch-site") == "cross-site":
            return again(request)
        if self._is_known(request):
            return None
        here = f"{request.scope['path']}?{request.url.query}".rstrip("?")
        if action is None:
            return RedirectResponse(url_of(request, LOGIN, {"next": here}), 303)
        form = "" if action.page is None else f"{url_of(request, action.page.path, {})}?{request.url.query}".rstrip("?")
        return RedirectResponse(url_of(request, LOGIN, {"next": form, "sent": "yes"}), 303)

    def _view(self, request: Request, engine: ServedEngine, cookie: str) -> View:
        return View(request, engine, _namespace(request), self.sessions.csrf(cookie), self.operator)

    async def _show(
        self, page: UiPage, request: Request, form: FormData | None = None, refusal: Refusal | None = None
    ) -> Response:
        cookie = cookie_of(request.headers) or new_cookie()
        async with self.namespaces.engine(_namespace(request)) as engine:
            view = self._view(request, engine, cookie)
            if refusal is not None:
                problems = refusal.problems if isinstance(refusal, WrongFields) else {}
                view = evolve(view, form=form, wrong=refusal.message, problems=problems)
            values = await _values(page, view)
        nav = [(one.nav, view.url(one.path), one is page) for one in PAGES if one.nav and view.may(one.scope)]
        off = view.query("live") == "off"
        frame = {
            "nav": nav,
            "namespace": view.namespace,
            "namespaces": namespace_links(request),
            "limited": is_limited(request),
            "user": view.user,
            "live": page.live,
            "live_off": off,
            "live_url": "" if off or not page.live else view.url(f"{page.path}{LIVE}", **_parameters(request)),
            "title": render_text(page.title, values),
        }
        status = int(values.get("status_code", 200)) if refusal is None else refusal.status
        made = answer(request, page.template, {**values, **frame}, status)
        return made if cookie_of(request.headers) else set_cookie(request, made, cookie)

    async def _stream(self, page: UiPage, request: Request) -> Response:
        cookie = cookie_of(request.headers)

        async def events() -> AsyncIterator[str]:
            async with self.namespaces.engine(_namespace(request)) as engine:
                engine.hear_changes()
                view = self._view(request, engine, cookie)

                async def text() -> str:
                    try:
                        return render(page.live, await _values(page, view))
                    except Exception as error:  # noqa: BLE001 - shown in the page, which goes on
                        return render("trouble.html", {"message": refusal_of(error).message})

                async def pause(seconds: float) -> bool:
                    return await self.namespaces.pause(seconds) and self._is_known(request)

                async for update in updates(text, engine.changes, self.clock.monotonic, pause):
                    yield update
                if not self._is_known(request):
                    yield event(render("trouble.html", {"message": ENDED}))

        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    async def _serve(self, file: UiFile, request: Request) -> Response:
        if (elsewhere := self._login_first(request)) is not None:
            return elsewhere
        authorize(request, file.scope, _namespace(request))
        async with self.namespaces.engine(_namespace(request)) as engine:
            return await file.serve(self._view(request, engine, cookie_of(request.headers)))

    async def _act(self, action: UiAction, request: Request) -> Response:
        if (elsewhere := self._login_first(request, action)) is not None:
            return elsewhere
        form = await form_of(request, self.sessions)
        authorize(request, action.scope, _namespace(request))
        async with self.namespaces.engine(_namespace(request)) as engine:
            view = self._view(request, engine, cookie_of(request.headers))
            try:
                return RedirectResponse(await action.act(view, form), 303)
            except Exception as error:
                refusal = refusal_of(error)
                if action.page is None or refusal.status not in CAN_BE_MENDED:
                    raise
        request.scope["stepflow.page"] = action.page
        return await self._show(action.page, request, form, refusal)


async def _values(page: UiPage, view: View) -> Mapping[str, Any]:
    return {"view": view, "csrf": view.csrf, **await page.show(view)}


def _parameters(request: Request) -> dict[str, list[str]]:
    given = request.query_params
    return {name: given.getlist(name) for name in given if name not in ("namespace", "live")}


def _namespace(request: Request) -> str:
    return request.query_params.get("namespace", "")


async def _to_runs(request: Request) -> Response:
    return RedirectResponse(url_of(request, "/runs", {"namespace": _namespace(request)}), 303)


async def _no_page(request: Request) -> Response:
    raise Refusal(404, "not_found", f"there is no page {request.scope['path']!r:.200}")


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Every error is answered with a page."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            return refused(request, refusal_of(error))

    return guarded
