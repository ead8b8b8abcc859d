"""The page of one change of many runs: how many were changed, how many are left, and a button that stops it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.datastructures import FormData

from stepflow.server.guard import caller_of
from stepflow.server.ui.bulk_verbs import VERBS
from stepflow.server.ui.view import UiAction, UiPage, View


async def show(view: View) -> Mapping[str, Any]:
    """How far it is."""
    one = view.operator.bulk_changes.find(view.query("id"), view.namespace)
    left_s = one.left_s
    return {
        "one": one,
        "text": VERBS[one.verb],
        "took": timedelta(seconds=max(1, int(one.took_s))),
        "takes": None if left_s is None else timedelta(seconds=max(1, int(left_s))),
        "stop": view.url("/do/bulk/stop", id=one.id) if one.goes_on and view.may("admin") else "",
        "runs_url": view.url("/bulk", **_parameters(one.conditions)),
    }


async def stop(view: View, _form: FormData) -> str:
    """Stop it, and show how far it came."""
    change_id = view.query("id")
    await view.operator.bulk_changes.stop(change_id, view.namespace, caller_of(view.request))
    return view.url(PAGE.path, id=change_id)


def _parameters(conditions: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in conditions:
        found.setdefault(name, []).append(value)
    return found


PAGE = UiPage(
    "/bulk/change", "Many runs: {{ text }}", "bulk_change.html", show, live="bulk_change.live.html", scope="operate"
)
STOP = UiAction("/do/bulk/stop", stop, "admin")
