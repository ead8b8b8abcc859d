"""The page that changes the runs of a filter: first it tells which runs are meant, then a button changes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import fields as fields_of_class
from starlette.datastructures import FormData

from stepflow.engine.client.filters import RunFilter
from stepflow.errors import StepflowError
from stepflow.server.errors import Refusal
from stepflow.server.guard import caller_of
from stepflow.server.ui.bulk_verbs import PLACES, VERBS
from stepflow.server.ui.operator_view import change
from stepflow.server.ui.runs import FIELDS, query_of
from stepflow.server.ui.schema_form import NAME, FormField, fields_of, filled, values_of
from stepflow.server.ui.view import UiAction, UiPage, View, whole_number
from stepflow.wire.json_form import to_json_value

DRY_S = 2.0  # for which a dry run reads; then it tells how many it has found so far
EVENT: Sequence[FormField] = (
    FormField(name="event", label="event", required=True, schema=NAME),
    *fields_of(None, "payload", "payload"),
)


async def show(view: View) -> Mapping[str, Any]:
    """The conditions, and the answer of a dry run if a verb was chosen."""
    fields = {name: given for name in (*FIELDS, "status") if (given := view.queries(name))}
    verb = view.query("verb")
    values: dict[str, Any] = {
        "fields": fields,
        "conditions": _conditions(fields),
        "verbs": list(VERBS.items()),
        "verb": verb,
        "places": {name: view.exact(name) for name in ("to", "step", "suffix")},
        "recent": [(one, VERBS[one.verb]) for one in view.operator.bulk_changes.of(view.namespace)],
        "wrong": "",
        "dry": None,
        "looked": False,
        "more": [],
    }
    if not verb:
        return values
    try:
        dry, found = await _dry_run(view, _known(verb), _body(view, verb) | _placeholder(verb))
    except (StepflowError, Refusal) as error:
        return values | {"wrong": getattr(error, "message", str(error)), "status_code": 400}
    more = filled(EVENT if verb == "publish_to_runs" else (), view.form, view.problems)
    action = view.url("/do/bulk", **fields, verb=verb, **values["places"])
    return values | {"looked": True, "dry": dry, "found": found, "text": VERBS[verb], "more": more, "action": action}


async def _dry_run(view: View, verb: str, body: Mapping[str, Any]) -> tuple[Any, int]:
    """What a dry run answers, and how many runs it found; None and how many so far if it reads for longer than DRY_S."""
    found = 0

    def report(count: int) -> None:
        nonlocal found
        found = count

    with suppress(TimeoutError):
        async with asyncio.timeout(DRY_S):
            dry = await change(view, verb, body, report)
            return dry, dry.count
    return None, found


async def act(view: View, form: FormData) -> str:
    """Begin to change the runs; to the page that tells how far that is."""
    verb = _known(view.query("verb"))
    body = _body(view, verb)
    if verb == "publish_to_runs":
        event, payload = values_of((EVENT[:1], EVENT[1:]), form)
        body |= {"event": event, "payload": payload}
    expected = str(form.get("expected", ""))

    def perform(*, dry_run: bool, report: Callable[[int], object]) -> Awaitable[Any]:
        return change(view, verb, body | {"dry_run": dry_run}, report)

    one = await view.operator.bulk_changes.begin(
        verb,
        view.namespace,
        caller_of(view.request),
        [(name, value) for name in (*FIELDS, "status") for value in view.queries(name)],
        whole_number("expected", expected) if expected else None,
        perform,
        view.engine.changes.notify,
    )
    if one.phase == "refused":
        raise Refusal(409, "failed_precondition", one.message)
    return view.url("/bulk/change", id=one.id)


def _known(verb: str) -> str:
    if verb not in VERBS:
        raise Refusal(400, "invalid_argument", f"verb={verb!r:.80}: choose one of the list")
    return verb


def _placeholder(verb: str) -> dict[str, Any]:
    """A dry run depends on no event."""
    return {"event": "event"} if verb == "publish_to_runs" else {}


def _body(view: View, verb: str) -> dict[str, Any]:
    """The filter of the URL, as the operations take it, and where to move. Raises StepflowError for a value that cannot be meant."""
    wanted = query_of(view).wanted
    given = {one.name: getattr(wanted, one.name) for one in fields_of_class(RunFilter)}
    given["status"] = [] if wanted.status is None else sorted(wanted.status)
    body = {"filter": to_json_value({name: value for name, value in given.items() if value not in (None, [], {})})}
    places = {name: view.exact(name) for name in PLACES.get(verb, ())}
    if verb == "move_runs" and (wanted.flow is None or not places["to"]):
        raise StepflowError("a move needs a flow among the conditions, and a position such as completed:order/pay")
    if not all(places.values()):
        raise StepflowError(
            "name the step, e.g. order/pay, and for a fork what is put behind the ids of the runs, e.g. /again"
        )
    return body | places | ({"flow": wanted.flow} if verb == "move_runs" else {})


def _conditions(fields: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(name, " ".join(values)) for name, values in fields.items()]


PAGE = UiPage("/bulk", "Change many runs", "bulk.html", show, scope="operate")
ACTION = UiAction("/do/bulk", act, "read", PAGE)  # `perform` authorizes, and writes refusals to the audit
