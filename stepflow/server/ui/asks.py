"""asks: pages that ask before something is changed: what will be done, a form for what it needs, and the button that does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from starlette.datastructures import FormData

from stepflow.server.errors import Refusal
from stepflow.server.operator_api.api import BY_NAME
from stepflow.server.ui.operator_view import change
from stepflow.server.ui.schema_form import FormField, filled
from stepflow.server.ui.view import UiAction, UiPage, View

Fields = Callable[[View], Awaitable[Sequence[FormField]]]
Body = Callable[[View, FormData, Sequence[FormField]], Mapping[str, Any]]
Next = Callable[[View, Any], str]


async def no_fields(_view: View) -> Sequence[FormField]:
    """A form with nothing but its button."""
    return ()


def no_values(_view: View, _form: FormData, _fields: Sequence[FormField]) -> Mapping[str, Any]:
    """Nothing beside the parameters of the URL."""
    return {}


def to_run(view: View, _answer: Any) -> str:
    """The page of the run."""
    return view.url("/run", id=view.exact("id"))


def to_made_run(view: View, answer: Any) -> str:
    """The page of the run that was made."""
    return view.url("/run", id=answer.id)


@frozen(kw_only=True, eq=False)
class Ask:
    """A question before the operation `name`. `given` are the fields of its body that are parameters of the URL.

    `title` is a text of Jinja2 that may use them, as `given`; `text` says what will happen. `values` makes the rest of the body of the form.
    """

    name: str
    title: str
    button: str
    text: str
    given: tuple[str, ...] = ("id",)
    fields: Fields = no_fields
    values: Body = no_values
    after: Next = to_run
    leave: Callable[[View], str] = lambda view: view.url("/run", id=view.exact("id"))
    danger: bool = False
    path: str = ""
    page: UiPage = field(init=False)

    @page.default
    def _page(self) -> UiPage:
        path = self.path or f"/ask/{self.name}"
        return UiPage(path, self.title, "ask.html", self.show, scope=BY_NAME[self.name].scope)

    def action(self) -> UiAction:
        """What the form does."""
        return UiAction(
            f"/do/{self.name}", self.act, "read", self.page
        )  # `perform` authorizes, and writes refusals to the audit

    async def show(self, view: View) -> Mapping[str, Any]:
        """The values of the page."""
        given = {name: view.exact(name) for name in self.given}
        if missing := [name for name, value in given.items() if not value]:
            raise Refusal(400, "invalid_argument", f"the address of the page has no {missing[0]}: follow a link to it")
        fields = filled(await self.fields(view), view.form, view.problems)
        action = view.url(f"/do/{self.name}", **_query(view))
        return {"ask": self, "given": given, "fields": fields, "action": action, "leave": self.leave(view)}

    async def act(self, view: View, form: FormData) -> str:
        """Do it; the URL of the page that shows what came of it."""
        fields = await self.fields(view)
        body = {name: view.exact(name) for name in self.given} | dict(self.values(view, form, fields))
        return self.after(view, await change(view, self.name, body))


def _query(view: View) -> dict[str, str]:
    return {name: view.exact(name) for name in view.request.query_params if name != "namespace"}
