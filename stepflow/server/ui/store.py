"""The pages of workers, of the store and of the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepflow.server.errors import Refusal
from stepflow.server.ui.operator_view import read
from stepflow.server.ui.view import UiPage, View

FACTS = ("who", "verb", "target", "outcome")


async def show_workers(view: View) -> Mapping[str, Any]:
    """The open engines, those that hold runs first."""
    found = (await read(view, "list_workers")).workers
    return {"workers": sorted(found, key=lambda one: (-len(one.held), not one.flows, one.id))}


async def show_store(view: View) -> Mapping[str, Any]:
    """Health, with links to the pages that show more of it, and limits."""
    pages_of = {"blocked runs": view.url("/runs", status="blocked"), "paused flows": view.url("/flows")}
    return {
        "health": await read(view, "get_health", recent=True),
        "limits": await read(view, "list_limits"),
        "pages_of": pages_of,
    }


async def show_audit(view: View) -> Mapping[str, Any]:
    """The newest entries that have the facts of the URL."""
    fields = {name: view.query(name) for name in FACTS}
    wanted = {name: value for name, value in {**fields, "cursor": view.query("cursor")}.items() if value}
    try:
        found = await read(view, "list_audit", **wanted)
    except Refusal as refusal:
        if refusal.status not in (400, 404):
            raise
        return {"fields": fields, "entries": [], "next": None, "wrong": refusal.message, "status_code": 400}
    return {"fields": fields, "entries": found.entries, "next": found.next, "wrong": ""}


WORKERS = UiPage("/workers", "Workers", "workers.html", show_workers, nav="Workers", live="workers.live.html")
STORE = UiPage("/store", "Store", "store.html", show_store, nav="Store")
AUDIT = UiPage("/audit", "Audit", "audit.html", show_audit, nav="Audit")
